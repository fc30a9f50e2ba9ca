-- Row 2: BYPASSRLS beats FORCE.
-- Finds roles that can log in, bypass row security and hold a privilege on a protected relation
-- (error). Superusers are row 3: nothing in the database holds them.
-- Fix: take the attribute away.
SELECT 'error', quote_ident(r.rolname),
    format('bypasses row security and can reach %s', string_agg(m.name, ', ' ORDER BY m.name)),
    format('ALTER ROLE %I NOBYPASSRLS;', r.rolname)
FROM pg_roles AS r
JOIN tenant_guard.protected_member AS m
    ON has_table_privilege(r.oid, m.relation, 'SELECT, INSERT, UPDATE, DELETE')
        OR has_any_column_privilege(r.oid, m.relation, 'SELECT, INSERT, UPDATE')
WHERE r.rolcanlogin AND r.rolbypassrls AND NOT r.rolsuper
    AND ($1 IS NULL OR m.schema = ANY ($1))
GROUP BY r.rolname
