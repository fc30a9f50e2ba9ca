-- Row 75: reads are recorded by the sessions that have loaded the library, and a session loads it when
-- it calls one of our functions for the first time.
-- Finds audited reads in a database whose sessions do not load it when they begin (warning).
-- Settings belong to no schema: they are listed whatever schemas are asked for.
-- Fix: have sessions of the database load it, beside what they load already.
SELECT 'warning', quote_ident(current_database()),
    format('reads of %s are recorded, but not those of sessions that never call tenant_guard', read.names),
    format('ALTER DATABASE %I SET session_preload_libraries = %s;', current_database(),
        (SELECT string_agg(quote_literal(l.name), ', ' ORDER BY l.place)
         FROM (SELECT name, place FROM unnest(session.libraries) WITH ORDINALITY AS u (name, place)
             WHERE name <> ''
             UNION ALL SELECT 'tenant_guard', 1000) AS l))
FROM (
    SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid::regclass::text) AS names
    FROM tenant_guard.read_audit AS r JOIN pg_class AS c ON c.oid = r.relation
) AS read
CROSS JOIN LATERAL (
    SELECT ARRAY(SELECT btrim(e, ' "') FROM unnest(string_to_array(COALESCE(
        (SELECT k.value FROM tenant_guard.kept_setting AS k
         WHERE k.name = 'session_preload_libraries' AND k.role IS NULL
         -- What is kept for the database comes before what is kept for all.
         ORDER BY k.place = 'in every database' LIMIT 1),
        (SELECT f.setting FROM pg_file_settings AS f
         WHERE f.name = 'session_preload_libraries' AND f.applied),
        ''), ',')) AS e) AS libraries
) AS session
WHERE read.names IS NOT NULL
    AND NOT session.libraries && ARRAY['tenant_guard', '$libdir/tenant_guard']
    AND NOT EXISTS (
        SELECT FROM unnest(string_to_array(current_setting('shared_preload_libraries'), ',')) AS e
        WHERE btrim(e, ' "') IN ('tenant_guard', '$libdir/tenant_guard'))
