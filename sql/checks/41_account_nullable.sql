-- Row 41: a row without an account is hidden from everybody, and opened by a NULL-safe comparison.
-- Finds protected relations whose account column may be null (warning: the floor refuses such
-- rows, but a role that bypasses it can write them).
-- Fix: protect the relation again, with the same arguments.
SELECT 'warning', m.name, format('account column %I may be null', m.account_column),
    tenant_guard.protect_again(m.root)
FROM tenant_guard.protected_member AS m
JOIN pg_attribute AS a
    ON a.attrelid = m.relation AND a.attname = m.account_column AND NOT a.attisdropped
-- A partitioned table holds no rows; its partitions are members too.
WHERE (NOT a.attnotnull
        -- From PostgreSQL 18 on it may be declared and not hold for the rows of before.
        OR EXISTS (
            SELECT FROM pg_constraint AS k WHERE k.conrelid = a.attrelid AND k.contype = 'n'
                AND k.conkey[1] = a.attnum AND NOT k.convalidated))
    AND m.kind <> 'p' AND m.archetype <> 'shared_defaults'
    AND ($1 IS NULL OR m.schema = ANY ($1))
