-- Row 12: row security never enabled, or policies that sleep.
-- Finds protected relations with row security off (error), tables with policies and row security
-- off (error), and tables that have the account column of protected ones and are not protected
-- (error where others than their owner may read all their rows, else warning): those beside protected ones, and, in schemas that are asked for by name, all, also by the
-- name an account column has by default. Finds tables that refer to rows of accounts, that others than
-- their owner may read, and that are not protected: whoever reads them reads them of all accounts (error).
-- Fix: enable it; protect the table. None where its account column is of a type that accounts are not of, or
-- no column alone leads to a parent.
WITH forgotten AS (
    SELECT c.oid AS relation, a.attname,
        tenant_guard.fits_account(a.atttypid, a.attcollation, a.attgenerated) AS fits,
        CASE WHEN a.attgenerated = 'v' THEN 'that is generated and not stored'
            ELSE format('of type %s: an account is of type uuid, integer, bigint, text or character varying, '
                'no domain, and compared by a deterministic collation', format_type(a.atttypid, NULL)) END AS kind,
        -- Policies that somebody else wrote for it are judged as such.
        NOT c.relrowsecurity
            AND EXISTS (SELECT FROM tenant_guard.outside_reader AS o WHERE o.relation = c.oid) AS open
    FROM (SELECT asked.schema, m.account_column
          FROM tenant_guard.protected_member AS m
          CROSS JOIN LATERAL (SELECT m.schema UNION SELECT unnest($1)) AS asked (schema)
          -- A table of accounts names its key: every table has one of that name.
          WHERE NOT EXISTS (
              SELECT FROM pg_index AS k
              JOIN pg_attribute AS a ON a.attrelid = k.indrelid AND a.attnum = k.indkey[0]
              WHERE k.indrelid = m.root AND k.indisprimary AND k.indnkeyatts = 1
                  AND a.attname = m.account_column)
          UNION
          SELECT unnest($1), 'account_id') AS p
    JOIN pg_namespace AS n ON n.nspname = p.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
    JOIN pg_attribute AS a
        ON a.attrelid = c.oid AND a.attname = p.account_column AND a.attnum > 0 AND NOT a.attisdropped
    WHERE NOT EXISTS (SELECT FROM tenant_guard.protected_member AS m WHERE m.relation = c.oid)
        -- Partitions and children are row 13, and what has policies of ours row 15.
        AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid)
        AND NOT EXISTS (SELECT FROM tenant_guard.own_policy AS q WHERE q.relation = c.oid)
        AND ($1 IS NULL OR p.schema = ANY ($1))
)
SELECT 'error', c.oid::regclass::text,
    CASE WHEN m.relation IS NULL THEN 'has policies, but row security is off'
        ELSE 'is protected, but row security is off' END,
    format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', c.oid::regclass)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN tenant_guard.protected_member AS m ON m.relation = c.oid
WHERE NOT c.relrowsecurity
    AND (m.relation IS NOT NULL OR EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid))
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'tenant_guard')
    AND ($1 IS NULL OR n.nspname = ANY ($1))
UNION ALL
SELECT CASE WHEN f.open THEN 'error' ELSE 'warning' END, f.relation::regclass::text,
    format('has the account column %I, but is not protected', f.attname)
        || CASE WHEN f.fits THEN '' ELSE format(', and cannot be by a column %s', f.kind) END,
    CASE WHEN f.fits THEN format('SELECT tenant_guard.protect(%L, account_column => %L);',
        f.relation::regclass, f.attname) ELSE '' END
FROM forgotten AS f
UNION ALL
SELECT 'error', u.name,
    format('refers to %s, whose rows have accounts, and shows %s its rows of every account: it is not '
        'protected', u.parents, u.readers)
        || CASE WHEN u.fix = '' THEN ', and no column of it alone leads to a parent: give it an account '
            'column, or a foreign key of one column, and call tenant_guard.protect()' ELSE '' END,
    u.fix
FROM tenant_guard.unprotected_child AS u
WHERE u.readers IS NOT NULL AND ($1 IS NULL OR u.schema = ANY ($1))
    AND NOT EXISTS (SELECT FROM forgotten AS f WHERE f.relation = u.relation)
