-- A row whose parent is gone is adopted by a later one with its number, whoever makes that.
-- finds: info|26-foreign-key-without-account|shop.comment
-- by hand: SELECT tenant_guard.unprotect('shop.comment'); DROP TABLE shop.comment;
CREATE TABLE shop.comment (id uuid PRIMARY KEY, about int, kind text, note text);
ALTER TABLE shop.comment OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.comment', via => 'about', type_column => 'kind',
    parents => '{"contact": "shop.contact", "booking": "shop.booking"}');
