WITH RECURSIVE function AS MATERIALIZED (
    SELECT p.oid, lower(regexp_replace(p.proname::text, '[^[:alnum:]_]+', ' ', 'g')) AS name,
        lower(regexp_replace(p.prosrc, '[^[:alnum:]_]+', ' ', 'g')) || ' ' AS words,
        -- What it makes up at run time nothing tells; as its caller it reads what that is tried with.
        p.prosecdef AND (o.rolsuper OR o.rolbypassrls) AND p.prosqlbody IS NULL
            AND (l.lanname NOT IN ('sql', 'plpgsql') OR p.prosrc ~* ('\m(execute|dblink\w*|'
                || '(query|table|schema|database|cursor)_to_xml\w*|ts_stat|ts_rewrite)\M')) AS untold
    FROM pg_proc AS p JOIN pg_roles AS o ON o.oid = p.proowner
    JOIN pg_language AS l ON l.oid = p.prolang
    WHERE p.oid >= 16384 AND p.prokind IN ('f', 'p', 'a', 'w')
        AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)
        AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = 'pg_proc'::regclass
            AND e.objid = p.oid AND e.deptype = 'e')
), showing (catalog, oid, name) AS (
    SELECT 'pg_class'::regclass, c.oid,
        lower(regexp_replace(c.relname::text, '[^[:alnum:]_]+', ' ', 'g'))
    FROM pg_class AS c WHERE c.oid = ANY ($1)
    UNION ALL
    SELECT 'pg_proc'::regclass, f.oid, f.name FROM function AS f WHERE f.untold
    UNION
    SELECT n.catalog, n.oid, n.name
    FROM showing AS s CROSS JOIN LATERAL (
        SELECT 'pg_class'::regclass, v.oid,
            lower(regexp_replace(v.relname::text, '[^[:alnum:]_]+', ' ', 'g'))
        FROM pg_depend AS d JOIN pg_rewrite AS w ON w.oid = d.objid AND w.ev_type = '1'
        JOIN pg_class AS v ON v.oid = w.ev_class
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = s.catalog AND d.refobjid = s.oid
        UNION ALL
        SELECT 'pg_proc'::regclass, f.oid, f.name
        FROM pg_depend AS d JOIN function AS f ON f.oid = d.objid
        WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = s.catalog AND d.refobjid = s.oid
        UNION ALL
        SELECT 'pg_proc'::regclass, f.oid, f.name FROM function AS f
        WHERE position(s.name || ' ' IN f.words) > 0
    ) AS n (catalog, oid, name)
)
SELECT c.oid, false,
    format('%s %I.%I', CASE c.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END,
        n.nspname, c.relname),
    format('%I.%I', n.nspname, c.relname),
    CASE WHEN c.relkind = 'm' THEN 'it holds rows as they were when it was refreshed' END,
    c.relowner, false, false, false
FROM showing AS s JOIN pg_class AS c ON c.oid = s.oid AND s.catalog = 'pg_class'::regclass
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm')
UNION ALL
SELECT p.oid, true, format('function %s', p.oid::regprocedure), format('%I.%I', n.nspname, p.proname),
    CASE WHEN f.untold THEN 'it can make up at run time what it reads, and ' ELSE '' END
        || CASE WHEN p.prokind = 'p' THEN 'it is a procedure'
        WHEN p.prokind <> 'f' THEN 'it is an aggregate'
        WHEN p.pronargs <> p.pronargdefaults THEN 'what arguments it takes is not known'
        WHEN p.prorettype = 'refcursor'::regtype
            OR p.proallargtypes @> ARRAY['refcursor'::regtype::oid] THEN 'it returns a cursor' END,
    -- Defaults of arguments run with the caller's rights.
    p.proowner, r.rolsuper, p.prosecdef AND p.pronargs = 0, p.provolatile = 'v'
FROM showing AS s JOIN pg_proc AS p ON p.oid = s.oid AND s.catalog = 'pg_proc'::regclass
JOIN function AS f ON f.oid = p.oid
JOIN pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_roles AS r ON r.oid = p.proowner
ORDER BY 3
