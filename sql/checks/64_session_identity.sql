-- Row 64: an identity that lasts as long as the session passes to the next client of a pooler.
-- Finds tenant_guard.allow_session_identity switched on (warning). Settings belong to no schema: they are
-- listed whatever schemas are asked for.
-- Fix: reset it.
SELECT 'warning', k.name, k.place || ': unsafe behind a transaction pooler', k.reset
FROM tenant_guard.kept_setting AS k
WHERE k.name = 'tenant_guard.allow_session_identity' AND k.value::boolean
    AND ($1 IS NULL OR $1 IS NOT NULL)
UNION ALL
SELECT 'warning', s.name, 'on for the whole server: unsafe behind a transaction pooler',
    'ALTER SYSTEM SET tenant_guard.allow_session_identity = off;'
FROM pg_settings AS s
WHERE s.name = 'tenant_guard.allow_session_identity' AND s.setting = 'on'
    AND s.source IN ('configuration file', 'command line')
