-- finds: warning|26-foreign-key-without-account|shop.note
CREATE TABLE shop.note (id uuid PRIMARY KEY, "Contact" int, note text);
ALTER TABLE shop.note OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.note', via => 'Contact', parent => 'shop.contact');
