-- Other extensions, whose objects are their own business.
CREATE EXTENSION pg_trgm; CREATE EXTENSION citext; CREATE EXTENSION btree_gist; CREATE EXTENSION lo;
CREATE EXTENSION postgres_fdw; CREATE SERVER far foreign data wrapper postgres_fdw OPTIONS (host 'far.example');
SET ROLE ITSOWNER;
CREATE TABLE shop.room (id uuid PRIMARY KEY, account_id uuid NOT NULL, name text, during tstzrange,
    EXCLUDE USING gist (account_id WITH =, name WITH =, during WITH &&));
CREATE INDEX ON shop.room USING gin (name gin_trgm_ops);
SELECT tenant_guard.protect('shop.room');
