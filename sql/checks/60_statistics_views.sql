-- Row 60: CVE-2024-4317 is mended in a cluster only by making two views of PostgreSQL's again: a new
-- minor version leaves those of an old database as they were.
-- Finds them in their old form (warning).
-- Fix: none to paste. Run the script fix-CVE-2024-4317.sql of PostgreSQL's share directory in this
-- database.
SELECT 'warning', 'pg_catalog.' || v.name,
    'shows values of other roles'' tables: run fix-CVE-2024-4317.sql of the share directory', ''
FROM (VALUES ('pg_stats_ext'), ('pg_stats_ext_exprs')) AS v (name)
WHERE pg_get_viewdef(('pg_catalog.' || v.name)::regclass) NOT LIKE '%pg_has_role%'
    AND ($1 IS NULL OR $1 IS NOT NULL)
