-- Row 31: a sequence shared by all accounts tells how much the others write, and UPDATE on it sets it.
-- Finds UPDATE (warning) and SELECT (info) on sequences of protected relations granted to others than
-- the owner. An INSERT needs USAGE, and neither of the two.
-- Fix: revoke them.
SELECT CASE WHEN bool_or(g.privilege = 'UPDATE') THEN 'warning' ELSE 'info' END,
    s.oid::regclass::text,
    format('%s on the sequence of %s granted to %s',
        string_agg(DISTINCT g.privilege, ', '), m.name, grantee.name),
    format('REVOKE SELECT, UPDATE ON SEQUENCE %s FROM %s CASCADE;', s.oid::regclass, grantee.name)
FROM tenant_guard.protected_member AS m
CROSS JOIN LATERAL (
    SELECT d.objid AS oid FROM pg_depend AS d
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = m.relation AND d.deptype IN ('a', 'i')
    UNION
    SELECT d.refobjid FROM pg_attrdef AS v
    JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = v.oid
        AND d.refclassid = 'pg_class'::regclass
    WHERE v.adrelid = m.relation
) AS used
JOIN pg_class AS s ON s.oid = used.oid AND s.relkind = 'S'
JOIN tenant_guard.granted_privilege AS g ON g.relation = s.oid AND g.grantee <> s.relowner
LEFT JOIN pg_roles AS r ON r.oid = g.grantee
CROSS JOIN LATERAL (
    SELECT CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS name) AS grantee
WHERE g.privilege IN ('SELECT', 'UPDATE')
    -- A partition uses its parent's.
    AND m.relation = m.root
    AND ($1 IS NULL OR m.schema = ANY ($1))
GROUP BY s.oid, m.name, grantee.name
