-- Row 45 (and 49): a policy asks a table that the same users may write, and so say themselves what they
-- may see.
-- Finds policies whose sub-queries, or the functions they call, read a table without row security that
-- somebody they are for may write (error).
-- Fix: take the right to write it away.
SELECT 'error', p.object,
    format('asks %s, which has no row security and which %s may write', s.relation::regclass,
        writers.list),
    format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON TABLE %s FROM %s CASCADE;',
        s.relation::regclass, writers.list)
FROM tenant_guard.written_policy AS p
JOIN tenant_guard.policy_source AS s ON s.policy = p.oid
JOIN pg_class AS c ON c.oid = s.relation AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END,
        ', ') AS list
    FROM tenant_guard.granted_privilege AS g LEFT JOIN pg_roles AS r ON r.oid = g.grantee
    WHERE g.relation = c.oid AND g.grantee <> c.relowner
        AND g.privilege IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
        AND (g.grantee = 0 OR p.roles = '{0}' OR EXISTS (
            SELECT FROM unnest(p.roles) AS u (role)
            WHERE pg_has_role(u.role, g.grantee, 'MEMBER') OR pg_has_role(g.grantee, u.role, 'MEMBER')))
) AS writers
WHERE writers.list IS NOT NULL AND ($1 IS NULL OR p.schema = ANY ($1))
