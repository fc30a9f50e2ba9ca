-- twin: the schema is governed
-- finds: info|23-default-privileges|shop
SELECT tenant_guard.ungovern_schema('shop');
ALTER DEFAULT PRIVILEGES FOR ROLE ITSOWNER IN SCHEMA shop GRANT SELECT ON TABLES TO PUBLIC;
CREATE ROLE DB_stranger LOGIN;
-- as: DB_stranger
-- meanwhile: SET tenant_guard.guards = on; SET ROLE ITSOWNER;
--     CREATE TABLE shop.late (account_id uuid, note text);
--     RESET ROLE; INSERT INTO shop.late VALUES ('ACCOUNT_B', 'of bob')
-- nobody: SELECT note FROM shop.late
-- meanwhile: DROP TABLE shop.late
-- shows: of bob
-- then: 28000 no identity is bound to this transaction
