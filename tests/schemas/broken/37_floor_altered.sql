-- twin: what the floor checks
-- finds: error|37-floor-altered|shop.contact
-- finds: warning|37-floor-altered|shop.contact
ALTER POLICY tenant_guard_floor ON shop.contact USING (true) WITH CHECK (true);
ALTER POLICY tenant_guard_access ON shop.contact USING (true) WITH CHECK (true);
-- nobody: UPDATE shop.contact SET account_id = 'ACCOUNT_A' WHERE name = 'bea' RETURNING account_id
-- shows: ACCOUNT_A
-- then: 28000 no identity is bound to this transaction
