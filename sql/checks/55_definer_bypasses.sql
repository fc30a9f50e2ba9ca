-- Row 55: a SECURITY DEFINER function shows its caller what its owner may see.
-- Finds functions that others may call and that run as a role that bypasses row security: they name, or
-- their body depends on, a protected relation or a view or function that does (error); what they do is
-- not told by their text, or they compare with the verified account themselves (info), or name it
-- without comparing (warning). And trigger functions of that kind: whoever may write the table, or the
-- view, that the trigger is on calls them. Those on protected relations are row 52's.
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
SELECT CASE WHEN r.sources IS NULL OR a.compared THEN 'info' WHEN a.named THEN 'warning'
        ELSE 'error' END,
    f.name,
    format('runs as %I, which bypasses row security, for %s', f.owner_name,
            CASE WHEN f.is_trigger THEN 'whoever writes ' || w.relations ELSE f.callers END)
        || CASE WHEN r.sources IS NULL THEN '' ELSE format(', and reads %s', r.sources) END
        || CASE WHEN r.sources IS NULL THEN ''
            WHEN a.compared THEN ', comparing with the verified account'
            WHEN a.named THEN ', naming the verified account but comparing nothing with it'
            ELSE '' END,
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
CROSS JOIN LATERAL (
    SELECT f.source ~ 'tenant_guard\.account_id' AS named,
        f.source ~ ('(=|\min|\many)\s*\(*\s*(select\s+)?tenant_guard\.account_id(_text|_bigint)?\s*\('
            || '|tenant_guard\.account_id(_text|_bigint)?\s*\(\s*\)(\s+as\s+\w+)?\s*\)*\s*=')
            AS compared) AS a
LEFT JOIN LATERAL (
    SELECT string_agg(DISTINCT t.tgrelid::regclass::text, ', ') AS relations
    FROM pg_trigger AS t
    WHERE t.tgfoid = f.oid AND NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled <> 'D'
        AND NOT EXISTS (
            SELECT FROM tenant_guard.protected_member AS m WHERE m.relation = t.tgrelid)
        AND EXISTS (
            SELECT FROM tenant_guard.granted_privilege AS g JOIN pg_class AS c ON c.oid = t.tgrelid
            WHERE g.relation = t.tgrelid AND g.grantee <> c.relowner
                AND g.privilege IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'))
) AS w ON f.is_trigger
WHERE f.definer AND f.bypasses
    AND CASE WHEN f.is_trigger THEN w.relations IS NOT NULL AND r.sources IS NOT NULL
        ELSE f.callers IS NOT NULL END
    AND EXISTS (SELECT FROM tenant_guard.protected_member)
    AND ($1 IS NULL OR f.schema = ANY ($1))
