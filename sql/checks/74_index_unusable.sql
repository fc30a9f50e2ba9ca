-- Row 74: row security lets only leakproof conditions use an index, so that an index for any other is
-- never read, and the query reads all rows of the account, or of everybody.
-- Finds indexes on protected relations whose first column besides the account is an expression with a
-- function that is not leakproof, or is compared by one (info).
-- Fix: for an expression that gives a type whose equality is leakproof, a stored generated column and an
-- index over account and column, and filters by that column. For the rest (LIKE, jsonb, arrays, full
-- text, numeric, enum) SQL has no remedy but an index led by the account, which narrows to its rows. A unique
-- index is first given the account (row 27): without it none is printed, but on a table of accounts.
WITH key AS (
    SELECT m.name, m.schema, m.relation, m.account_column, i.indexrelid, i.indisunique, i.indpred,
        x.relname, i.indnatts = 1 OR i.indnatts = 2 AND first.position = 1 AS alone,
        first.position, i.indkey[first.position] = 0 AS is_expression, am.amname, o.opcname,
        pg_get_indexdef(i.indexrelid, first.position + 1, true) AS text,
        a.atttypid AS type, o.opcfamily, o.opcintype, i.indexprs,
        i.indisunique AND first.position = 0 AND m.account_column IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_index AS u
            JOIN pg_attribute AS c ON c.attrelid = u.indrelid AND c.attnum = u.indkey[0]
            WHERE u.indrelid = m.root AND u.indisunique AND u.indnkeyatts = 1 AND u.indpred IS NULL
                AND c.attname = m.account_column) AS lacks_account,
        EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid) AS for_constraint
    FROM tenant_guard.protected_member AS m
    JOIN pg_index AS i ON i.indrelid = m.relation AND NOT i.indisexclusion
    JOIN pg_class AS x ON x.oid = i.indexrelid AND NOT x.relispartition
    JOIN pg_am AS am ON am.oid = x.relam
    CROSS JOIN LATERAL (
        SELECT min(p) AS position FROM generate_series(0, i.indnkeyatts - 1) AS p
        WHERE NOT EXISTS (
            SELECT FROM pg_attribute AS c
            WHERE c.attrelid = i.indrelid AND c.attnum = i.indkey[p]
                AND c.attname = m.account_column)) AS first
    JOIN pg_opclass AS o ON o.oid = i.indclass[first.position]
    JOIN pg_attribute AS a ON a.attrelid = i.indexrelid AND a.attnum = first.position + 1
    WHERE m.archetype <> 'reference' AND ($1 IS NULL OR m.schema = ANY ($1))
), judged AS (
    SELECT k.*,
        k.is_expression AND EXISTS (
            SELECT FROM regexp_matches(k.indexprs::text, ':(?:funcid|opfuncid) (\d+)', 'g') AS f (id)
            JOIN pg_proc AS p ON p.oid = f.id[1]::oid
            WHERE NOT p.proleakproof) AS leaky_expression,
        k.opcname LIKE '%pattern\_ops' AS pattern,
        EXISTS (
            SELECT FROM pg_amop AS s
            JOIN pg_operator AS q ON q.oid = s.amopopr
            JOIN pg_proc AS p ON p.oid = q.oprcode
            WHERE s.amopfamily = k.opcfamily AND s.amoppurpose = 's' AND p.proleakproof
                AND s.amoplefttype = k.opcintype
                AND s.amopstrategy = CASE k.amname WHEN 'btree' THEN 3 WHEN 'hash' THEN 1
                    ELSE s.amopstrategy END) AS comparable,
        -- An ordinary index, of a type that is compared by a leakproof equality.
        k.amname IN ('btree', 'hash') AND EXISTS (
            SELECT FROM pg_opclass AS d
            JOIN pg_am AS b ON b.oid = d.opcmethod AND b.amname = 'btree'
            JOIN pg_amop AS s ON s.amopfamily = d.opcfamily AND s.amopstrategy = 3
                AND s.amoplefttype = d.opcintype AND s.amoprighttype = d.opcintype
            JOIN pg_operator AS q ON q.oid = s.amopopr
            JOIN pg_proc AS p ON p.oid = q.oprcode AND p.proleakproof
            WHERE d.opcdefault AND d.opcintype = k.type) AS restorable
    FROM key AS k
)
SELECT 'info', format('%I.%I', j.schema, j.relname),
    CASE WHEN j.pattern THEN format('LIKE on %s is not leakproof: row security does not let it use this '
            'index, and SQL has no remedy', j.text)
        WHEN j.leaky_expression AND fix.text <> '' THEN format('%s is not leakproof: row security does '
            'not let it use this index; filter by a stored column %I', j.text, fix.column_name)
        ELSE format('conditions on %s (%s) are not leakproof: row security does not let them use this '
            'index, and SQL has no remedy%s', j.text, j.opcname,
            CASE WHEN j.position = 0 AND j.account_column IS NOT NULL
                THEN '; an index led by the account narrows to its rows' ELSE '' END) END,
    fix.text
FROM judged AS j
CROSS JOIN LATERAL (
    SELECT c.name AS column_name,
        CASE WHEN j.leaky_expression AND j.restorable AND NOT j.pattern AND j.alone
                AND j.indpred IS NULL AND NOT j.for_constraint AND NOT taken.yes AND NOT j.lacks_account
            THEN format('BEGIN; ALTER TABLE %s ADD COLUMN %I %s GENERATED ALWAYS AS (%s) STORED; '
                'DROP INDEX %I.%I; CREATE %sINDEX %I ON %s (%s%I); COMMIT;',
                j.name, c.name, format_type(j.type, NULL), j.text, j.schema, j.relname,
                CASE WHEN j.indisunique THEN 'UNIQUE ' ELSE '' END, j.relname, j.name,
                CASE WHEN j.account_column IS NULL OR j.indisunique AND j.position = 0 THEN ''
                    ELSE format('%I, ', j.account_column) END, c.name)
            ELSE '' END AS text
    FROM (SELECT left(trim(BOTH '_' FROM regexp_replace(lower(j.text), '[^a-z0-9]+', '_', 'g')), 63)
        AS name) AS c
    CROSS JOIN LATERAL (
        SELECT EXISTS (SELECT FROM pg_attribute AS a
            WHERE a.attrelid = j.relation AND a.attname = c.name) AS yes) AS taken
) AS fix
WHERE j.leaky_expression OR j.pattern OR NOT j.comparable
