-- Row 69: the owner of a schema may drop what is in it, protected relations of others included.
-- Finds schemas with protected relations whose owner, not a superuser, can log in (warning).
-- Fix: give it to an owner of its relations whom nobody logs in as, made where there is none.
SELECT 'warning', quote_ident(n.name),
    format('owner %I can log in, and drop its protected relations', o.rolname),
    format('DO %L; ALTER SCHEMA %I OWNER TO %I; GRANT USAGE ON SCHEMA %I TO %I;',
        format('BEGIN IF to_regrole(%L) IS NULL THEN CREATE ROLE %I NOLOGIN; END IF; END',
            quote_ident(holder.name), holder.name),
        n.name, holder.name, n.name, o.rolname)
FROM tenant_guard.product_schema AS n
-- The owner of the database stands behind pg_database_owner.
JOIN pg_roles AS o ON o.oid = CASE WHEN n.owner = 'pg_database_owner'::regrole
    THEN (SELECT d.datdba FROM pg_database AS d WHERE d.datname = current_database()) ELSE n.owner END
CROSS JOIN LATERAL (
    SELECT COALESCE(
        (SELECT t.rolname FROM tenant_guard.protected_member AS m
         JOIN pg_roles AS t ON t.oid = m.owner AND NOT t.rolcanlogin AND NOT t.rolsuper
         WHERE m.schema = n.name ORDER BY t.rolname LIMIT 1),
        (left(o.rolname, 50) || '_tables')::name) AS name) AS holder
WHERE o.rolcanlogin AND NOT o.rolsuper
    AND EXISTS (SELECT FROM tenant_guard.protected_member AS m WHERE m.schema = n.name)
    AND ($1 IS NULL OR n.name = ANY ($1))
