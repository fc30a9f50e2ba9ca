-- Row 55: a SECURITY DEFINER function shows its caller what its owner may see.
-- Finds functions that others may call and that run as a role that bypasses row security: they name, or
-- their body depends on, a protected relation or a view or function that does (error); what they do is
-- not told by their text, or they keep to the verified account themselves (info).
-- Fix: give the function to the owner of the relation, whom the floor binds; else let it run as its
-- caller.
WITH RECURSIVE named AS MATERIALIZED (
    SELECT m.relation::oid AS oid, c.relname AS word, m.relation::oid AS source
    FROM tenant_guard.protected_member AS m
    JOIN pg_class AS c ON c.oid = m.relation
    WHERE m.archetype <> 'reference'
    UNION ALL
    SELECT v.view::oid, c.relname, v.view::oid
    FROM tenant_guard.dependent_view AS v JOIN pg_class AS c ON c.oid = v.view
), word AS MATERIALIZED (
    SELECT f.oid AS routine, w.word
    FROM tenant_guard.written_routine AS f
    CROSS JOIN LATERAL (
        SELECT DISTINCT s.word FROM regexp_split_to_table(f.source, '[^a-z0-9_$]+') AS s (word)) AS w
    WHERE NOT f.has_body
), direct AS MATERIALIZED (
    SELECT w.routine, n.source
    FROM named AS n JOIN word AS w ON w.word = lower(n.word)
    UNION
    SELECT d.objid, n.source
    FROM named AS n
    JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = n.oid
        AND d.classid = 'pg_proc'::regclass
), call AS MATERIALIZED (
    SELECT d.objid AS caller, d.refobjid AS called
    FROM pg_depend AS d
    WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_proc'::regclass
    UNION
    SELECT w.routine, f.oid
    FROM tenant_guard.written_routine AS f
    JOIN word AS w ON w.word = lower(f.bare_name) AND w.routine <> f.oid
), touched AS (
    SELECT routine, source FROM direct
    UNION
    SELECT c.caller, t.source FROM touched AS t JOIN call AS c ON c.called = t.routine
)
SELECT CASE WHEN r.sources IS NULL OR f.source ~ 'tenant_guard\.account_id' THEN 'info'
        ELSE 'error' END,
    f.name,
    format('runs as %I, which bypasses row security, for %s', f.owner_name, f.callers)
        || CASE WHEN r.sources IS NULL THEN ''
            WHEN f.source ~ 'tenant_guard\.account_id'
                THEN format(', and reads %s for the verified account', r.sources)
            ELSE format(', and reads %s', r.sources) END,
    CASE WHEN o.rolname IS NULL THEN format('ALTER ROUTINE %s SECURITY INVOKER;', f.name)
        ELSE format('ALTER ROUTINE %s OWNER TO %I;', f.name, o.rolname) END
FROM tenant_guard.written_routine AS f
LEFT JOIN LATERAL (
    SELECT string_agg(DISTINCT t.source::regclass::text, ', ') AS sources,
        min(c.relowner::int8)::oid AS owner
    FROM touched AS t JOIN pg_class AS c ON c.oid = t.source
    WHERE t.routine = f.oid
) AS r ON true
LEFT JOIN pg_roles AS o ON o.oid = r.owner AND NOT o.rolsuper AND NOT o.rolbypassrls
WHERE f.definer AND f.bypasses AND NOT f.is_trigger AND f.callers IS NOT NULL
    AND EXISTS (SELECT FROM tenant_guard.protected_member)
    AND ($1 IS NULL OR f.schema = ANY ($1))
