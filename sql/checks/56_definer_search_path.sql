-- Row 56: without a search_path of its own a SECURITY DEFINER function takes its caller's, and with one
-- that does not name pg_temp last, a temporary table of the caller comes first.
-- Finds those that others may call, or that triggers call: warning, or info where nothing but names of
-- pg_catalog can be looked up, which a temporary table of that name still precedes. A body of SQL was compiled when it
-- was made, and looks nothing up.
-- Fix: pin the path.
SELECT CASE WHEN f.search_path IN ('""', 'pg_catalog') THEN 'info' ELSE 'warning' END, f.name,
    CASE WHEN f.search_path IS NULL THEN 'looks names up where its caller says'
        WHEN f.search_path = '""' THEN 'looks tables of pg_catalog up among its caller''s temporary ones first'
        ELSE format('looks tables up among its caller''s temporary ones before %s', f.search_path) END,
    format('ALTER ROUTINE %s SET search_path = %s;', f.name,
        CASE WHEN f.search_path = '""' THEN 'pg_catalog, pg_temp'
            WHEN f.search_path IS NULL THEN format('pg_catalog, %I, pg_temp', f.schema)
            ELSE f.search_path || ', pg_temp' END)
FROM tenant_guard.written_routine AS f
WHERE f.definer AND NOT f.has_body AND f.language NOT IN ('c', 'internal')
    AND (f.callers IS NOT NULL OR f.is_trigger)
    AND (f.search_path IS NULL
        OR f.search_path !~ ',\s*"?pg_temp"?\s*$')
    AND ($1 IS NULL OR f.schema = ANY ($1))
