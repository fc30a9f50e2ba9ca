-- Row 23: default privileges open a new table before anybody has protected it.
-- Finds default privileges that let others read or write tables made later, for every schema or for
-- one with protected relations that nobody governs (info: a migration that makes and protects a table in
-- one transaction leaves no gap).
-- Fix: govern the schema, which protects a new table in the command that makes it. Those for every schema
-- reach schemas that are yet to come: revoke them, and grant in the migration that protects the table.
SELECT 'info', COALESCE(quote_ident(n.nspname), 'every schema'),
    format('tables that %I makes are open to %s at once', o.rolname, grantee.name),
    CASE WHEN n.nspname IS NULL THEN format(
            'ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE ALL ON TABLES FROM %s;', o.rolname, grantee.name)
        ELSE format('SELECT tenant_guard.govern_schema(%L, %L);', n.nspname,
            COALESCE(account.name, 'account_id')) END
FROM pg_default_acl AS d
JOIN pg_roles AS o ON o.oid = d.defaclrole
LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace
LEFT JOIN (
    -- The name that most relations of the schema give it.
    SELECT DISTINCT ON (m.schema) m.schema, m.account_column AS name
    FROM tenant_guard.protected_member AS m
    JOIN tenant_guard.account_column AS k ON k.schema = m.schema AND k.name = m.account_column
    GROUP BY m.schema, m.account_column ORDER BY m.schema, count(*) DESC, m.account_column
) AS account ON account.schema = n.nspname
CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
CROSS JOIN LATERAL (
    SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS name) AS grantee
WHERE d.defaclobjtype = 'r' AND a.grantee <> d.defaclrole
    AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    AND EXISTS (
        SELECT FROM tenant_guard.protected_member AS m
        WHERE (n.oid IS NULL OR m.schema = n.nspname) AND ($1 IS NULL OR m.schema = ANY ($1)))
    AND NOT EXISTS (SELECT FROM tenant_guard.governed_schema AS g WHERE g.schema = n.nspname)
GROUP BY n.nspname, o.rolname, grantee.name, account.name
