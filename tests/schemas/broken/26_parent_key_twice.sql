-- twin: the unique key of the parent
-- without fix: 26-foreign-key-without-account
-- finds: error|26-parent-key-not-unique|shop.contact
-- finds: info|26-foreign-key-without-account|shop.line
CREATE TABLE shop.line (id uuid PRIMARY KEY, contact_id int REFERENCES shop.contact, note text);
ALTER TABLE shop.line OWNER TO ITSOWNER; SELECT tenant_guard.protect('shop.line', via => 'contact_id');
GRANT SELECT ON shop.line TO APP; INSERT INTO shop.line VALUES (gen_random_uuid(), 3, 'of bob');
ALTER TABLE shop.contact DROP CONSTRAINT contact_pkey CASCADE;
-- A: INSERT INTO shop.contact (id, name) VALUES (3, 'new')
-- A: SELECT note FROM shop.line
-- shows: of bob
-- then: 23505 duplicate key value violates unique constraint "contact_id_key"
