-- twin: the right to write roles of one's own account
-- finds: warning|76-identity-writable|shop.member
CREATE TABLE shop.member (account_id uuid, person text, position text, PRIMARY KEY (account_id, person));
INSERT INTO shop.member VALUES ('ACCOUNT_A', 'tester', 'agent');
ALTER TABLE shop.member OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.member');
GRANT SELECT, UPDATE ON shop.member TO APP;
SELECT tenant_guard.set_membership('shop.member', 'person', 'account_id', 'position');
-- A commits: UPDATE shop.member SET position = 'owner'
-- outside: DO $$BEGIN PERFORM tenant_guard.authenticate('TOKEN_OF_NONE');
--     RAISE NOTICE '%', tenant_guard.roles(); END$$
-- meanwhile: UPDATE shop.member SET position = 'agent'
-- shows: notice: {owner}
-- then: 42501 permission denied for table member
-- then: notice: {agent}
