-- The tables of the relations $1 (oid[]), each relation with its partitions and children from the top
-- down, and their indexes. $2 (text[]): the account column of each, if any.
WITH RECURSIVE tree AS (
    SELECT r.position, r.relation, NULL::oid AS parent, 0 AS depth, r.account_column
    FROM unnest($1::oid[], $2::text[]) WITH ORDINALITY AS r (relation, account_column, position)
    UNION ALL
    SELECT t.position, i.inhrelid, i.inhparent, t.depth + 1, t.account_column
    FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.relation
)
SELECT
    t.position::int4 - 1 AS root,
    c.oid AS relation,
    CASE WHEN c.relispartition THEN t.parent END AS parent,
    n.nspname::text AS schema,
    c.relname::text AS name,
    c.relkind = 'p' AS partitioned,
    -- From PostgreSQL 18 on it may be declared and not hold for the rows of before.
    COALESCE(a.attnotnull, true) AND NOT EXISTS (
        SELECT FROM pg_constraint AS k WHERE k.conrelid = a.attrelid AND k.contype = 'n'
            AND k.conkey[1] = a.attnum AND NOT k.convalidated) AS not_null,
    (SELECT k.convalidated FROM pg_constraint AS k
     WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conname = 'tenant_guard_account_not_null'
    ) AS proof,
    x.names AS index_names,
    x.columns AS index_columns,
    x.valid AS index_valid,
    x.plain AS index_plain,
    x.attached AS index_attached
FROM tree AS t
JOIN pg_class AS c ON c.oid = t.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = t.account_column
    AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (
    SELECT
        array_agg(i.relname::text ORDER BY i.oid) AS names,
        array_agg(COALESCE(k.names, '') ORDER BY i.oid) AS columns,
        array_agg(x.indisvalid AND x.indisready ORDER BY i.oid) AS valid,
        array_agg(m.amname = 'btree' AND x.indpred IS NULL ORDER BY i.oid) AS plain,
        array_agg(i.relispartition ORDER BY i.oid) AS attached
    FROM pg_index AS x
    JOIN pg_class AS i ON i.oid = x.indexrelid
    JOIN pg_am AS m ON m.oid = i.relam
    -- As JSON, since lists of unlike length make no array.
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(COALESCE(ka.attname, '') ORDER BY k.position)::text AS names
        FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (number, position)
        LEFT JOIN pg_attribute AS ka ON ka.attrelid = c.oid AND ka.attnum = k.number
        WHERE k.position <= x.indnkeyatts
    ) AS k
    WHERE x.indrelid = c.oid
) AS x
ORDER BY t.position, t.depth, c.oid
