-- Groups, a role for migrations, a monitor and a replica that reach no row.
CREATE ROLE DB_readers NOLOGIN; CREATE ROLE DB_writers NOLOGIN; CREATE ROLE DB_worker LOGIN;
CREATE ROLE DB_deploy LOGIN; CREATE ROLE DB_monitor LOGIN; CREATE ROLE DB_standby LOGIN REPLICATION;
GRANT DB_readers TO DB_writers; GRANT DB_writers TO DB_worker; GRANT ITSOWNER TO DB_deploy;
GRANT pg_monitor TO DB_monitor; GRANT CREATE ON SCHEMA shop TO DB_deploy;
CREATE ROLE DB_backup NOLOGIN BYPASSRLS;
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL);
GRANT SELECT ON shop.contact TO DB_readers; GRANT INSERT, UPDATE ON shop.contact TO DB_writers;
SELECT tenant_guard.protect('shop.contact');
