-- twin: security_invoker of the inner view
-- A view that runs as its reader, over one of a superuser that its reader may read too.
-- finds: error|19-view-runs-as-owner|shop.inner_names
CREATE VIEW shop.inner_names AS SELECT name FROM shop.contact;
CREATE VIEW shop.outer_names WITH (security_invoker) AS TABLE shop.inner_names;
GRANT SELECT ON shop.inner_names, shop.outer_names TO APP;
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.outer_names
-- shows: abe ann bea bob
-- then: abe ann
