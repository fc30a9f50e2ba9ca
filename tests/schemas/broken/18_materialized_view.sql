-- twin: the grant
-- finds: error|18-materialized-view|shop.copy
-- left: info|18-materialized-view|shop.copy
CREATE MATERIALIZED VIEW shop.copy AS SELECT name FROM shop.contact; GRANT SELECT ON shop.copy TO APP;
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.copy
-- shows: abe ann bea bob
-- then: 42501 permission denied for materialized view copy
