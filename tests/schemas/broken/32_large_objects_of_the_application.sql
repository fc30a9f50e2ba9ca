-- twin: the large object
-- without fix: 32-large-object
-- finds: warning|32-large-object|pg_largeobject
-- finds: info|32-large-object|shop.contact
-- by hand: SELECT lo_unlink(90003); ALTER TABLE shop.contact DROP COLUMN photo;
CREATE DOMAIN public.lo AS oid; ALTER TABLE shop.contact ADD photo public.lo;
SELECT lo_create(90003); ALTER LARGE OBJECT 90003 OWNER TO APP;
-- B commits: DO $$BEGIN PERFORM lo_put(90003, 0, 'of bob'); END$$
-- A: SELECT convert_from(lo_get(90003), 'UTF8')
-- shows: of bob
-- then: 42704 large object 90003 does not exist
-- then: 42704 large object 90003 does not exist
