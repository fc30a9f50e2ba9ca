-- Row 76: who belongs to which account stands in a table of the product, and whoever writes it chooses.
-- Finds tables declared with set_membership and set_account_relation that others than their owner may
-- write (error), and memberships with roles under protection (warning: a member can raise their own role,
-- within their account).
-- Fix: take the right to write them away; a function of a trusted owner can write for them.
SELECT found.severity, found.name,
    format(CASE WHEN found.purpose = 'account' THEN '%s may write it, and it says which accounts may sign in'
        WHEN found.severity = 'error' THEN '%s may write it, and it says whose account and role a token is bound to'
        ELSE '%s may write it, and it says which roles the members of their account have' END, found.writers),
    format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON TABLE %s FROM %s CASCADE;', found.name, found.writers)
FROM (
    SELECT s.purpose, c.oid::regclass::text AS name,
        -- The floor holds rows to the account only by the column that is read.
        CASE WHEN m.account_column = s.account_column THEN 'warning' ELSE 'error' END AS severity,
        string_agg(DISTINCT CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END, ', ')
            AS writers
    FROM tenant_guard.identity_source AS s
    CROSS JOIN LATERAL (
        SELECT s.relation::oid AS relation UNION SELECT t.relid FROM pg_partition_tree(s.relation) AS t
    ) AS part
    JOIN pg_class AS c ON c.oid = part.relation
    JOIN tenant_guard.product_schema AS n ON n.oid = c.relnamespace
    JOIN tenant_guard.granted_privilege AS g ON g.relation = c.oid AND g.grantee <> c.relowner
    LEFT JOIN pg_roles AS r ON r.oid = g.grantee
    LEFT JOIN tenant_guard.protected_member AS m ON m.relation = c.oid
    WHERE NOT COALESCE(r.rolsuper, false)
        AND (g.privilege IN ('INSERT', 'UPDATE') OR g.privilege = 'DELETE' AND s.purpose = 'membership')
        -- Of the rights on single columns those on what is read.
        AND (g.column_name IS NULL
            OR g.column_name IN (s.key_column, s.account_column, s.role_column, s.active_column))
        -- Nobody writes these, whatever is granted.
        AND (m.archetype IS NULL OR m.archetype NOT IN ('reference', 'public_read', 'deny_all'))
        -- An account under protection has no row but its own to write, and is in already.
        AND NOT (s.purpose = 'account' AND COALESCE(m.account_column = s.key_column, false))
        -- Whoever says who else is of their account raises nobody.
        AND NOT (s.role_column IS NULL AND COALESCE(m.account_column = s.account_column, false))
        AND ($1 IS NULL OR n.name = ANY ($1))
    GROUP BY s.purpose, c.oid, m.account_column, s.account_column
) AS found
