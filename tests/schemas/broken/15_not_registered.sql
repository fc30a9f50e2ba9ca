-- twin: protect()
-- What pg_dump of one schema brings into another database, policies, and no registration.
-- cannot be shown: its policies still stand, and what takes them off is some later command of its owner
-- finds: error|15-guard-disabled|shop.restored
CREATE TABLE shop.restored (id int PRIMARY KEY, account_id uuid NOT NULL);
ALTER TABLE shop.restored OWNER TO ITSOWNER;
ALTER TABLE shop.restored ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_guard_floor ON shop.restored AS RESTRICTIVE USING (account_id = tenant_guard.account_id())
    WITH CHECK (account_id = tenant_guard.account_id());
CREATE POLICY tenant_guard_access ON shop.restored USING (account_id = tenant_guard.account_id())
    WITH CHECK (account_id = tenant_guard.account_id());
