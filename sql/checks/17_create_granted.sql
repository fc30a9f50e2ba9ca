-- Row 17: CREATE TABLE AS and SELECT INTO copy rows to where no policy is; a function or table in a
-- schema on the search path stands in for another one (row 56).
-- Finds CREATE granted on schemas with protected relations, or on any schema to PUBLIC, to others than
-- the owners of those relations (warning).
-- Fix: revoke it.
SELECT 'warning', quote_ident(n.name),
    format('%s may create objects beside protected relations', grantee.name),
    format('REVOKE CREATE ON SCHEMA %I FROM %s CASCADE;', n.name, grantee.name)
FROM tenant_guard.product_schema AS n
CROSS JOIN LATERAL aclexplode(n.acl) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
CROSS JOIN LATERAL (
    SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS name
) AS grantee
WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.owner AND NOT COALESCE(r.rolsuper, false)
    AND EXISTS (
        SELECT FROM tenant_guard.protected_member AS m
        WHERE a.grantee = 0 OR m.schema = n.name)
    -- To a group whose members work on the tables as their owners it gives nothing new.
    AND (a.grantee = 0 OR EXISTS (
        SELECT FROM tenant_guard.protected_reader AS p
        WHERE pg_has_role(p.role, a.grantee, 'MEMBER')
            AND NOT EXISTS (
                SELECT FROM tenant_guard.protected_member AS m
                WHERE m.schema = n.name AND pg_has_role(p.role, m.owner, 'MEMBER'))))
    AND ($1 IS NULL OR n.name = ANY ($1))
