-- Row 26: checks and cascades of foreign keys ignore FORCE, so a key without the account lets a
-- row point at, and be deleted by, another account.
-- Finds foreign keys between protected relations that do not pair the two account columns (error; to
-- shared defaults warning, because a row without an account cannot be paired), and those of a child
-- beside its link or to a child (error). Keys that triggers hold to the account are none, nor are those
-- to accounts themselves. A key that is not enforced checks nothing and holds nothing. Finds links of children without a foreign key: a row whose parent is gone is
-- adopted by whoever makes a parent with its key (warning; info where no foreign key can express it: to
-- several relations, to one with inheritance children, to a key that is not unique).
-- Finds triggers whose key is gone: they refuse every row that is written (error).
-- Fix: a key over (account, ...) on both sides, with the unique constraint it needs, or triggers; of several
-- keys that need one constraint, the call that makes it once.
WITH held AS (
    SELECT t.tgrelid AS relation, t.tgargs AS name FROM pg_trigger AS t
    WHERE t.tgfoid = 'tenant_guard.check_binding'::regproc AND t.tgenabled = 'A'
        AND t.tgqual IS NULL AND t.tgtype = 21 AND t.tgattr = '' AND t.tgnargs = 1
), key AS (
    SELECT f.oid, f.conname, f.conrelid, f.confrelid, f.conkey, f.confkey, parent.archetype,
        child.name AS child, child.schema, parent.name AS parent,
        quote_ident(child.account_column) AS child_account,
        quote_ident(parent.account_column) AS parent_account, ca.attnum AS child_number, pa.attnum AS parent_number,
        (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.position)
         FROM unnest(f.conkey) WITH ORDINALITY AS k (attnum, position)
         JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.attnum)
            AS child_columns,
        (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.position)
         FROM unnest(f.confkey) WITH ORDINALITY AS k (attnum, position)
         JOIN pg_attribute AS a ON a.attrelid = f.confrelid AND a.attnum = k.attnum)
            AS parent_columns,
        CASE f.confupdtype WHEN 'c' THEN ' ON UPDATE CASCADE' WHEN 'r' THEN ' ON UPDATE RESTRICT'
            ELSE '' END AS on_update,
        CASE f.confdeltype WHEN 'c' THEN ' ON DELETE CASCADE' WHEN 'r' THEN ' ON DELETE RESTRICT'
            WHEN 'n' THEN ' ON DELETE SET NULL' WHEN 'd' THEN ' ON DELETE SET DEFAULT'
            ELSE '' END AS on_delete,
        CASE WHEN f.condeferrable THEN ' DEFERRABLE' ELSE '' END
            || CASE WHEN f.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END AS deferrable,
        -- Where a key over the account could not do what this one does, it takes a trigger.
        ca.attnotnull AND pa.attnotnull AND ca.atttypid = pa.atttypid AND f.confmatchtype <> 'f'
            AND f.confupdtype NOT IN ('n', 'd')
            AND (f.confdeltype NOT IN ('n', 'd') OR current_setting('server_version_num')::integer >= 150000)
            AND ca.attnum <> ALL (f.conkey)
            AND pa.attnum <> ALL (f.confkey) AS simple
    FROM pg_constraint AS f
    JOIN tenant_guard.protected_member AS child ON child.relation = f.conrelid
    JOIN tenant_guard.protected_member AS parent ON parent.relation = f.confrelid
    JOIN pg_attribute AS ca ON ca.attrelid = f.conrelid AND ca.attname = child.account_column
    JOIN pg_attribute AS pa ON pa.attrelid = f.confrelid AND pa.attname = parent.account_column
    WHERE f.contype = 'f' AND f.conparentid = 0 AND to_jsonb(f) ->> 'conenforced' IS DISTINCT FROM 'false'
        AND NOT EXISTS (
            SELECT FROM ROWS FROM (unnest(f.conkey), unnest(f.confkey)) AS pair (child, parent)
            WHERE pair.child = ca.attnum AND pair.parent = pa.attnum)
        -- The accounts of a table of accounts are named on purpose.
        AND NOT (pa.attnum = ANY (f.confkey) AND EXISTS (
            SELECT FROM pg_index AS i
            WHERE i.indrelid = f.confrelid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
                AND i.indnkeyatts = 1 AND i.indkey[0] = pa.attnum))
        AND NOT EXISTS (SELECT FROM held AS h WHERE h.relation = f.conrelid
            AND h.name = convert_to(f.conname, 'UTF8') || '\x00'::bytea)
        AND ($1 IS NULL OR child.schema = ANY ($1))
)
SELECT CASE WHEN k.archetype = 'shared_defaults' THEN 'warning' ELSE 'error' END, k.child,
    format('foreign key %I (%s) to %s does not include the account', k.conname, k.child_columns,
            k.parent)
        || CASE WHEN k.archetype = 'shared_defaults'
            THEN ', and cannot while rows without an account are referred to' ELSE '' END,
    CASE WHEN k.archetype = 'shared_defaults' OR NOT k.simple OR NOT has_unique AND count(*)
            FILTER (WHERE k.archetype <> 'shared_defaults' AND k.simple) OVER (PARTITION BY k.confrelid, of_key) > 1
        THEN format('SELECT tenant_guard.bind_foreign_keys(%L);', k.schema) ELSE format('%sSELECT tenant_guard.replace_foreign_key(%L, %L, %L);',
        CASE WHEN has_unique THEN ''
            ELSE format('ALTER TABLE %s ADD UNIQUE (%s, %s); ', k.parent, k.parent_account,
                k.parent_columns) END,
        k.child, k.conname,
        format('FOREIGN KEY (%s, %s) REFERENCES %s (%s, %s)%s%s%s',
            k.child_account, k.child_columns, k.parent, k.parent_account, k.parent_columns,
            k.on_update,
            -- The account stays where it is when the reference goes.
            k.on_delete || CASE WHEN k.on_delete LIKE '% SET %'
                THEN format(' (%s)', k.child_columns) ELSE '' END,
            k.deferrable)) END
FROM key AS k
CROSS JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indrelid = k.confrelid AND i.indisunique AND i.indimmediate
            AND i.indpred IS NULL AND i.indexprs IS NULL
            AND ARRAY(SELECT a FROM unnest(i.indkey[0:i.indnkeyatts - 1]) AS a ORDER BY 1)
                = ARRAY(SELECT a FROM unnest(k.parent_number || k.confkey) AS a ORDER BY 1)
    ) AS has_unique,
    ARRAY(SELECT a FROM unnest(k.confkey) AS a ORDER BY 1) AS of_key
) AS parent_index
UNION ALL
SELECT 'error', child.name,
    format('foreign key %I to %s cannot include the account, which a child does not have: it takes a '
        'trigger, or an account column', f.conname, parent.name),
    format('SELECT tenant_guard.bind_foreign_keys(%L);', child.schema)
FROM pg_constraint AS f
JOIN tenant_guard.protected_member AS child ON child.relation = f.conrelid
JOIN tenant_guard.protected_member AS parent ON parent.relation = f.confrelid
    AND parent.archetype NOT IN ('reference', 'deny_all', 'public_read', 'shared_defaults')
WHERE f.contype = 'f' AND f.conparentid = 0 AND to_jsonb(f) ->> 'conenforced' IS DISTINCT FROM 'false'
    AND (child.archetype = 'child'
        OR parent.archetype = 'child' AND child.archetype NOT IN ('reference', 'deny_all'))
    AND NOT EXISTS (SELECT FROM held AS h WHERE h.relation = f.conrelid
        AND h.name = convert_to(f.conname, 'UTF8') || '\x00'::bytea)
    AND NOT EXISTS (
        SELECT FROM tenant_guard.protection_link AS l
        JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attname = l.via
        WHERE l.relation = child.root AND a.attnum = ANY (f.conkey))
    AND ($1 IS NULL OR child.schema = ANY ($1))
UNION ALL
SELECT CASE WHEN bool_and(possible.yes) THEN 'warning' ELSE 'info' END, m.name,
    format('no foreign key holds column %I to %s: a row whose parent is gone is adopted by a new one with '
        'its key, of any account', l.via, string_agg(l.parent::text, ', ' ORDER BY l.position)),
    CASE WHEN bool_and(possible.yes) THEN format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%I) '
        'REFERENCES %s (%I) NOT VALID; SELECT tenant_guard.validate_foreign_key(%L, %L);',
        m.name, min(fresh.name), l.via, min(l.parent::text), min(l.parent_key), m.name,
        min(fresh.name)) ELSE '' END
FROM tenant_guard.protected_member AS m
JOIN tenant_guard.protection_link AS l ON l.relation = m.root
JOIN pg_attribute AS a ON a.attrelid = m.relation AND a.attname = l.via
CROSS JOIN LATERAL (
    SELECT l.type_value IS NULL
        -- Rows of inheritance children are no rows of the parent to a foreign key.
        AND NOT EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
            WHERE i.inhparent = l.parent AND NOT c.relispartition)
        AND EXISTS (SELECT FROM pg_index AS u
            JOIN pg_attribute AS k ON k.attrelid = u.indrelid AND k.attnum = u.indkey[0]
            WHERE u.indrelid = l.parent AND u.indisunique AND u.indnkeyatts = 1 AND u.indpred IS NULL
                AND k.attname = l.parent_key) AS yes) AS possible
CROSS JOIN LATERAL (SELECT left(l.via, 55) || '_parent' AS name) AS fresh
WHERE m.relation = m.root
    AND NOT EXISTS (
        SELECT FROM pg_constraint AS f
        WHERE f.contype = 'f' AND f.conrelid = m.relation AND f.confrelid = l.parent
            AND to_jsonb(f) ->> 'conenforced' IS DISTINCT FROM 'false' AND a.attnum = ANY (f.conkey))
    AND ($1 IS NULL OR m.schema = ANY ($1))
GROUP BY m.name, l.via
UNION ALL
SELECT 'error', m.name,
    format('foreign key %I is not there, and the trigger that held it to the account refuses %s', gone.key,
        CASE WHEN t.tgfoid = 'tenant_guard.check_binding'::regproc THEN 'every row'
            ELSE 'to change or delete a row' END),
    format('SELECT tenant_guard.bind_foreign_keys(%L);', m.schema)
FROM pg_trigger AS t
JOIN tenant_guard.protected_member AS m ON m.relation = t.tgrelid
CROSS JOIN LATERAL (
    SELECT convert_from(substring(t.tgargs FOR length(t.tgargs) - 1), 'UTF8') AS key
    WHERE t.tgnargs = 1) AS gone
WHERE t.tgfoid IN ('tenant_guard.check_binding'::regproc, 'tenant_guard.check_bound'::regproc)
    AND t.tgparentid = 0
    AND NOT EXISTS (
        SELECT FROM pg_constraint AS f
        WHERE f.contype = 'f' AND f.conname = gone.key
            AND t.tgrelid = CASE WHEN t.tgfoid = 'tenant_guard.check_binding'::regproc THEN f.conrelid
                ELSE f.confrelid END)
    AND ($1 IS NULL OR m.schema = ANY ($1))
