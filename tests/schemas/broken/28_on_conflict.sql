-- twin: the account in the primary key
-- finds: warning|27-unique-across-accounts|shop.product_pkey
CREATE TABLE shop.product (sku text PRIMARY KEY, account_id uuid NOT NULL);
ALTER TABLE shop.product OWNER TO ITSOWNER; SELECT tenant_guard.protect('shop.product');
GRANT SELECT, INSERT ON shop.product TO APP; INSERT INTO shop.product VALUES ('taken', 'ACCOUNT_B');
-- A: WITH new AS (INSERT INTO shop.product (sku) VALUES ('taken') ON CONFLICT DO NOTHING RETURNING 1)
--     SELECT count(*) FROM new
-- shows: 0
-- then: 1
