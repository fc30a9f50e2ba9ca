-- twin: the policy is permissive
-- An INSERT ... RETURNING was refused, so somebody let its role read.
-- row: 39
-- row: 50
-- finds: warning|07-foreign-permissive-policy|shop.contact
SELECT tenant_guard.define_role('writer'), tenant_guard.define_role('manager'),
    tenant_guard.allow('manager', 'shop.contact', '{select}');
CREATE POLICY to_return ON shop.contact TO APP USING (account_id IS NOT NULL) WITH CHECK (true);
-- A: INSERT INTO shop.contact (id, name) VALUES (9, 'new') RETURNING name
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: new
-- shows: abe ann new
-- then: 42501 new row violates row-level security policy for table "contact"
-- then: <null>
