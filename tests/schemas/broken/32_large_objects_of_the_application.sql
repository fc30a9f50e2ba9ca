-- finds: warning|32-large-object|pg_largeobject
-- finds: info|32-large-object|shop.contact
-- by hand: SELECT lo_unlink(90003); ALTER TABLE shop.contact DROP COLUMN photo;
CREATE DOMAIN public.lo AS oid; ALTER TABLE shop.contact ADD photo public.lo;
SELECT lo_create(90003); ALTER LARGE OBJECT 90003 OWNER TO APP;
