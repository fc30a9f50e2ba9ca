-- twin: the default
-- finds: error|44-policy-default-account|public.draft.p
-- finds: error|44-policy-default-account|public.draft.q
CREATE FUNCTION public.account() RETURNS text LANGUAGE plpgsql STABLE AS
    $$BEGIN RETURN coalesce(nullif(current_setting('app.account', true), ''), 'default'); END$$;
CREATE TABLE public.draft (id int, account_id text);
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER TABLE public.draft OWNER TO ITSOWNER;
CREATE POLICY p ON public.draft FOR SELECT USING (account_id = COALESCE(NULLIF(current_setting('app.account', true), ''), 'main'));
CREATE POLICY q ON public.draft FOR DELETE USING (account_id = public.account());
-- A database has accounts of one type: no fix may protect this one beside those of type uuid.
ALTER TABLE public.draft RENAME account_id TO tenant;
GRANT SELECT ON public.draft TO APP; INSERT INTO public.draft VALUES (7, 'main');
-- A: SELECT id FROM public.draft
-- shows: 7
