-- twin: the last membership on the way
-- cluster: dangerous
-- finds: error|04-role-becomes-bypassing|APP
CREATE ROLE DB_far NOLOGIN BYPASSRLS; CREATE ROLE DB_middle NOLOGIN NOINHERIT; CREATE ROLE DB_near NOLOGIN;
GRANT DB_far TO DB_middle; GRANT DB_middle TO DB_near; GRANT DB_near TO APP;
GRANT SELECT (name) ON shop.contact TO DB_far;
-- A: SET ROLE DB_far
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: abe ann bea bob
-- then: 42501 permission denied to set role "DB_far"
-- then: abe ann
