-- twin: the parent in the unique constraint
-- finds: warning|27-unique-across-accounts|shop.line_label_key
CREATE TABLE shop.line (id uuid PRIMARY KEY, contact_id int REFERENCES shop.contact, label text UNIQUE);
ALTER TABLE shop.line OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.line', via => 'contact_id');
INSERT INTO shop.line VALUES (gen_random_uuid(), 3, 'taken'); GRANT SELECT, INSERT ON shop.line TO APP;
-- A: INSERT INTO shop.line VALUES (gen_random_uuid(), 1, 'taken') RETURNING label
-- shows: 23505 duplicate key value violates unique constraint "line_label_key"
-- then: taken
