-- twin: security_invoker
-- Nobody may read the superuser's view but another view.
-- finds: error|19-view-runs-as-owner|shop.hidden
-- finds: warning|19-view-runs-as-owner|shop.shown
CREATE VIEW shop.hidden AS SELECT name FROM shop.contact; GRANT SELECT ON shop.hidden TO ITSOWNER;
CREATE VIEW shop.shown AS TABLE shop.hidden; ALTER VIEW shop.shown OWNER TO ITSOWNER;
GRANT SELECT (name) ON shop.shown TO APP;
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.shown
-- shows: abe ann bea bob
-- since 15 | -- then: 42501 permission denied for view hidden
-- before 15 | -- then: 42501 permission denied for view shown
