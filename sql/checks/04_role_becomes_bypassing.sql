-- Row 4: BYPASSRLS and SUPERUSER are not inherited, but a member, however far, becomes the role with
-- SET ROLE.
-- Finds roles that can log in and become a superuser, or a bypassing role that can reach a protected
-- relation (error).
-- Fix: revoke the last step of each way there.
SELECT 'error', quote_ident(w.role_name),
    format('can become %I, which %s, through %s', w.reached_name,
        CASE WHEN t.rolsuper THEN 'is superuser' ELSE 'bypasses row security' END,
        CASE WHEN bool_and(w.direct) THEN 'its own membership'
            ELSE string_agg(DISTINCT quote_ident(w.via_name), ', ') END),
    string_agg(DISTINCT w.cut, ' ')
FROM tenant_guard.role_way AS w
JOIN pg_roles AS t ON t.oid = w.reached AND (t.rolsuper OR t.rolbypassrls)
WHERE EXISTS (
        SELECT FROM tenant_guard.protected_member AS m
        WHERE ($1 IS NULL OR m.schema = ANY ($1))
            AND (t.rolsuper
                OR has_table_privilege(t.oid, m.relation, 'SELECT, INSERT, UPDATE, DELETE')
                OR has_any_column_privilege(t.oid, m.relation, 'SELECT, INSERT, UPDATE')))
GROUP BY w.role, w.role_name, w.reached, w.reached_name, t.rolsuper
