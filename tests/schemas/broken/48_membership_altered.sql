-- twin: the names that were declared
-- cannot be shown: nobody signs in, and nothing gets out
-- without fix: 48-membership-altered
-- by hand: SELECT tenant_guard.set_account_relation('shop.account', 'id')
-- finds: error|48-membership-altered|shop."It's member"
-- finds: error|48-membership-altered|shop.account
CREATE TABLE shop."It's member" (account_id uuid NOT NULL, person text NOT NULL, PRIMARY KEY (account_id, person));
ALTER TABLE shop."It's member" OWNER TO ITSOWNER;
ALTER TABLE shop.account ADD COLUMN active boolean;
SELECT tenant_guard.protect('shop."It''s member"');
SELECT tenant_guard.set_membership('shop."It''s member"', 'person', 'account_id');
SELECT tenant_guard.set_account_relation('shop.account', 'id', 'active');
ALTER TABLE shop."It's member" RENAME COLUMN person TO "sub'ject";
ALTER TABLE shop.account DROP COLUMN active;
