-- Row 52: a trigger whose function is SECURITY DEFINER runs as its owner.
-- Finds triggers on protected relations whose function is owned by a role that bypasses row security
-- (warning: it works in every account on values that the client chose).
-- Fix: give the function to the owner of the table, or let it run as its caller where that one bypasses,
-- too.
SELECT 'warning', m.name,
    format('trigger %I runs %s with the rights of %I, which bypasses row security',
        min(t.tgname), f.name, f.owner_name),
    CASE WHEN o.rolsuper OR o.rolbypassrls
        THEN format('ALTER FUNCTION %s SECURITY INVOKER;', f.name)
        ELSE format('ALTER FUNCTION %s OWNER TO %I;', f.name, o.rolname) END
FROM tenant_guard.protected_member AS m
JOIN pg_trigger AS t ON t.tgrelid = m.relation AND NOT t.tgisinternal AND t.tgparentid = 0
JOIN tenant_guard.written_routine AS f ON f.oid = t.tgfoid AND f.definer AND f.bypasses
JOIN pg_roles AS o ON o.oid = m.owner
WHERE $1 IS NULL OR m.schema = ANY ($1)
GROUP BY m.name, f.name, f.owner_name, o.rolname, o.rolsuper, o.rolbypassrls
