-- Row 1: row security that does not hold for the table's owner.
-- Finds tables with row security enabled and not forced: protected ones (error), and others in
-- the schemas asked for that have policies (warning).
-- Fix: force it.
SELECT CASE WHEN m.relation IS NULL THEN 'warning' ELSE 'error' END,
    c.oid::regclass::text,
    format('row security does not hold for the owner, role %I', o.rolname),
    format('ALTER TABLE %s FORCE ROW LEVEL SECURITY;', c.oid::regclass)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_roles AS o ON o.oid = c.relowner
LEFT JOIN tenant_guard.protected_member AS m ON m.relation = c.oid
WHERE c.relrowsecurity AND NOT c.relforcerowsecurity
    AND (m.relation IS NOT NULL OR EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid))
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'tenant_guard')
    AND ($1 IS NULL OR n.nspname = ANY ($1))
