-- Foreign keys between protected relations whose two accounts are not paired by the key itself.
-- $1 name[]: schemas of the relations that refer, null for all. $2 boolean: those too that pair them, or
-- that are not enforced: they say what refers to what, and hold nothing.
SELECT f.oid, f.conname::text,
    child.relation::oid, child.root::oid, parent.relation::oid, parent.root::oid,
    format('%I.%I', cn.nspname, cc.relname), format('%I.%I', pn.nspname, pc.relname),
    (SELECT array_agg(a.attname::text ORDER BY k.position)
     FROM unnest(f.conkey) WITH ORDINALITY AS k (attnum, position)
     JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.attnum),
    (SELECT array_agg(a.attname::text ORDER BY k.position)
     FROM unnest(f.confkey) WITH ORDINALITY AS k (attnum, position)
     JOIN pg_attribute AS a ON a.attrelid = f.confrelid AND a.attnum = k.attnum),
    child.account_column::text, format_type(ca.atttypid, NULL), COALESCE(ca.attnotnull, false),
    parent.account_column::text, format_type(pa.atttypid, NULL), COALESCE(pa.attnotnull, false),
    f.confupdtype::text, f.confdeltype::text,
    -- From PostgreSQL 15 on.
    (SELECT array_agg(a.attname::text ORDER BY k.position)
     FROM jsonb_array_elements_text(CASE jsonb_typeof(extra.of -> 'confdelsetcols') WHEN 'array'
         THEN extra.of -> 'confdelsetcols' ELSE '[]' END) WITH ORDINALITY AS k (attnum, position)
     JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.attnum::int2),
    f.confmatchtype = 'f',
    EXISTS (SELECT FROM pg_attribute AS a
        WHERE a.attrelid = f.conrelid AND a.attnum = ANY (f.conkey) AND NOT a.attnotnull),
    f.condeferrable, f.condeferred,
    -- From PostgreSQL 18 on.
    COALESCE((extra.of ->> 'conperiod')::boolean, false),
    ca.attnum = ANY (f.conkey) OR pa.attnum = ANY (f.confkey),
    pa.attnum = ANY (f.confkey) AND EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indrelid = f.confrelid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
            AND i.indnkeyatts = 1 AND i.indkey[0] = pa.attnum),
    EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indrelid = f.confrelid AND i.indisunique AND i.indimmediate AND i.indisvalid
            AND i.indpred IS NULL AND i.indexprs IS NULL
            AND ARRAY(SELECT a FROM unnest(i.indkey[0:i.indnkeyatts - 1]) AS a ORDER BY 1)
                = ARRAY(SELECT a FROM unnest(pa.attnum || f.confkey) AS a ORDER BY 1)),
    current_setting('server_version_num')::int >= 150000,
    paired.yes,
    -- The key by which rows of the relation find their account is no other one.
    EXISTS (SELECT FROM tenant_guard.protection_link AS l
        JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attname = l.via
        WHERE l.relation = child.root AND l.parent = parent.relation AND a.attnum = ANY (f.conkey)),
    f.convalidated AND enforced.yes
FROM pg_constraint AS f
CROSS JOIN LATERAL (SELECT to_jsonb(f) AS of) AS extra
-- From PostgreSQL 18 on.
CROSS JOIN LATERAL (SELECT COALESCE((extra.of ->> 'conenforced')::boolean, true) AS yes) AS enforced
JOIN tenant_guard.protected_member AS child ON child.relation = f.conrelid
JOIN tenant_guard.protected_member AS parent ON parent.relation = f.confrelid
JOIN pg_class AS cc ON cc.oid = f.conrelid JOIN pg_namespace AS cn ON cn.oid = cc.relnamespace
JOIN pg_class AS pc ON pc.oid = f.confrelid JOIN pg_namespace AS pn ON pn.oid = pc.relnamespace
LEFT JOIN pg_attribute AS ca ON ca.attrelid = f.conrelid AND ca.attname = child.account_column
LEFT JOIN pg_attribute AS pa ON pa.attrelid = f.confrelid AND pa.attname = parent.account_column
CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM ROWS FROM (unnest(f.conkey), unnest(f.confkey)) AS pair (child, parent)
    WHERE pair.child = ca.attnum AND pair.parent = pa.attnum) AS yes) AS paired
WHERE f.contype = 'f' AND f.conparentid = 0
    AND child.archetype NOT IN ('reference', 'deny_all')
    AND parent.archetype NOT IN ('reference', 'deny_all')
    AND ($1 IS NULL OR child.schema = ANY ($1))
    AND ($2 OR NOT paired.yes AND enforced.yes)
ORDER BY 7, 2
