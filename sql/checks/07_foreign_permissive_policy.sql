-- Row 7: permissive policies are joined by OR, so one loose policy opens the table.
-- Finds permissive policies on protected relations that are not ours (warning): the floor still
-- bounds them to the account, but within it they open what another policy was meant to close.
-- Fix: drop it; a policy that is to narrow access is written AS RESTRICTIVE.
SELECT 'warning', m.name,
    format('permissive policy %I beside the access policy', p.polname),
    format('DROP POLICY %I ON %s;', p.polname, m.name)
FROM tenant_guard.protected_member AS m
JOIN pg_policy AS p ON p.polrelid = m.relation
WHERE p.polpermissive AND (
        p.polname NOT LIKE 'tenant\_guard\_%' OR p.polname LIKE 'tenant\_guard\_assurance\_%')
    AND ($1 IS NULL OR m.schema = ANY ($1))
