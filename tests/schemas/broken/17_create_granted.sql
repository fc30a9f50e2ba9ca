-- finds: warning|17-create-granted|public
-- finds: warning|17-create-granted|shop
CREATE ROLE DB_group NOLOGIN; GRANT DB_group TO APP; GRANT CREATE ON SCHEMA shop TO DB_group;
GRANT CREATE ON SCHEMA public TO PUBLIC;
