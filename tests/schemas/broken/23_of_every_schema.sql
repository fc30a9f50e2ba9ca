-- twin: the default privileges
-- finds: info|23-default-privileges|every schema
ALTER DEFAULT PRIVILEGES FOR ROLE ITSOWNER GRANT SELECT ON TABLES TO PUBLIC;
CREATE ROLE DB_stranger LOGIN;
-- as: DB_stranger
-- meanwhile: SET tenant_guard.guards = on; SET ROLE ITSOWNER; CREATE TABLE shop.late (contact_id int, note text);
--     INSERT INTO shop.late VALUES (3, 'of bob')
-- nobody: SELECT note FROM shop.late
-- meanwhile: DROP TABLE shop.late
-- shows: of bob
-- then: 42501 permission denied for table late
