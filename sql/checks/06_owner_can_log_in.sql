-- Row 6: the owner of a table can switch its protection off.
-- Finds protected relations whose owner can log in (warning). Superusers are row 3.
-- Fix: give the table to a role nobody logs in as, and let the old owner work through grants.
SELECT 'warning', m.name,
    format('owner %I can log in, and switch row security off', o.rolname),
    format(
        'DO %L; ALTER TABLE %s OWNER TO %I; '
        'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %s TO %I;',
        -- A string constant, because a role's name may hold any dollar quote.
        format('BEGIN IF to_regrole(%L) IS NULL THEN CREATE ROLE %I NOLOGIN; END IF; END',
            quote_ident(holder.name), holder.name),
        m.name, holder.name, m.name, o.rolname)
FROM tenant_guard.protected_member AS m
JOIN pg_roles AS o ON o.oid = m.owner
-- Cut as PostgreSQL cuts a name, so that both places of the fix mean one role.
CROSS JOIN LATERAL (SELECT (left(o.rolname, 50) || '_tables')::name AS name) AS holder
WHERE o.rolcanlogin AND NOT o.rolsuper
    AND ($1 IS NULL OR m.schema = ANY ($1))
