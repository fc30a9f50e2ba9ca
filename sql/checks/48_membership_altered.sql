-- Row 48: whether a token's subject still belongs to the account is asked of the relation that holds
-- memberships, and of that of the accounts.
-- Finds such relations that are gone or have lost a column that was named (error): nobody signs in.
-- Fix: name them as they are now; none where a column was dropped.
SELECT 'error', s.relation::text,
    CASE WHEN c.oid IS NULL THEN format('is gone, and %s() named it: nobody signs in', said.by)
        ELSE format('has no column %s, which %s() named: nobody signs in', lost.names, said.by) END,
    CASE WHEN c.oid IS NULL OR lost.for_good THEN ''
        ELSE format('SELECT tenant_guard.%s(%L%s);', said.by, s.relation, lost.arguments) END
FROM tenant_guard.identity_source AS s
LEFT JOIN pg_class AS c ON c.oid = s.relation
LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT CASE s.purpose WHEN 'membership' THEN 'set_membership' ELSE 'set_account_relation' END AS by
) AS said
CROSS JOIN LATERAL (
    SELECT string_agg(quote_ident(n.name), ', ' ORDER BY n.position) FILTER (WHERE same.attname IS NULL)
            AS names,
        COALESCE(bool_or(same.attname IS NULL AND moved.attname IS NULL), false) AS for_good,
        string_agg(format(', %s => %L', n.argument, COALESCE(same.attname, moved.attname)), ''
            ORDER BY n.position) AS arguments
    FROM (VALUES
        (1, CASE s.purpose WHEN 'membership' THEN 'subject_column' ELSE 'key_column' END, s.key_column),
        (2, 'account_column', s.account_column),
        (3, 'role_column', s.role_column),
        (4, 'active_column', s.active_column)) AS n (position, argument, name)
    LEFT JOIN pg_attribute AS same ON same.attrelid = s.relation AND same.attname = n.name
        AND same.attnum > 0 AND NOT same.attisdropped
    LEFT JOIN tenant_guard.identity_source_column AS k ON k.purpose = s.purpose AND k.name = n.name
    LEFT JOIN pg_attribute AS moved ON moved.attrelid = s.relation AND moved.attnum = k.number
        AND NOT moved.attisdropped
    WHERE n.name IS NOT NULL
) AS lost
WHERE (c.oid IS NULL OR lost.names IS NOT NULL)
    AND ($1 IS NULL OR c.oid IS NULL OR n.nspname = ANY ($1))
