-- Row 75: reads are recorded by the sessions that have loaded the library, and a session loads it when
-- it calls one of our functions for the first time.
-- Finds audited reads in a database whose sessions, or those of a role of its own, do not load it when
-- they begin (warning).
-- Settings belong to no schema: they are listed whatever schemas are asked for.
-- Fix: have sessions load it, beside what they load already.
SELECT 'warning', quote_ident(COALESCE(session.role, current_database())),
    format('reads of %s are recorded, but not those of sessions%s that never call tenant_guard', read.names,
        CASE WHEN session.role IS NULL THEN '' ELSE format(' of %I', session.role) END),
    format('ALTER %s SET session_preload_libraries = %s;', session.target,
        (SELECT string_agg(quote_literal(l.name), ', ' ORDER BY l.place)
         FROM (SELECT name, place FROM unnest(session.libraries) WITH ORDINALITY AS u (name, place)
             WHERE name <> ''
             UNION ALL SELECT 'tenant_guard', 1000) AS l))
FROM (
    SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid::regclass::text) AS names
    FROM tenant_guard.read_audit AS r JOIN pg_class AS c ON c.oid = r.relation
) AS read
CROSS JOIN LATERAL (
    SELECT kept.role, kept.target,
        ARRAY(SELECT btrim(e, ' "') FROM unnest(string_to_array(kept.value, ',')) AS e) AS libraries
    FROM (
        SELECT NULL::name AS role, format('DATABASE %I', current_database()) AS target, COALESCE(
            (SELECT k.value FROM tenant_guard.kept_setting AS k
             WHERE k.name = 'session_preload_libraries' AND k.role IS NULL
             -- What is kept for the database comes before what is kept for all.
             ORDER BY k.place = 'in every database' LIMIT 1),
            (SELECT f.setting FROM pg_file_settings AS f
             WHERE f.name = 'session_preload_libraries' AND f.applied),
            '') AS value
        UNION ALL
        -- What is kept for a role comes before both, and first what is for it in this database.
        (SELECT DISTINCT ON (k.role) k.role, format('ROLE %I IN DATABASE %I', k.role, current_database()),
            k.value
        FROM tenant_guard.kept_setting AS k
        WHERE k.name = 'session_preload_libraries' AND k.role IS NOT NULL
        ORDER BY k.role, k.place LIKE '%in every database')
    ) AS kept (role, target, value)
) AS session
WHERE read.names IS NOT NULL
    AND NOT session.libraries && ARRAY['tenant_guard', '$libdir/tenant_guard']
    AND NOT EXISTS (
        SELECT FROM unnest(string_to_array(current_setting('shared_preload_libraries'), ',')) AS e
        WHERE btrim(e, ' "') IN ('tenant_guard', '$libdir/tenant_guard'))
