-- Rows 9, 29, 58 and 60: rows or values got out past policies, until PostgreSQL was mended.
-- Finds the fixes that the running server lacks (error). The server belongs to no schema: it is listed
-- whatever schemas are asked for.
-- Fix: none to paste. Install the newest minor version and restart.
SELECT 'error', 'server',
    format('version %s lacks the fix of %s, which is in %s: %s', current_setting('server_version'),
        f.cve, f.fixed_in, f.effect),
    ''
FROM tenant_guard.missing_fix(current_setting('server_version_num')::integer) AS f
WHERE $1 IS NULL OR $1 IS NOT NULL
