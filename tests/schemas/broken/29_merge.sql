-- twin: the account in the primary key
-- finds: warning|27-unique-across-accounts|shop.product_pkey
CREATE TABLE shop.product (sku text PRIMARY KEY, account_id uuid NOT NULL);
ALTER TABLE shop.product OWNER TO ITSOWNER; SELECT tenant_guard.protect('shop.product');
GRANT SELECT, INSERT ON shop.product TO APP; INSERT INTO shop.product VALUES ('taken', 'ACCOUNT_B');
-- since 15 | -- A: MERGE INTO shop.product AS p USING (VALUES ('taken')) AS v (sku) ON p.sku = v.sku
-- since 15 | --     WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT (sku) VALUES (v.sku)
-- before 15 | -- A: INSERT INTO shop.product (sku) VALUES ('taken')
-- shows: 23505 duplicate key value violates unique constraint "product_pkey"
