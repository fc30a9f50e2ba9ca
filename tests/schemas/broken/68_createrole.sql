-- twin: CREATEROLE
-- cluster: dangerous
-- before version: 16
-- finds: error|68-createrole|APP
-- finds: warning|68-createrole|DB_people
ALTER ROLE APP CREATEROLE; CREATE ROLE DB_people NOLOGIN CREATEROLE; CREATE ROLE DB_hr LOGIN;
GRANT DB_people TO DB_hr;
CREATE ROLE DB_backup NOLOGIN BYPASSRLS; GRANT SELECT ON shop.contact TO DB_backup;
-- A: GRANT DB_backup TO APP
-- A: SET ROLE DB_backup
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: abe ann bea bob
-- then: 42501 must have admin option on role "DB_backup"
-- then: 42501 permission denied to set role "DB_backup"
-- then: abe ann
