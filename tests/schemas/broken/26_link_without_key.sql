-- twin: the foreign key
-- finds: warning|26-foreign-key-without-account|shop.note
CREATE TABLE shop.note (id uuid PRIMARY KEY, "Contact" int, note text);
ALTER TABLE shop.note OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.note', via => 'Contact', parent => 'shop.contact');
GRANT SELECT ON shop.note TO APP; INSERT INTO shop.note VALUES (gen_random_uuid(), 4, 'of bea');
-- B commits: DELETE FROM shop.contact WHERE id = 4
-- A: INSERT INTO shop.contact (id, name) VALUES (4, 'new')
-- A: SELECT note FROM shop.note
-- meanwhile: INSERT INTO shop.contact VALUES (4, 'ACCOUNT_B', 'bea') ON CONFLICT DO NOTHING
-- shows: of bea
-- then: 23503 update or delete on table "contact" violates foreign key constraint "Contact_parent" on table "note"
-- then: 23505 duplicate key value violates unique constraint "contact_pkey"
