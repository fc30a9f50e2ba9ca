-- twin: security_invoker of the inner view
-- A view that runs as its reader, over one of a superuser that its reader may read too.
-- finds: error|19-view-runs-as-owner|shop.inner_names
-- before 15 | -- finds: error|19-view-runs-as-owner|shop.outer_names
CREATE VIEW shop.inner_names AS SELECT name FROM shop.contact;
-- since 15 | CREATE VIEW shop.outer_names WITH (security_invoker) AS TABLE shop.inner_names;
-- before 15 | CREATE VIEW shop.outer_names AS TABLE shop.inner_names;
GRANT SELECT ON shop.inner_names, shop.outer_names TO APP;
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.outer_names
-- shows: abe ann bea bob
-- since 15 | -- then: abe ann
-- before 15 | -- then: 42501 permission denied for view outer_names
