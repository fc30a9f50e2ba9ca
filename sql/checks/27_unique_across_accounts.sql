-- Rows 27 to 30: a unique or exclusion constraint over all accounts tells, by its error or by what ON
-- CONFLICT and MERGE report, that another account has a value.
-- Finds such constraints, and unique indexes, on protected relations over natural values without the
-- account (warning; info on a table of accounts, where a name may have to be everybody's). Values that
-- nobody guesses or chooses are none: uuid, identity, serial, a primary key of one integer, and what
-- refers to a protected relation. Nor are relations that everybody reads. A key by which children find
-- their parent must not double in any account.
-- Fix: the same constraint with the account, of a child with its parent, in front; before that, where
-- foreign keys refer to it, these with the account.
WITH rule AS (
    SELECT i.indexrelid, i.indrelid, i.indisexclusion, x.relname, x.relkind, k.oid AS con,
        k.conname, m.name, m.schema, m.relation, m.account_column, m.root, am.amname,
        pg_get_indexdef(i.indexrelid) AS definition,
        COALESCE(m.account_column, l.via) AS scope,
        is_account.yes AS of_accounts,
        CASE i.indisexclusion WHEN true THEN 'exclusion constraint' ELSE
            CASE WHEN k.oid IS NULL THEN 'unique index' WHEN k.contype = 'p' THEN 'primary key'
                ELSE 'unique constraint' END END AS kind
    FROM tenant_guard.protected_member AS m
    JOIN pg_index AS i ON i.indrelid = m.relation AND (i.indisunique OR i.indisexclusion)
    JOIN pg_class AS x ON x.oid = i.indexrelid AND NOT x.relispartition
    JOIN pg_am AS am ON am.oid = x.relam
    LEFT JOIN pg_constraint AS k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
    LEFT JOIN LATERAL (
        SELECT min(p.via::text)::name AS via FROM tenant_guard.protection_link AS p
        WHERE p.relation = m.root) AS l ON true
    CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM pg_index AS u
            JOIN pg_attribute AS a ON a.attrelid = u.indrelid AND a.attnum = u.indkey[0]
            WHERE u.indrelid = m.root AND u.indisunique AND u.indnkeyatts = 1
                AND u.indpred IS NULL AND a.attname = m.account_column) AS yes) AS is_account
    WHERE m.archetype IN ('account', 'shared_defaults', 'child')
        AND ($1 IS NULL OR m.schema = ANY ($1))
        AND NOT EXISTS (
            SELECT FROM tenant_guard.protection_link AS p
            JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attname = p.parent_key
            WHERE p.parent = m.relation AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum
                AND i.indpred IS NULL)
        -- No column of the key, or of an expression in it, is the account or a value nobody guesses or
        -- chooses.
        AND NOT EXISTS (
            SELECT FROM (
                SELECT k.attnum FROM unnest(i.indkey[0:i.indnkeyatts - 1]) AS k (attnum)
                UNION ALL
                SELECT v.attnum[1]::int2
                FROM regexp_matches(i.indexprs::text, ':varattno (\d+)', 'g') AS v (attnum)
            ) AS part
            JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = part.attnum
            JOIN pg_type AS t ON t.oid = a.atttypid
            LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attname = COALESCE(m.account_column, l.via)
                OR 'uuid'::regtype IN (t.oid, t.typbasetype)
                OR a.attidentity <> ''
                OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%'
                OR i.indisprimary AND i.indnkeyatts = 1
                    AND a.atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
                OR EXISTS (
                    SELECT FROM pg_constraint AS f
                    JOIN tenant_guard.protected_member AS parent ON parent.relation = f.confrelid
                    WHERE f.conrelid = a.attrelid AND f.contype = 'f' AND a.attnum = ANY (f.conkey)
                        AND parent.archetype NOT IN ('reference', 'public_read')))
)
SELECT CASE WHEN r.of_accounts THEN 'info' ELSE 'warning' END,
    format('%I.%I', r.schema, r.relname),
    format('%s of %s tells which values other accounts have', r.kind, r.name)
        || CASE WHEN r.of_accounts THEN ': on a table of accounts this may be meant'
            WHEN referred.list IS NOT NULL THEN format(': give it the column %I, after the foreign '
                'keys that refer to it (%s)', r.scope, referred.list)
            ELSE '' END,
    CASE WHEN r.of_accounts THEN ''
        WHEN referred.list IS NOT NULL THEN
            -- Binding gives the relation a unique constraint with the account.
            CASE WHEN NOT referred.bindable OR r.con IS NULL THEN ''
                ELSE referred.calls || format('ALTER TABLE %s DROP CONSTRAINT %I%s;', r.name, r.conname,
                    CASE WHEN r.kind = 'primary key' THEN format(', ADD CONSTRAINT %I %s', r.conname,
                        regexp_replace(pg_get_constraintdef(r.con), '\(',
                            replace(format('(%I, ', r.scope), '\', '\\'))) ELSE '' END) END
        WHEN r.con IS NULL THEN
            -- The printed definition goes on with the columns after this.
            format('BEGIN; DROP INDEX %I.%I; CREATE UNIQUE INDEX %I ON %s USING %I (%I, %s; COMMIT;',
                r.schema, r.relname, r.relname, r.name, r.amname, r.scope,
                substr(r.definition, 1 + length(format('CREATE UNIQUE INDEX %I ON %s%I.%I USING %I (',
                    r.relname, CASE WHEN r.relkind = 'I' THEN 'ONLY ' ELSE '' END, r.schema,
                    (SELECT c.relname FROM pg_class AS c WHERE c.oid = r.relation), r.amname))))
        ELSE CASE WHEN r.indisexclusion THEN 'CREATE EXTENSION IF NOT EXISTS btree_gist; ' ELSE '' END
            || format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s;', r.name, r.conname,
                r.conname, regexp_replace(pg_get_constraintdef(r.con), '\(',
                    replace(format('(%I%s, ', r.scope,
                        CASE WHEN r.indisexclusion THEN ' WITH =' ELSE '' END), '\', '\\')))
    END
FROM rule AS r
CROSS JOIN LATERAL (
    SELECT string_agg(format('%I of %s', f.conname, f.conrelid::regclass), ', ') AS list,
        string_agg(DISTINCT format('SELECT tenant_guard.bind_foreign_keys(%L); ', c.schema), '')
            AS calls,
        -- As a key over the account, which a trigger beside the key is not.
        bool_and(r.account_column IS NOT NULL AND a.attnotnull AND o.attnotnull
            AND f.confupdtype NOT IN ('n', 'd')
            AND (f.confdeltype NOT IN ('n', 'd') OR current_setting('server_version_num')::integer >= 150000)
            AND (f.confmatchtype <> 'f' OR cardinality(f.conkey) = 1)
            AND format_type(a.atttypid, NULL) = format_type(o.atttypid, NULL)) IS TRUE AS bindable
    FROM pg_constraint AS f
    LEFT JOIN tenant_guard.protected_member AS c ON c.relation = f.conrelid
    LEFT JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attname = c.account_column
    LEFT JOIN pg_attribute AS o ON o.attrelid = r.relation AND o.attname = r.account_column
    WHERE f.conindid = r.indexrelid AND f.contype = 'f' AND f.conparentid = 0
) AS referred
