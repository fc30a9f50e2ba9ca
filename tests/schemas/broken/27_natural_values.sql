-- finds: warning|27-unique-across-accounts|shop.contact_email_key
-- finds: warning|27-unique-across-accounts|shop."one open (per name)"
-- finds: warning|27-unique-across-accounts|shop.product_pkey
ALTER TABLE shop.contact ADD email text UNIQUE DEFERRABLE, ADD open boolean;
CREATE UNIQUE INDEX "one open (per name)" ON shop.contact (name) INCLUDE (open) WHERE open;
CREATE TABLE shop.product (sku text PRIMARY KEY, account_id uuid NOT NULL);
ALTER TABLE shop.product OWNER TO ITSOWNER; SELECT tenant_guard.protect('shop.product');
