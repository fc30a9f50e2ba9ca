-- Row 70: the extension's own settings handed out, planted, or switched to what promises less.
-- Finds the right to set one granted (error); of what is kept for a role or database an identity, which is
-- refused but shows an attempt (error), and every other setting (info); and for roles, databases and the
-- server the guards switched off (error) and readers that return nothing where no identity is bound
-- (warning). What a session set for itself, as a superuser who restores a dump does, is none.
-- Settings belong to no schema: they are listed whatever schemas are asked for.
-- Fix: revoke; reset; none for what stands on the command line, without which the server is to be started.
SELECT 'error', a.parname,
    format('%s granted to %s', string_agg(DISTINCT e.privilege_type, ', '), grantee.name),
    format('REVOKE SET, ALTER SYSTEM ON PARAMETER %s FROM %s CASCADE;', a.parname, grantee.name)
FROM pg_parameter_acl AS a
CROSS JOIN LATERAL aclexplode(a.paracl) AS e
LEFT JOIN pg_roles AS r ON r.oid = e.grantee
CROSS JOIN LATERAL (
    SELECT CASE WHEN e.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS name
) AS grantee
WHERE a.parname LIKE 'tenant\_guard.%' AND (r.oid IS NULL OR NOT r.rolsuper)
GROUP BY a.parname, grantee.name
UNION ALL
SELECT CASE WHEN k.name = 'tenant_guard.identity' THEN 'error' ELSE COALESCE(weak.severity, 'info') END,
    k.name, concat_ws(': ', k.place, weak.meaning), k.reset
FROM (
    SELECT s.name, s.value, s.place, s.reset, false AS of_server FROM tenant_guard.kept_setting AS s
    UNION
    -- Read before it is in force, and where this session has set another value.
    SELECT p.name, f.setting, 'for the whole server', format('ALTER SYSTEM SET %s = %s;', p.name, p.boot_val),
        true
    FROM pg_file_settings AS f JOIN pg_settings AS p ON p.name = lower(f.name)
    WHERE f.applied
    UNION
    -- A command line goes before every file.
    SELECT p.name, p.setting, CASE p.source WHEN 'command line' THEN 'on the command line of the server'
            ELSE 'for the whole server' END,
        CASE p.source WHEN 'command line' THEN ''
            ELSE format('ALTER SYSTEM SET %s = %s;', p.name, p.boot_val) END,
        true
    FROM pg_settings AS p WHERE p.source IN ('configuration file', 'command line')
) AS k
LEFT JOIN (VALUES
    -- As PostgreSQL reads a boolean.
    ('tenant_guard.guards', '^(off?|f|fa|fal|fals|false|no?|0)$', 'error',
        'nothing refuses commands that take protection or the ledger apart'),
    ('tenant_guard.on_missing_identity', '^empty$', 'warning',
        'who forgets to sign in sees no rows, and no error')
) AS weak (name, value, severity, meaning) ON weak.name = k.name AND k.value ~* weak.value
WHERE k.name LIKE 'tenant\_guard.%' AND (NOT k.of_server OR weak.name IS NOT NULL)
    -- Switched on it is row 64.
    AND NOT (k.name = 'tenant_guard.allow_session_identity' AND k.value::boolean)
GROUP BY 1, k.name, 3, k.reset
