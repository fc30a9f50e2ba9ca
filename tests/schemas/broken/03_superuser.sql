-- finds: info|03-superuser-can-log-in|DB_boss
CREATE ROLE DB_boss LOGIN SUPERUSER;
