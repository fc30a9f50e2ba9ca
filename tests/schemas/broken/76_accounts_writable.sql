-- twin: the right to write the table of accounts
-- finds: error|76-identity-writable|public.tenant
CREATE TABLE public.tenant (id uuid PRIMARY KEY, open boolean);
INSERT INTO public.tenant VALUES ('ACCOUNT_A', false), ('ACCOUNT_B', true);
GRANT SELECT, UPDATE (open) ON public.tenant TO APP;
SELECT tenant_guard.set_account_relation('public.tenant', 'id', 'open');
-- outside: UPDATE public.tenant SET open = true
-- outside: DO $$BEGIN PERFORM tenant_guard.authenticate('TOKEN_A');
--     RAISE NOTICE '%', (SELECT string_agg(name, ' ' ORDER BY id) FROM shop.contact); END$$
-- meanwhile: UPDATE public.tenant SET open = id <> 'ACCOUNT_A'
-- shows: notice: ann abe
-- then: 42501 permission denied for table tenant
-- then: 28000 token account is not active
