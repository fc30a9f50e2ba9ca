-- twin: the account in the unique constraint
-- finds: warning|27-unique-across-accounts|shop.contact_email_key
-- finds: warning|27-unique-across-accounts|shop."one open (per name)"
-- finds: warning|27-unique-across-accounts|shop.product_pkey
ALTER TABLE shop.contact ADD email text UNIQUE DEFERRABLE, ADD open boolean;
CREATE UNIQUE INDEX "one open (per name)" ON shop.contact (name) INCLUDE (open) WHERE open;
CREATE TABLE shop.product (sku text PRIMARY KEY, account_id uuid NOT NULL);
ALTER TABLE shop.product OWNER TO ITSOWNER; SELECT tenant_guard.protect('shop.product');
GRANT SELECT, INSERT ON shop.product TO APP; INSERT INTO shop.product VALUES ('taken', 'ACCOUNT_B');
UPDATE shop.contact SET email = 'bob@b.example', open = true WHERE id = 3;
-- A: UPDATE shop.contact SET email = 'bob@b.example' WHERE id = 1 RETURNING email
-- A: INSERT INTO shop.product (sku) VALUES ('taken') RETURNING sku
-- A: UPDATE shop.contact SET name = 'bob', open = true WHERE id = 1 RETURNING name
-- shows: 23505 duplicate key value violates unique constraint "contact_email_key"
-- shows: 23505 duplicate key value violates unique constraint "product_pkey"
-- shows: 23505 duplicate key value violates unique constraint "one open (per name)"
-- then: bob@b.example
-- then: taken
-- then: bob
