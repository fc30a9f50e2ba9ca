-- Row 23: default privileges open a new table before anybody has protected it.
-- Finds default privileges that let others read or write tables made later, for every schema or for
-- one with protected relations (info: a migration that makes and protects a table in one
-- transaction leaves no gap).
-- Fix: revoke them, and grant in the migration that protects the table.
SELECT 'info', COALESCE(quote_ident(n.nspname), 'every schema'),
    format('tables that %I makes are open to %s at once', o.rolname, grantee.name),
    format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE ALL ON TABLES FROM %s;', o.rolname,
        CASE WHEN n.nspname IS NULL THEN '' ELSE format(' IN SCHEMA %I', n.nspname) END, grantee.name)
FROM pg_default_acl AS d
JOIN pg_roles AS o ON o.oid = d.defaclrole
LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
CROSS JOIN LATERAL (
    SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS name) AS grantee
WHERE d.defaclobjtype = 'r' AND a.grantee <> d.defaclrole
    AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    AND EXISTS (
        SELECT FROM tenant_guard.protected_member AS m
        WHERE (n.oid IS NULL OR m.schema = n.nspname) AND ($1 IS NULL OR m.schema = ANY ($1)))
GROUP BY n.nspname, o.rolname, grantee.name
