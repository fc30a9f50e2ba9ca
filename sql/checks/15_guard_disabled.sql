-- Row 15 (and 13, 14, 17): without its guards nothing stops a command that takes protection apart,
-- and what is made later stays open.
-- Finds event triggers of ours that are gone, disabled, or do not fire in replica sessions (error).
-- Fix: enable them; one that is gone comes back with the extension only.
SELECT 'error', wanted.name,
    CASE
        WHEN t.oid IS NULL THEN 'event trigger is missing'
        WHEN t.evtenabled = 'D' THEN 'event trigger is disabled'
        ELSE 'event trigger does not fire always'
    END,
    CASE WHEN t.oid IS NULL THEN ''
        ELSE format('ALTER EVENT TRIGGER %I ENABLE ALWAYS;', wanted.name) END
FROM (VALUES
    ('tenant_guard_command_start', 'ddl_command_start', 'tenant_guard.guard_command_start()'),
    ('tenant_guard_command_end', 'ddl_command_end', 'tenant_guard.guard_command_end()'),
    ('tenant_guard_dropped', 'sql_drop', 'tenant_guard.guard_dropped()')
) AS wanted (name, event, function)
LEFT JOIN pg_event_trigger AS t
    ON t.evtname = wanted.name AND t.evtevent = wanted.event
        AND t.evtfoid = wanted.function::regprocedure
WHERE t.evtenabled IS DISTINCT FROM 'A'
