-- Row 45: a policy reads a table that users may write as they like.
-- Finds relations that assign rows to roles of the product while every role may write them (error).
-- Fix: let the role read its own assignments. What is allowed to one role is denied to the others, until
-- they are allowed to write it.
SELECT DISTINCT 'error', a.assignment::text,
    format('it assigns rows of %s to role %I, and every role of the account may write it',
        a.relation, a.role),
    format('SELECT tenant_guard.allow(%L, %L, ''{select}'', ''own'', owner_column => %L);', a.role,
        a.assignment, a.assignment_subject)
FROM tenant_guard.permission AS a
JOIN pg_class AS c ON c.oid = a.relation
JOIN tenant_guard.protected_member AS m ON m.relation = a.assignment
WHERE NOT EXISTS (SELECT FROM tenant_guard.permission AS w WHERE w.relation = a.assignment)
    AND ($1 IS NULL OR m.schema = ANY ($1))
