-- twin: the right to write the table of memberships
-- finds: error|76-identity-writable|public.member
CREATE TABLE public.member (person text, tenant uuid, position text);
INSERT INTO public.member VALUES ('tester', 'ACCOUNT_A', 'agent');
GRANT SELECT, INSERT ON public.member TO APP;
SELECT tenant_guard.set_membership('public.member', 'person', 'tenant', 'position');
-- outside: INSERT INTO public.member VALUES ('tester', 'ACCOUNT_B', 'owner')
-- outside: DO $$BEGIN PERFORM tenant_guard.authenticate('TOKEN_OF_NONE', 'ACCOUNT_B');
--     RAISE NOTICE '% %', (SELECT string_agg(name, ' ' ORDER BY id) FROM shop.contact), tenant_guard.roles(); END$$
-- meanwhile: DELETE FROM public.member WHERE tenant = 'ACCOUNT_B'
-- shows: notice: bob bea {owner}
-- then: 42501 permission denied for table member
-- then: 28000 token does not allow the requested account
