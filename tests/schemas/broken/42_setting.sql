-- twin: where the account comes from
-- finds: warning|42-policy-reads-setting|public.draft.p
-- finds: warning|42-policy-reads-setting|public.draft.q
CREATE SCHEMA auth;
CREATE FUNCTION auth.setting() RETURNS text LANGUAGE sql STABLE AS $$SELECT current_setting('app.account', true)$$;
CREATE FUNCTION auth.account() RETURNS uuid LANGUAGE plpgsql STABLE AS $$BEGIN RETURN auth.setting()::uuid; END$$;
CREATE TABLE public.draft (id int, account_id uuid);
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER TABLE public.draft OWNER TO ITSOWNER;
CREATE POLICY p ON public.draft USING (account_id = NULLIF(current_setting('app.account', true), '')::uuid);
CREATE POLICY q ON public.draft AS RESTRICTIVE USING (account_id = auth.account());
GRANT SELECT ON public.draft TO APP; GRANT USAGE ON SCHEMA auth TO APP;
INSERT INTO public.draft VALUES (7, 'ACCOUNT_B');
-- A: SET LOCAL app.account = 'ACCOUNT_B'
-- A: SELECT id FROM public.draft
-- shows: 7
