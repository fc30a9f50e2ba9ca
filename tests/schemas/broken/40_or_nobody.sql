-- twin: the condition of the policies
-- finds: error|40-policy-always-true|public.draft.p
-- finds: error|40-policy-always-true|public.draft.q
-- finds: error|40-policy-always-true|public.draft.r
CREATE FUNCTION public.who() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT NULL::uuid';
CREATE TABLE public.draft (id int, account_id uuid, note text);
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER TABLE public.draft OWNER TO ITSOWNER;
CREATE POLICY p ON public.draft USING (public.who() IS NULL OR account_id = public.who());
CREATE POLICY q ON public.draft FOR UPDATE USING (account_id = public.who() OR id = id);
CREATE POLICY r ON public.draft FOR INSERT WITH CHECK (account_id = public.who() OR (SELECT public.who()) IS NULL);
GRANT SELECT, INSERT, UPDATE, DELETE ON public.draft TO APP;
INSERT INTO public.draft VALUES (1, 'ACCOUNT_B', 'of bob');
-- A: SELECT note FROM public.draft
-- A: UPDATE public.draft SET note = 'changed' RETURNING note
-- A: INSERT INTO public.draft VALUES (2, 'ACCOUNT_B', 'planted') RETURNING note
-- shows: of bob
-- shows: changed
-- shows: planted
-- then: 42501 new row violates row-level security policy for table "draft"
