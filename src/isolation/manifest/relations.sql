-- What the relations $1 (schemas text[]) and $2 (names text[]) are, one row for each that exists.
SELECT
    c.oid AS relation,
    n.nspname::text AS schema,
    c.relname::text AS name,
    CASE
        WHEN n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast', 'tenant_guard')
            THEN 'a system catalog or a table of tenant_guard'
        WHEN c.relkind IN ('r', 'p') AND c.relpersistence = 't' THEN 'a temporary table'
        WHEN c.relkind IN ('r', 'p') THEN ''
        WHEN c.relkind = 'v' THEN 'a view'
        WHEN c.relkind = 'm' THEN 'a materialized view'
        WHEN c.relkind = 'f' THEN 'a foreign table'
        WHEN c.relkind = 'S' THEN 'a sequence'
        WHEN c.relkind IN ('i', 'I') THEN 'an index'
        ELSE 'not a table'
    END AS other_kind,
    (SELECT i.inhparent::regclass::text FROM pg_inherits AS i WHERE i.inhrelid = c.oid
     ORDER BY i.inhseqno LIMIT 1) AS part_of,
    a.names AS column_names,
    a.types AS column_types,
    a.keys AS column_keys,
    f.columns AS link_columns,
    f.schemas AS link_schemas,
    f.names AS link_names
FROM unnest($1::text[], $2::text[]) AS w (schema, name)
JOIN pg_namespace AS n ON n.nspname = w.schema
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name
CROSS JOIN LATERAL (
    SELECT
        array_agg(a.attname::text ORDER BY a.attnum) AS names,
        array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum) AS types,
        array_agg(EXISTS (
            SELECT FROM pg_index AS k
            WHERE k.indrelid = c.oid AND k.indisprimary AND a.attnum = ANY (k.indkey)
        ) ORDER BY a.attnum) AS keys
    FROM pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
) AS a
-- Columns that are a foreign key alone and lead to one relation only.
CROSS JOIN LATERAL (
    SELECT array_agg(l.attname::text) AS columns, array_agg(pn.nspname::text) AS schemas,
        array_agg(p.relname::text) AS names
    FROM (
        SELECT v.attname, min(k.confrelid) AS parent
        FROM pg_constraint AS k
        JOIN pg_attribute AS v ON v.attrelid = c.oid AND ARRAY[v.attnum] = k.conkey
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0
        GROUP BY v.attname
        HAVING min(k.confrelid) = max(k.confrelid)
    ) AS l
    JOIN pg_class AS p ON p.oid = l.parent
    JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
) AS f
