-- twin: the constant
-- finds: warning|67-account-literal|public.draft.a
-- finds: warning|67-account-literal|shop.contact.narrow
CREATE TABLE public.draft (id int, account_id uuid);
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER TABLE public.draft OWNER TO ITSOWNER;
CREATE POLICY a ON public.draft TO APP USING (account_id = '00000000-0000-4000-8000-00000000000a');
CREATE POLICY narrow ON shop.contact AS RESTRICTIVE FOR UPDATE
    USING (account_id <> 'ACCOUNT_B');
-- A: SELECT qual FROM pg_policies WHERE policyname = 'narrow'
-- shows: (account_id <> 'ACCOUNT_B'::uuid)
