-- twin: FORCE ROW LEVEL SECURITY of one partition, which a view of its owner reads
-- finds: error|01-row-security-not-forced|shop.message_1
-- finds: warning|19-view-runs-as-owner|shop.days
ALTER TABLE shop.message_1 NO FORCE ROW LEVEL SECURITY;
CREATE VIEW shop.days AS SELECT account_id, at FROM shop.message_1;
ALTER VIEW shop.days OWNER TO ITSOWNER; GRANT SELECT ON shop.days TO APP;
-- A: SELECT count(*) FROM shop.days
-- shows: 2
-- since 15 | -- then: 1
-- before 15 | -- then: 42501 permission denied for view days
