-- Accounts named by a slug, under another column name.
SET ROLE ITSOWNER;
CREATE TABLE shop.page (tenant text NOT NULL, path text NOT NULL, body text, PRIMARY KEY (tenant, path));
CREATE UNIQUE INDEX ON shop.page (tenant, lower(path)) WHERE body IS NOT NULL;
SELECT tenant_guard.protect('shop.page', account_column => 'tenant');
