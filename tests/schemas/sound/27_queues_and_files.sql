-- An outbox with numbers, files by path, counters, and foreign data that holds no account.
CREATE EXTENSION file_fdw; CREATE SERVER files foreign data wrapper file_fdw;
CREATE EXTENSION postgres_fdw; CREATE SERVER warehouse foreign data wrapper postgres_fdw OPTIONS (dbname 'warehouse');
CREATE user mapping FOR APP SERVER warehouse OPTIONS (user 'reader', password 'not shown');
SET ROLE ITSOWNER;
CREATE TABLE shop.outbox (n bigserial PRIMARY KEY, account_id text NOT NULL, payload jsonb, taken_at timestamptz);
CREATE INDEX ON shop.outbox (account_id, n) WHERE taken_at IS NULL;
CREATE TABLE shop.file (account_id text NOT NULL, path text NOT NULL, bytes bytea, PRIMARY KEY (account_id, path),
    CHECK (split_part(path, '/', 1) = account_id));
CREATE TABLE shop.counter (account_id text PRIMARY KEY, value bigint NOT NULL DEFAULT 0);
GRANT USAGE ON SEQUENCE shop.outbox_n_seq TO APP;
SELECT tenant_guard.protect('shop.outbox'), tenant_guard.protect('shop.file'), tenant_guard.protect('shop.counter');
RESET ROLE;
CREATE FOREIGN TABLE shop.postcode (code text, town text) SERVER files OPTIONS (program 'echo 1,x', format 'csv');
GRANT SELECT ON shop.postcode TO APP;
