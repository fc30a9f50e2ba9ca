-- Row 70: the extension's own settings handed out or planted.
-- Finds the right to set one granted (error), an identity planted for a role or database, which is
-- refused but shows an attempt (error), and another setting kept for a role or database (info).
-- Settings belong to no schema: they are listed whatever schemas are asked for.
-- Fix: revoke; reset.
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
SELECT CASE WHEN k.name = 'tenant_guard.identity' THEN 'error' ELSE 'info' END, k.name, k.place, k.reset
FROM tenant_guard.kept_setting AS k
WHERE k.name LIKE 'tenant\_guard.%'
    -- Switched on it is row 64.
    AND NOT (k.name = 'tenant_guard.allow_session_identity' AND k.value::boolean)
