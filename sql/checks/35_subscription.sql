-- Row 35: logical replication writes past policies and without an identity, or, run by a role that
-- policies bind, stops.
-- Finds subscriptions that are enabled in a database with protected relations (info), and those that write
-- tables of ours (error): the other server's issuers and rules become this one's. Subscriptions
-- belong to no schema: they are listed whatever schemas are asked for.
-- Fix: disable it.
SELECT CASE WHEN writes.ours THEN 'error' ELSE 'info' END, quote_ident(s.subname),
    CASE WHEN writes.ours THEN 'writes tables of tenant_guard: issuers, the log, what is protected'
        ELSE format('writes rows of any account with the rights of %I', r.rolname) END,
    format('ALTER SUBSCRIPTION %I DISABLE;', s.subname)
FROM pg_subscription AS s
JOIN pg_database AS d ON d.oid = s.subdbid AND d.datname = current_database()
JOIN pg_roles AS r ON r.oid = s.subowner
CROSS JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM pg_subscription_rel AS w JOIN pg_class AS c ON c.oid = w.srrelid
        WHERE w.srsubid = s.oid AND c.relnamespace = 'tenant_guard'::regnamespace
    ) AS ours
) AS writes
WHERE s.subenabled AND EXISTS (SELECT FROM tenant_guard.protected_member)
    AND ($1 IS NULL OR $1 IS NOT NULL)
