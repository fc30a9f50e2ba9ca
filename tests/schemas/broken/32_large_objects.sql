-- twin: the grants, and lo_compat_privileges
-- finds: error|32-large-object|pg_largeobject
-- finds: error|32-large-object|pg_largeobject
-- finds: error|32-large-object|lo_compat_privileges
SELECT lo_from_bytea(90001, 'of bob'), lo_from_bytea(90002, 'of bob');
GRANT SELECT ON LARGE OBJECT 90001, 90002 TO PUBLIC; GRANT UPDATE ON LARGE OBJECT 90001 TO APP;
ALTER DATABASE DB SET lo_compat_privileges = on;
-- reconnects: a setting is read when a session begins
-- A: SELECT convert_from(lo_get(90002), 'UTF8')
-- A: DO $$BEGIN PERFORM lo_put(90001, 0, 'changed'); END$$
-- A: SELECT convert_from(lo_get(90001), 'UTF8')
-- shows: of bob
-- shows: changed
-- then: 42501 permission denied for large object 90002
-- then: 42501 permission denied for large object 90001
-- then: 42501 permission denied for large object 90001
