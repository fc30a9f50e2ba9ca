-- twin: protection of the partition
-- finds: error|13-child-not-protected|shop."Rest of it"
CREATE TABLE shop."Rest of it" (LIKE shop.message); INSERT INTO shop."Rest of it" VALUES ('ACCOUNT_B', '2030-01-01');
ALTER TABLE shop.message ATTACH PARTITION shop."Rest of it" DEFAULT;
ALTER TABLE shop."Rest of it" OWNER TO ITSOWNER; GRANT SELECT (account_id) ON shop."Rest of it" TO APP;
-- A: SELECT account_id FROM shop."Rest of it"
-- shows: ACCOUNT_B
