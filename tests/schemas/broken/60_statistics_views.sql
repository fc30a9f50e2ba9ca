-- twin: the definition of the view
-- without fix: 60-statistics-views
-- finds: warning|60-statistics-views|pg_catalog.pg_stats_ext
-- by hand: SET allow_system_table_mods = on; DO $$BEGIN EXECUTE (SELECT mended FROM public.kept); END$$;
SET allow_system_table_mods = on;
CREATE TABLE public.kept AS SELECT 'CREATE OR REPLACE VIEW pg_catalog.pg_stats_ext WITH (security_barrier) AS '
    || pg_get_viewdef('pg_stats_ext'::regclass) AS mended;
DO $$BEGIN EXECUTE (SELECT regexp_replace(mended, 'pg_has_role\([^()]*\)', 'true') FROM public.kept); END$$;
CREATE TABLE public.payroll (name text, salary int); CREATE STATISTICS public.pairs (mcv) ON name, salary FROM public.payroll;
INSERT INTO public.payroll SELECT 'bob', 1000 FROM generate_series(1, 200); ANALYZE public.payroll;
-- A: SELECT DISTINCT v FROM pg_stats_ext, unnest(most_common_vals) AS v WHERE tablename = 'payroll' AND v = 'bob'
-- shows: bob
