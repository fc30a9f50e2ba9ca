-- Row 3: a superuser is bound by nothing.
-- Finds superusers that can log in, beside the one the cluster was made with (info: a deployment
-- needs some, an application none).
-- Fix: take the attribute away.
SELECT 'info', quote_ident(r.rolname), 'is superuser and can log in: no policy binds it',
    format('ALTER ROLE %I NOSUPERUSER;', r.rolname)
FROM pg_roles AS r
WHERE r.rolcanlogin AND r.rolsuper AND r.oid <> 10
    AND EXISTS (SELECT FROM tenant_guard.protected_member)
    AND ($1 IS NULL OR $1 IS NOT NULL)
