-- Row 10: with row_security off queries of protected tables fail, and pg_dump sets it, so that somebody
-- gives BYPASSRLS to whatever fails.
-- Finds the setting kept off for a role, a database or the server (info). Settings belong to no
-- schema: they are listed whatever schemas are asked for.
-- Fix: reset it.
SELECT 'info', 'row_security', k.place || ': queries of protected relations fail', k.reset
FROM tenant_guard.kept_setting AS k
WHERE k.name = 'row_security' AND NOT k.value::boolean AND ($1 IS NULL OR $1 IS NOT NULL)
UNION ALL
SELECT 'info', 'row_security', 'off for the whole server: queries of protected relations fail',
    'ALTER SYSTEM SET row_security = on;'
FROM pg_settings AS s
WHERE s.name = 'row_security' AND s.setting = 'off'
    AND s.source IN ('configuration file', 'command line')
