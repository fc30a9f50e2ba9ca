-- twin: the policy is permissive
-- finds: warning|07-foreign-permissive-policy|shop.contact
-- row: 40
SELECT tenant_guard.define_role('manager'), tenant_guard.allow('manager', 'shop.contact', '{select}');
CREATE POLICY "Open wide" ON shop.contact FOR SELECT USING (true);
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: abe ann
-- then: <null>
