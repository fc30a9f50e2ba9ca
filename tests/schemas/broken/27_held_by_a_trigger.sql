-- twin: the account in the unique constraint
-- No key over the account could set the reference to null when the value changes.
-- finds: error|26-foreign-key-without-account|shop.part
-- finds: warning|27-unique-across-accounts|shop.product_sku_key
-- without fix: 27-unique-across-accounts
-- by hand: ALTER TABLE shop.part DROP CONSTRAINT by_sku; DROP TRIGGER tenant_guard_bind_by_sku ON shop.part; DROP TRIGGER tenant_guard_bound_by_sku ON shop.product
-- by hand: ALTER TABLE shop.product DROP CONSTRAINT product_sku_key, ADD UNIQUE (account_id, sku)
CREATE TABLE shop.product (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), account_id uuid NOT NULL,
    sku text UNIQUE);
CREATE TABLE shop.part (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), account_id uuid NOT NULL,
    sku text CONSTRAINT by_sku REFERENCES shop.product (sku) ON UPDATE SET NULL);
ALTER TABLE shop.product OWNER TO ITSOWNER; ALTER TABLE shop.part OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.product'), tenant_guard.protect('shop.part');
GRANT SELECT, INSERT ON shop.product, shop.part TO APP;
INSERT INTO shop.product (account_id, sku) VALUES ('ACCOUNT_B', 'taken');
-- A: INSERT INTO shop.product (sku) VALUES ('taken') RETURNING sku
-- shows: 23505 duplicate key value violates unique constraint "product_sku_key"
-- then: taken
