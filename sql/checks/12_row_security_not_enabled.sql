-- Row 12: row security never enabled, or policies that sleep.
-- Finds protected relations with row security off (error), tables with policies and row security
-- off (error), and tables that have the account column of protected ones and are not protected
-- (warning): those beside protected ones, and, in schemas that are asked for by name, all, also by the
-- name an account column has by default.
-- Fix: enable it; protect the table.
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
SELECT 'warning', c.oid::regclass::text,
    format('has the account column %I, but is not protected', a.attname),
    format('SELECT tenant_guard.protect(%L, account_column => %L);', c.oid::regclass, a.attname)
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
    -- Partitions and children are row 13.
    AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid)
    AND ($1 IS NULL OR p.schema = ANY ($1))
