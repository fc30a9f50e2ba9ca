-- Children by links with foreign keys, reference data, and values every account reads.
SET ROLE ITSOWNER;
CREATE TABLE shop.country (code text PRIMARY KEY);
CREATE TABLE shop.template (id uuid PRIMARY KEY, account_id uuid, name text, UNIQUE (account_id, name));
CREATE TABLE shop."order" (id uuid PRIMARY KEY, account_id uuid NOT NULL, country text REFERENCES shop.country);
CREATE TABLE shop.line (order_id uuid NOT NULL REFERENCES shop."order", position int, sku text,
    PRIMARY KEY (order_id, position), UNIQUE (order_id, sku));
CREATE TABLE shop.serial_number (id uuid PRIMARY KEY, order_id uuid, position int);
SELECT tenant_guard.protect('shop.country', archetype => 'reference');
SELECT tenant_guard.protect('shop.template', archetype => 'shared_defaults');
SELECT tenant_guard.protect('shop."order"');
SELECT tenant_guard.protect('shop.line', via => 'order_id');
SELECT tenant_guard.unprotect('shop.line'), tenant_guard.protect('shop.line', via => 'order_id');
DROP TABLE shop.serial_number;
