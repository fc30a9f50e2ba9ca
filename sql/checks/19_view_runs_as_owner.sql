-- Row 19: a view reads with the rights, and the bypass, of its owner.
-- Finds views over protected relations without security_invoker that others may read: owned by a
-- role that bypasses row security (error), or by one that is held by the floor like everybody, so
-- that only the table's grants are stepped around (warning).
-- Fix: let it run as its reader.
SELECT CASE WHEN o.rolsuper OR o.rolbypassrls THEN 'error' ELSE 'warning' END, v.name,
    format('shows rows of %s with the rights of %I', v.sources, o.rolname),
    format('ALTER VIEW %s SET (security_invoker = true);', v.name)
FROM tenant_guard.dependent_view AS v
JOIN pg_roles AS o ON o.oid = v.owner
WHERE v.kind = 'v' AND v.readers IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pg_options_to_table(v.options) AS f
        WHERE f.option_name = 'security_invoker' AND f.option_value::boolean)
    AND ($1 IS NULL OR v.schema = ANY ($1))
