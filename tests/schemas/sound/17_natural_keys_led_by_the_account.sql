-- Keys, unique values and exclusions over what people choose, within the account.
CREATE EXTENSION btree_gist;
SET ROLE ITSOWNER;
CREATE TABLE shop.product (account_id uuid NOT NULL, sku text NOT NULL, name text, PRIMARY KEY (account_id, sku));
CREATE TABLE shop.stock (account_id uuid NOT NULL, sku text NOT NULL, place text NOT NULL, amount int CHECK (amount >= 0),
    PRIMARY KEY (place, account_id, sku), FOREIGN KEY (account_id, sku) REFERENCES shop.product ON UPDATE CASCADE);
CREATE UNIQUE INDEX ON shop.product (account_id, lower(name)) WHERE name <> '';
CREATE TABLE shop.event (account_id uuid NOT NULL, at timestamptz NOT NULL, kind text NOT NULL, n int NOT NULL,
    PRIMARY KEY (account_id, at, kind, n));
CREATE TABLE shop.shift (account_id uuid NOT NULL, person text, during tstzrange,
    EXCLUDE USING gist (account_id WITH =, person WITH =, during WITH &&));
CREATE TABLE shop.idempotency_key (account_id uuid NOT NULL, key text NOT NULL, response jsonb,
    CONSTRAINT once UNIQUE (account_id, key) DEFERRABLE INITIALLY DEFERRED);
SELECT tenant_guard.protect_schema('shop');
