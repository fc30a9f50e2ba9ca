-- Every table with the account, keys of (account, id), unique values within the account.
SET ROLE ITSOWNER;
CREATE TABLE shop.customer (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), account_id uuid NOT NULL,
    email text NOT NULL, UNIQUE (account_id, id), UNIQUE (account_id, email));
CREATE TABLE shop.invoice (id uuid PRIMARY KEY, account_id uuid NOT NULL, customer_id uuid NOT NULL,
    number text NOT NULL, UNIQUE (account_id, number), UNIQUE (account_id, id),
    FOREIGN KEY (account_id, customer_id) REFERENCES shop.customer (account_id, id) ON DELETE CASCADE);
CREATE INDEX ON shop.invoice (account_id, customer_id);
SELECT tenant_guard.protect_schema('shop');
