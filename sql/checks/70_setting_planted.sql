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
SELECT CASE WHEN setting.name = 'tenant_guard.identity' THEN 'error' ELSE 'info' END,
    setting.name,
    CASE WHEN r.oid IS NULL THEN '' ELSE format('kept for role %I ', r.rolname) END
        || CASE WHEN d.oid IS NULL THEN 'in every database'
            ELSE format('%sin database %I', CASE WHEN r.oid IS NULL THEN 'kept ' ELSE '' END, d.datname) END,
    CASE WHEN r.oid IS NULL AND d.oid IS NULL THEN format('ALTER ROLE ALL RESET %s;', setting.name)
        WHEN r.oid IS NULL THEN format('ALTER DATABASE %I RESET %s;', d.datname, setting.name)
        WHEN d.oid IS NULL THEN format('ALTER ROLE %I RESET %s;', r.rolname, setting.name)
        ELSE format('ALTER ROLE %I IN DATABASE %I RESET %s;', r.rolname, d.datname, setting.name)
    END
FROM pg_db_role_setting AS s
CROSS JOIN LATERAL unnest(s.setconfig) AS c (entry)
CROSS JOIN LATERAL (SELECT lower(split_part(c.entry, '=', 1)) AS name) AS setting
LEFT JOIN pg_roles AS r ON r.oid = s.setrole
LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
WHERE setting.name LIKE 'tenant\_guard.%'
    AND (d.oid IS NULL OR d.datname = current_database())
