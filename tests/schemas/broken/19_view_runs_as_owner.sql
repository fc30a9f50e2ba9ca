-- twin: security_invoker
-- finds: error|19-view-runs-as-owner|shop.everything
-- finds: warning|19-view-runs-as-owner|shop.floored
-- before 15 | -- finds: warning|19-view-runs-as-owner|shop.names
-- before 15 | -- without fix: 19-view-runs-as-owner
CREATE VIEW shop.everything AS TABLE shop.contact; GRANT SELECT ON shop.everything TO APP;
CREATE VIEW shop.floored AS TABLE shop.names; ALTER VIEW shop.floored OWNER TO ITSOWNER;
GRANT SELECT ON shop.floored TO APP;
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.everything
-- shows: abe ann bea bob
-- since 15 | -- then: abe ann
-- before 15 | -- then: 42501 permission denied for view everything
