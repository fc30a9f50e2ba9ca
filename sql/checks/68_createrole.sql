-- Row 68: before 16 a role with CREATEROLE grants itself any role that is not superuser: one with BYPASSRLS,
-- the owner of the tables.
-- Finds roles that log in and have the attribute, or become a role that has it (error where they hold
-- rights on protected relations, else warning).
-- Fix: take the attribute away.
SELECT CASE WHEN bool_or(p.role IS NOT NULL) THEN 'error' ELSE 'warning' END, quote_ident(t.rolname),
    CASE WHEN t.rolcanlogin THEN 'may grant itself every role that is not superuser'
        ELSE format('%s may become it and grant every role that is not superuser',
            string_agg(DISTINCT quote_ident(r.rolname), ', ')) END,
    format('ALTER ROLE %I NOCREATEROLE;', t.rolname)
FROM (SELECT r.oid AS role, r.oid AS reached FROM pg_roles AS r WHERE r.rolcanlogin
      UNION
      SELECT w.role, w.reached FROM tenant_guard.role_way AS w) AS way
JOIN pg_roles AS r ON r.oid = way.role AND NOT r.rolsuper
JOIN pg_roles AS t ON t.oid = way.reached AND t.rolcreaterole AND NOT t.rolsuper
LEFT JOIN tenant_guard.protected_reader AS p ON p.role = way.role
WHERE current_setting('server_version_num')::integer < 160000
    AND EXISTS (SELECT FROM tenant_guard.protected_member)
    AND ($1 IS NULL OR $1 IS NOT NULL)
GROUP BY t.rolname, t.rolcanlogin
