-- cluster: its own
-- finds: error|04-role-becomes-bypassing|APP
-- finds: error|04-role-becomes-bypassing|APP
CREATE ROLE DB_far NOLOGIN BYPASSRLS; CREATE ROLE DB_middle NOLOGIN NOINHERIT; CREATE ROLE DB_near NOLOGIN;
GRANT DB_far TO DB_middle; GRANT DB_middle TO DB_near; GRANT DB_near TO APP;
GRANT SELECT (name) ON shop.contact TO DB_far;
CREATE ROLE DB_root NOLOGIN SUPERUSER; GRANT DB_root TO DB_near;
