-- finds: info|05-member-of-owner|APP
CREATE ROLE DB_deploy NOLOGIN; GRANT ITSOWNER TO DB_deploy; GRANT DB_deploy TO APP;
