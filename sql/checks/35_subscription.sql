-- Row 35: logical replication writes past policies and without an identity, or, run by a role that
-- policies bind, stops.
-- Finds subscriptions that are enabled in a database with protected relations (info). Subscriptions
-- belong to no schema: they are listed whatever schemas are asked for.
-- Fix: disable it.
SELECT 'info', quote_ident(s.subname),
    format('writes rows of any account with the rights of %I', r.rolname),
    format('ALTER SUBSCRIPTION %I DISABLE;', s.subname)
FROM pg_subscription AS s
JOIN pg_database AS d ON d.oid = s.subdbid AND d.datname = current_database()
JOIN pg_roles AS r ON r.oid = s.subowner
WHERE s.subenabled AND EXISTS (SELECT FROM tenant_guard.protected_member)
    AND ($1 IS NULL OR $1 IS NOT NULL)
