-- cluster: its own
-- finds: error|11-predefined-role|APP
-- finds: error|11-predefined-role|APP
-- finds: warning|11-predefined-role|APP
CREATE ROLE DB_files NOLOGIN; GRANT pg_read_server_files, pg_execute_server_program TO DB_files;
GRANT DB_files TO APP; GRANT pg_read_all_data TO APP;
