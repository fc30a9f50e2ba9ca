-- twin: CREATE on the schema
-- finds: warning|17-create-granted|public
-- finds: warning|17-create-granted|shop
CREATE ROLE DB_group NOLOGIN; GRANT DB_group TO APP; GRANT CREATE ON SCHEMA shop TO DB_group;
GRANT CREATE ON SCHEMA public TO PUBLIC;
-- A commits: DO $$BEGIN EXECUTE 'EXPLAIN (ANALYZE) CREATE TABLE shop.grabbed AS SELECT name FROM shop.contact'; END$$
-- B: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.grabbed
-- meanwhile: DROP TABLE IF EXISTS shop.grabbed
-- shows: abe ann
-- then: 42501 permission denied for schema shop
-- then: 42P01 relation "shop.grabbed" does not exist
