-- twin: the owner
-- finds: warning|06-owner-can-log-in|shop.booking
ALTER TABLE shop.booking OWNER TO APP;
-- A: TRUNCATE shop.booking
-- A: SELECT pg_relation_size('shop.booking')
-- shows: 0
-- then: 42501 permission denied for table booking
-- then: 8192
