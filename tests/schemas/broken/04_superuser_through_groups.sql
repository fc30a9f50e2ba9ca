-- twin: the last membership on the way
-- cluster: dangerous
-- finds: error|04-role-becomes-bypassing|APP
CREATE ROLE DB_root NOLOGIN SUPERUSER; CREATE ROLE "DB_o'dd group" NOLOGIN NOINHERIT;
GRANT DB_root TO "DB_o'dd group"; GRANT "DB_o'dd group" TO APP;
-- A: SET ROLE DB_root
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: abe ann bea bob
-- then: 42501 permission denied to set role "DB_root"
-- then: abe ann
