-- twin: the stored column
-- finds: info|74-index-unusable|shop."By (lower) name"
-- finds: info|74-index-unusable|shop.by_account
CREATE INDEX "By (lower) name" ON shop.contact (lower(name));
CREATE INDEX by_account ON shop.contact (account_id, upper(name));
-- A: SET LOCAL enable_seqscan = off
-- A: EXPLAIN (COSTS off) SELECT id FROM shop.contact WHERE lower_name = 'ann'
-- shows: 42703 column "lower_name" does not exist
-- then: Index Scan using "By (lower) name" on contact
-- then:   Index Cond: ((account_id = tenant_guard.account_id()) AND (lower_name = 'ann'::text))
