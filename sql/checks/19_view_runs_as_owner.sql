-- Rows 19 and 20: a view reads with the rights, and the bypass, of its owner.
-- Finds views over protected relations without security_invoker that others may read or write,
-- themselves or through another such view: owned by a role that bypasses row security (error), or by one that is held
-- by the floor like everybody, so that only the table's grants are stepped around (warning). A view
-- with security_invoker over one without does not mend it: the inner one is named.
-- Fix: let it run as its reader.
WITH RECURSIVE open_view AS (
    SELECT v.view, v.view::regclass AS through
    FROM tenant_guard.dependent_view AS v
    WHERE v.kind = 'v' AND v.grantees IS NOT NULL
    UNION
    SELECT d.refobjid, o.through
    FROM open_view AS o
    JOIN pg_class AS c ON c.oid = o.view AND c.relkind = 'v'
    JOIN pg_rewrite AS r ON r.ev_class = o.view
    JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> o.view
    -- Through a view that runs as its reader, its reader must be allowed to read the inner one.
    WHERE NOT EXISTS (
        SELECT FROM pg_options_to_table(c.reloptions) AS f
        WHERE f.option_name = 'security_invoker' AND f.option_value::boolean)
)
SELECT CASE WHEN o.rolsuper OR o.rolbypassrls THEN 'error' ELSE 'warning' END, v.name,
    format('%s rows of %s with the rights of %I',
            CASE WHEN v.readers IS NULL AND v.grantees IS NOT NULL THEN 'changes' ELSE 'shows' END,
            v.sources, o.rolname)
        || CASE WHEN v.grantees IS NULL
            THEN ', through ' || (SELECT string_agg(DISTINCT p.through::text, ', ')
                FROM open_view AS p WHERE p.view = v.view) ELSE '' END,
    CASE WHEN current_setting('server_version_num')::integer >= 150000
        THEN format('ALTER VIEW %s SET (security_invoker = true);', v.name)
        WHEN v.grantees IS NULL THEN ''
        ELSE format('REVOKE ALL ON TABLE %s FROM %s CASCADE;', v.name, v.grantees) END
FROM tenant_guard.dependent_view AS v
JOIN pg_roles AS o ON o.oid = v.owner
WHERE v.kind = 'v'
    AND EXISTS (SELECT FROM open_view AS p WHERE p.view = v.view)
    -- Reference data is everybody's to read, and nobody's to write.
    AND (v.isolated OR (o.rolsuper OR o.rolbypassrls) AND EXISTS (
        SELECT FROM tenant_guard.granted_privilege AS g
        WHERE g.relation = v.view AND g.grantee <> v.owner
            AND g.privilege IN ('INSERT', 'UPDATE', 'DELETE')))
    AND NOT EXISTS (
        SELECT FROM pg_options_to_table(v.options) AS f
        WHERE f.option_name = 'security_invoker' AND f.option_value::boolean)
    AND NOT EXISTS (
        SELECT FROM tenant_guard.extension_object AS e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = v.view)
    AND ($1 IS NULL OR v.schema = ANY ($1))
