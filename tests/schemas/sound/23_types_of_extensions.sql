-- Types and indexes of extensions, unique within the account.
CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION hstore; CREATE EXTENSION intarray;
SET ROLE ITSOWNER;
CREATE TABLE shop.person (id uuid PRIMARY KEY, account_id uuid NOT NULL, email citext NOT NULL, extra hstore,
    UNIQUE (account_id, email));
CREATE TABLE shop.folder (account_id uuid NOT NULL, path ltree NOT NULL, groups int[], PRIMARY KEY (account_id, path));
CREATE INDEX ON shop.folder USING gist (path); CREATE INDEX ON shop.person USING gin (extra);
SELECT tenant_guard.protect_schema('shop');
