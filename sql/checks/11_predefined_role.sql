-- Row 11: predefined roles that lift table privileges, or reach past SQL to the server's files.
-- Finds roles that can log in and are members, however far, of pg_read_all_data and pg_write_all_data
-- (error: row security binds them on protected tables, but the log of all accounts and every table
-- without row security are theirs), or of pg_execute_server_program, pg_read_server_files and
-- pg_write_server_files (error: the files of the database are files).
-- Fix: revoke the last step of each way there.
SELECT 'error', quote_ident(w.role_name),
    format('is a member of %s through %s', w.reached_name,
            CASE WHEN bool_and(w.direct) THEN 'its own membership'
                ELSE string_agg(DISTINCT quote_ident(w.via_name), ', ') END)
        || CASE w.reached_name
            WHEN 'pg_read_all_data' THEN ': it reads the log of all accounts, and what is not protected'
            WHEN 'pg_write_all_data' THEN ': it writes what is not protected, declarations of ours among it'
            ELSE '' END,
    string_agg(DISTINCT w.cut, ' ')
FROM tenant_guard.role_way AS w
WHERE w.reached_name IN ('pg_read_all_data', 'pg_write_all_data', 'pg_execute_server_program',
        'pg_read_server_files', 'pg_write_server_files')
    AND EXISTS (SELECT FROM tenant_guard.protected_member)
    AND ($1 IS NULL OR $1 IS NOT NULL)
GROUP BY w.role, w.role_name, w.reached_name
