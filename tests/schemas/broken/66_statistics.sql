-- twin: the membership
-- finds: warning|66-statistics-role|APP
CREATE ROLE DB_ops NOLOGIN; GRANT pg_monitor TO DB_ops; GRANT DB_ops TO APP;
-- A: SELECT query FROM pg_stat_activity WHERE query LIKE 'SELECT ''of bob, DB''%'
-- shows: SELECT 'of bob, DB'
