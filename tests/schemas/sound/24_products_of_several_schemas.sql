-- Schemas of one product: some with accounts, some without, one published, one that others may create in.
CREATE SCHEMA billing AUTHORIZATION ITSOWNER; CREATE SCHEMA catalog; CREATE SCHEMA scratch;
GRANT USAGE ON SCHEMA billing, catalog, scratch TO APP;
CREATE ROLE DB_analyst LOGIN; GRANT USAGE, CREATE ON SCHEMA scratch TO DB_analyst;
CREATE TABLE catalog.item (sku text PRIMARY KEY, title text); GRANT SELECT ON catalog.item TO PUBLIC;
CREATE PUBLICATION items FOR TABLE catalog.item;
-- since 15 | CREATE PUBLICATION whole_catalog FOR TABLES IN SCHEMA catalog;
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL, UNIQUE (account_id, id));
CREATE TABLE billing.invoice (id uuid PRIMARY KEY, account_id uuid NOT NULL, contact_id uuid, sku text,
    FOREIGN KEY (account_id, contact_id) REFERENCES shop.contact (account_id, id));
SELECT tenant_guard.protect_schema('shop'), tenant_guard.protect_schema('billing');
GRANT SELECT ON billing.invoice TO APP;
-- since 15 | CREATE VIEW billing.overview WITH (security_invoker) AS
-- before 15 | CREATE VIEW billing.overview AS
    SELECT i.id FROM billing.invoice AS i JOIN shop.contact AS c ON c.id = i.contact_id;
-- since 15 | GRANT SELECT ON billing.overview TO APP;
