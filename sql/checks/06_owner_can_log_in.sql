-- Row 6: the owner of a table can switch its protection off.
-- Finds protected relations whose owner can log in (warning). Superusers are row 3.
-- Fix: give the table to a role nobody logs in as, and let the old owner work through grants.
SELECT 'warning', m.name,
    format('owner %I can log in, and switch row security off', o.rolname),
    format(
        'DO $fix$ BEGIN IF to_regrole(%L) IS NULL THEN CREATE ROLE %I NOLOGIN; END IF; END $fix$; '
        'ALTER TABLE %s OWNER TO %I; GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %s TO %I;',
        quote_ident(o.rolname || '_tables'), o.rolname || '_tables',
        m.name, o.rolname || '_tables', m.name, o.rolname)
FROM tenant_guard.protected_member AS m
JOIN pg_roles AS o ON o.oid = m.owner
WHERE o.rolcanlogin AND NOT o.rolsuper
    AND ($1 IS NULL OR m.schema = ANY ($1))
