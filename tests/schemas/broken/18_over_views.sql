-- twin: the grant
-- Over views that run as their reader, with a column of it granted.
-- finds: error|18-materialized-view|public.days
-- left: info|18-materialized-view|public.days
CREATE VIEW shop.inner_view WITH (security_invoker) AS SELECT * FROM shop.message_1;
CREATE VIEW shop.outer_view WITH (security_invoker) AS TABLE shop.inner_view;
CREATE MATERIALIZED VIEW public.days AS TABLE shop.outer_view; GRANT SELECT (account_id) ON public.days TO PUBLIC;
-- A: SELECT account_id FROM public.days ORDER BY 1
-- shows: ACCOUNT_A
-- shows: ACCOUNT_B
-- then: 42501 permission denied for materialized view days
