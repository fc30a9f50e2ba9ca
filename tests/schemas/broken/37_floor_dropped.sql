-- twin: the floor
-- Where the library is not loaded yet nothing else holds the floor: a session that calls none of its functions.
-- finds: error|37-floor-altered|shop.contact
-- finds: warning|37-floor-altered|shop.contact
DROP POLICY tenant_guard_floor ON shop.contact;
ALTER POLICY tenant_guard_access ON shop.contact USING (true);
-- nobody: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: abe ann bea bob
-- then: 28000 no identity is bound to this transaction
