-- twin: the other reference
-- A child's other references cannot hold the account, which it does not have.
-- finds: error|26-foreign-key-without-account|shop.line
CREATE TABLE shop.line (id uuid PRIMARY KEY, contact_id int REFERENCES shop.contact,
    other int REFERENCES shop.booking, note text);
ALTER TABLE shop.line OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.line', via => 'contact_id');
GRANT SELECT, INSERT ON shop.line TO APP;
-- A: INSERT INTO shop.line (id, contact_id, other) VALUES (gen_random_uuid(), 1, 3) RETURNING other
-- shows: 3
-- then: 23503 insert or update on table "line" violates foreign key constraint "line_other_fkey"
