-- twin: the account in the primary key and in the foreign key that refers to it
-- finds: error|26-foreign-key-without-account|shop.part
-- finds: warning|27-unique-across-accounts|shop.product_pkey
CREATE TABLE shop.product (sku text PRIMARY KEY, account_id uuid NOT NULL);
CREATE TABLE shop.part (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), account_id uuid NOT NULL,
    sku text REFERENCES shop.product);
ALTER TABLE shop.product OWNER TO ITSOWNER; ALTER TABLE shop.part OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.product'), tenant_guard.protect('shop.part');
GRANT SELECT, INSERT ON shop.product, shop.part TO APP; INSERT INTO shop.product VALUES ('taken', 'ACCOUNT_B');
-- A: INSERT INTO shop.part (sku) VALUES ('taken') RETURNING sku
-- A: INSERT INTO shop.product (sku) VALUES ('taken') RETURNING sku
-- shows: taken
-- shows: 23505 duplicate key value violates unique constraint "product_pkey"
-- then: 23503 insert or update on table "part" violates foreign key constraint "part_sku_fkey"
-- then: taken
