-- twin: the row without a parent
-- A row whose parent is gone is adopted by a later one with its number, whoever makes that.
-- without fix: 26-foreign-key-without-account
-- finds: info|26-foreign-key-without-account|shop.comment
-- by hand: SELECT tenant_guard.unprotect('shop.comment'); DROP TABLE shop.comment;
CREATE TABLE shop.comment (id uuid PRIMARY KEY, about int, kind text, note text);
ALTER TABLE shop.comment OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.comment', via => 'about', type_column => 'kind',
    parents => '{"contact": "shop.contact", "booking": "shop.booking"}');
GRANT SELECT ON shop.comment TO APP;
INSERT INTO shop.comment VALUES (gen_random_uuid(), 9, 'contact', 'of bob');
-- A: INSERT INTO shop.contact (id, name) VALUES (9, 'new')
-- A: SELECT note FROM shop.comment
-- shows: of bob
-- then: 42P01 relation "shop.comment" does not exist
