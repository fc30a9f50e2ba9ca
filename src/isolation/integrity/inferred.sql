-- Columns that look like keys of protected relations: named after one, of its key's type, and in no
-- foreign key, link or key of their own.
-- $1 name[]: schemas of the relations that refer, null for all.
WITH candidate AS (
    SELECT p.relation, p.root, p.schema, c.relname, k.attname, k.atttypid
    FROM tenant_guard.protected_member AS p
    JOIN pg_class AS c ON c.oid = p.relation AND NOT c.relispartition
    JOIN pg_index AS i ON i.indrelid = p.relation AND i.indisprimary AND i.indnkeyatts = 1
    JOIN pg_attribute AS k ON k.attrelid = p.relation AND k.attnum = i.indkey[0]
    WHERE p.archetype NOT IN ('reference', 'deny_all')
        AND k.attname IS DISTINCT FROM p.account_column
)
SELECT DISTINCT ON (m.relation, a.attnum) m.relation::oid, m.root::oid, a.attname::text,
    p.relation::oid, p.root::oid, p.attname::text
FROM tenant_guard.protected_member AS m
JOIN pg_class AS c ON c.oid = m.relation AND NOT c.relispartition
JOIN pg_attribute AS a ON a.attrelid = m.relation AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attname IS DISTINCT FROM m.account_column
JOIN candidate AS p ON p.atttypid = a.atttypid AND (
    a.attname IN (p.relname || '_id', p.relname || '_uuid', p.relname || '_key',
        regexp_replace(p.relname, 's$', '') || '_id', regexp_replace(p.relname, 'es$', '') || '_id',
        regexp_replace(p.relname, 'ies$', 'y') || '_id')
    OR a.attname = p.attname AND p.attname <> 'id' AND p.relation <> m.relation)
WHERE m.archetype NOT IN ('reference', 'deny_all')
    AND ($1 IS NULL OR m.schema = ANY ($1))
    AND NOT EXISTS (SELECT FROM pg_constraint AS f
        WHERE f.conrelid = m.relation AND f.contype = 'f' AND a.attnum = ANY (f.conkey))
    AND NOT EXISTS (SELECT FROM tenant_guard.protection_link AS l
        WHERE l.relation = m.root AND a.attname IN (l.via, l.type_column))
    AND NOT EXISTS (SELECT FROM pg_index AS i
        WHERE i.indrelid = m.relation AND i.indisprimary AND i.indnkeyatts = 1
            AND i.indkey[0] = a.attnum)
ORDER BY m.relation, a.attnum, p.schema <> m.schema, p.relname || '_id' <> a.attname, p.relation
