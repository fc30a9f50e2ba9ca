-- twin: security_invoker
-- finds: error|19-view-runs-as-owner|shop.all_names
CREATE ROLE DB_report NOLOGIN BYPASSRLS; GRANT SELECT ON shop.contact TO DB_report;
CREATE VIEW shop.all_names WITH (security_barrier) AS SELECT name FROM shop.contact;
ALTER VIEW shop.all_names OWNER TO DB_report; GRANT SELECT ON shop.all_names TO PUBLIC;
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.all_names
-- shows: abe ann bea bob
-- since 15 | -- then: abe ann
-- before 15 | -- then: 42501 permission denied for view all_names
