-- twin: the memberships
-- cluster: dangerous
-- finds: error|11-predefined-role|APP
-- finds: error|11-predefined-role|APP
-- finds: error|11-predefined-role|APP
CREATE ROLE DB_files NOLOGIN; GRANT pg_read_server_files, pg_execute_server_program TO DB_files;
GRANT DB_files TO APP; GRANT pg_read_all_data TO APP;
CREATE TABLE public.payroll (note text); INSERT INTO public.payroll VALUES ('salaries');
INSERT INTO shop.contact VALUES (9, 'ACCOUNT_B', 'ben');
CHECKPOINT;
-- A: SELECT note FROM public.payroll
-- A: SELECT DISTINCT account_id FROM tenant_guard.audit_log WHERE action = 'insert' AND row_key = '{"id":9}'
-- A: SELECT count(*) FROM tenant_guard.issuer
-- A: CREATE TEMP TABLE read (line text)
-- A: COPY read FROM PROGRAM 'grep -rhao "bob" base | sort -u'
-- A: COPY read FROM 'PG_VERSION'
-- A: SELECT line FROM read
-- shows: salaries
-- shows: ACCOUNT_B
-- shows: 0
-- shows: bob
-- shows: MAJOR
-- before 16 | -- then: 42501 permission denied for table payroll
-- before 16 | -- then: 42501 permission denied for table audit_log
-- before 16 | -- then: 42501 permission denied for table issuer
-- before 16 | -- since 15 | -- then: 42501 must be superuser or have privileges of the pg_execute_server_program role to COPY to or from an external program
-- before 16 | -- since 15 | -- then: 42501 must be superuser or have privileges of the pg_read_server_files role to COPY from a file
-- before 15 | -- then: 42501 must be superuser or a member of the pg_execute_server_program role to COPY to or from an external program
-- before 15 | -- then: 42501 must be superuser or a member of the pg_read_server_files role to COPY from a file
-- since 16 | -- then: 42501 permission denied for table payroll
-- since 16 | -- then: 42501 permission denied for table audit_log
-- since 16 | -- then: 42501 permission denied for table issuer
-- since 16 | -- then: 42501 permission denied to COPY to or from an external program
-- since 16 | -- then: 42501 permission denied to COPY from a file
