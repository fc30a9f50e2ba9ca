-- finds: error|32-large-object|pg_largeobject
-- finds: error|32-large-object|pg_largeobject
-- finds: error|32-large-object|lo_compat_privileges
SELECT lo_create(90001), lo_create(90002);
GRANT SELECT ON LARGE OBJECT 90001, 90002 TO PUBLIC; GRANT UPDATE ON LARGE OBJECT 90001 TO APP;
ALTER DATABASE DB SET lo_compat_privileges = on;
