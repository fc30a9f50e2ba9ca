-- Row 53: the account of a new row comes from the client, or from a setting it chooses.
-- Finds protected relations whose account column lost the default that protect() gives it (warning: the
-- floor refuses rows of another account).
-- Fix: protect the relation again, with the same arguments.
SELECT 'warning', m.name,
    format('account column %I %s', m.account_column, CASE WHEN d.oid IS NULL THEN 'has no default'
        ELSE 'has a default other than the verified account' END),
    tenant_guard.protect_again(m.root)
FROM tenant_guard.protected_member AS m
JOIN pg_attribute AS a
    ON a.attrelid = m.relation AND a.attname = m.account_column AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attidentity = '' AND a.attgenerated = ''
    AND COALESCE(pg_get_expr(d.adbin, d.adrelid), '')
        !~ '^\(?tenant_guard\.account_id(_bigint|_text)?\(\)\)?(::[a-z ]+)?$'
    -- A table of accounts does not take its key from the account.
    AND NOT EXISTS (
        SELECT FROM pg_index AS k
        WHERE k.indrelid = m.relation AND k.indisprimary AND k.indnkeyatts = 1
            AND k.indkey[0] = a.attnum)
    AND ($1 IS NULL OR m.schema = ANY ($1))
