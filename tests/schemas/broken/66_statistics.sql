-- finds: warning|66-statistics-role|APP
CREATE ROLE DB_ops NOLOGIN; GRANT pg_monitor TO DB_ops; GRANT DB_ops TO APP;
