-- Row 45: a policy reads a table that users may write as they like.
-- Finds relations that assign rows to roles of the product while every role may write them (error).
-- Fix: say which roles may.
SELECT DISTINCT 'error', a.assignment::text,
    format('it assigns rows of %s to role %I, and every role of the account may write it',
        a.relation, a.role),
    format('SELECT tenant_guard.allow(<role>, %L, ''{all}'');', a.assignment)
FROM tenant_guard.permission AS a
JOIN pg_class AS c ON c.oid = a.relation
JOIN tenant_guard.protected_member AS m ON m.relation = a.assignment
WHERE NOT EXISTS (SELECT FROM tenant_guard.permission AS w WHERE w.relation = a.assignment)
    AND ($1 IS NULL OR m.schema = ANY ($1))
