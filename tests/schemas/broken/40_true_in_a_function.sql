-- twin: the condition of the policies
-- finds: error|40-policy-always-true|public.draft.p
-- finds: error|40-policy-always-true|public.draft.q
CREATE FUNCTION public.visible() RETURNS boolean LANGUAGE plpgsql STABLE AS
    $$BEGIN
        RETURN true; -- until there are accounts
    END$$;
CREATE FUNCTION public.allowed(text) RETURNS boolean LANGUAGE sql STABLE RETURN public.visible();
CREATE TABLE public.draft (id int, account_id uuid, note text);
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER TABLE public.draft OWNER TO ITSOWNER;
CREATE POLICY p ON public.draft FOR SELECT USING (public.visible());
CREATE POLICY q ON public.draft FOR UPDATE USING ((SELECT public.allowed('change')));
GRANT SELECT, INSERT, UPDATE, DELETE ON public.draft TO APP;
INSERT INTO public.draft VALUES (1, 'ACCOUNT_B', 'of bob');
-- A: SELECT note FROM public.draft
-- A: UPDATE public.draft SET note = 'changed' RETURNING note
-- shows: of bob
-- shows: changed
