-- twin: TRUNCATE
-- finds: error|24-truncate-granted|shop.booking
-- finds: warning|24-truncate-granted|shop.contact
GRANT TRUNCATE ON shop.booking TO PUBLIC; GRANT REFERENCES (id) ON shop.contact TO APP;
-- A: TRUNCATE shop.booking
-- A: SELECT pg_relation_size('shop.booking')
-- shows: 0
-- then: 42501 permission denied for table booking
-- then: 8192
