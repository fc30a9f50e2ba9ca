-- cluster: its own
-- finds: error|68-createrole|APP
-- finds: warning|68-createrole|DB_people
ALTER ROLE APP CREATEROLE; CREATE ROLE DB_people NOLOGIN CREATEROLE; CREATE ROLE DB_hr LOGIN;
GRANT DB_people TO DB_hr;
