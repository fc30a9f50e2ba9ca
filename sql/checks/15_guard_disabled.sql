-- Row 15 (and 13, 14, 17): without its guards nothing stops a command that takes protection apart,
-- and what is made later stays open.
-- Finds event triggers of ours that are gone, disabled, or do not fire in replica sessions (error).
-- Fix: enable them; one that is gone comes back with the extension only.
-- Finds tables that have policies of ours and are not registered, as after the restoring of one schema: they
-- look protected, and no guard knows them (error).
-- Finds tables with our capture trigger that are not registered as audited, in the same way (warning).
-- Fix: protect or audit them, where policies and triggers say all that was asked for: by which column, and for which
-- roles. With permissions, or a log that leaves columns out, that would open what is closed.
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
UNION ALL
SELECT 'error', c.oid::regclass::text,
    'has policies of tenant_guard, but is not registered as protected: no guard keeps them'
        || CASE WHEN count(a.attname) = 0 OR more.stands
            THEN '; apply the manifest of where it came from' ELSE '' END,
    CASE WHEN count(a.attname) = 0 OR more.stands THEN ''
        ELSE min(format('SELECT tenant_guard.protect(%L, account_column => %L', c.oid::regclass, a.attname)
            || CASE WHEN readers.names = '{}' THEN '' ELSE format(', roles => %L', readers.names) END
            || ');') FILTER (WHERE a.attname IS NOT NULL) END
FROM pg_class AS c
JOIN tenant_guard.product_schema AS n ON n.oid = c.relnamespace
JOIN tenant_guard.own_policy AS p ON p.relation = c.oid AND p.name = 'tenant_guard_floor'
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    AND p.using_text IN (
        format('(%I = tenant_guard.account_id())', a.attname),
        format('(%I = tenant_guard.account_id_bigint())', a.attname),
        format('(%I = tenant_guard.account_id_text())', a.attname),
        format('((%I)::text = tenant_guard.account_id_text())', a.attname))
CROSS JOIN LATERAL (
    SELECT EXISTS (
            SELECT FROM tenant_guard.own_policy AS q WHERE q.relation = c.oid
                AND q.name NOT IN ('tenant_guard_floor', 'tenant_guard_access'))
        OR EXISTS (
            -- Its second argument is what it redacts, and a third one what else it was told.
            SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgname = 'tenant_guard_capture'
                AND (t.tgnargs <> 2 OR right(encode(t.tgargs, 'escape'), 10) <> '\000{}\000')) AS stands
) AS more
CROSS JOIN LATERAL (
    SELECT ARRAY(
        SELECT r.rolname FROM pg_policy AS q JOIN pg_roles AS r ON r.oid = ANY (q.polroles)
        WHERE q.polrelid = c.oid AND q.polname = 'tenant_guard_access' ORDER BY r.rolname) AS names
) AS readers
WHERE NOT EXISTS (SELECT FROM tenant_guard.protected_member AS m WHERE m.relation = c.oid)
    -- What is below one that is found is protected with it.
    AND NOT EXISTS (
        SELECT FROM pg_inherits AS i JOIN tenant_guard.own_policy AS q ON q.relation = i.inhparent
        WHERE i.inhrelid = c.oid)
    AND ($1 IS NULL OR n.name = ANY ($1))
GROUP BY c.oid, more.stands
UNION ALL
SELECT 'warning', c.oid::regclass::text,
    'has the capture trigger of tenant_guard, but is not registered as audited: no guard keeps it'
        || CASE WHEN told.nothing THEN '' ELSE '; apply the manifest of where it came from' END,
    CASE WHEN told.nothing THEN format('SELECT tenant_guard.audit(%L);', c.oid::regclass) ELSE '' END
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN tenant_guard.product_schema AS n ON n.oid = c.relnamespace
-- No account column, and nothing redacted.
CROSS JOIN LATERAL (SELECT encode(t.tgargs, 'escape') = '\000{}\000' AS nothing) AS told
WHERE t.tgfoid = 'tenant_guard.capture()'::regprocedure AND t.tgparentid = 0
    AND NOT EXISTS (SELECT FROM tenant_guard.protected_member AS m WHERE m.relation = c.oid)
    AND NOT EXISTS (SELECT FROM tenant_guard.capture_rule AS r WHERE r.relation = c.oid)
    -- What has policies of ours stands above; what is below another one is audited with it.
    AND NOT EXISTS (SELECT FROM tenant_guard.own_policy AS q WHERE q.relation = c.oid)
    AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid)
    AND ($1 IS NULL OR n.name = ANY ($1))
