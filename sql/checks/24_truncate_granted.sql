-- Row 24: TRUNCATE ignores row security; REFERENCES and TRIGGER see or touch other accounts' rows.
-- Finds these privileges on protected relations granted to others than the owner: TRUNCATE
-- (error), REFERENCES and TRIGGER (warning).
-- Fix: revoke them.
SELECT CASE WHEN bool_or(g.privilege = 'TRUNCATE') THEN 'error' ELSE 'warning' END, m.name,
    format('%s granted to %s', string_agg(DISTINCT g.privilege, ', '), grantee.name),
    format('REVOKE TRUNCATE, REFERENCES, TRIGGER ON TABLE %s FROM %s CASCADE;',
        m.name, grantee.name)
FROM tenant_guard.protected_member AS m
JOIN tenant_guard.granted_privilege AS g ON g.relation = m.relation AND g.grantee <> m.owner
LEFT JOIN pg_roles AS r ON r.oid = g.grantee
CROSS JOIN LATERAL (
    SELECT CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS name
) AS grantee
WHERE g.privilege IN ('TRUNCATE', 'REFERENCES', 'TRIGGER')
    AND ($1 IS NULL OR m.schema = ANY ($1))
GROUP BY m.name, grantee.name
