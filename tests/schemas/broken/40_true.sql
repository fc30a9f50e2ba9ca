-- twin: the condition of the policies
-- finds: error|40-policy-always-true|public.draft.p
-- finds: error|40-policy-always-true|public.draft.q
-- finds: warning|40-policy-always-true|public.wiki.w
-- finds: info|40-policy-always-true|public.wiki.r
CREATE TABLE public.draft (id int, account_id uuid, note text);
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER TABLE public.draft OWNER TO ITSOWNER;
CREATE POLICY p ON public.draft FOR SELECT USING (true);
CREATE POLICY q ON public.draft FOR INSERT WITH CHECK (1 = 1);
CREATE TABLE public.wiki (id int, note text);
ALTER TABLE public.wiki ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY w ON public.wiki FOR UPDATE USING (note = 'a = b' OR 'x' = 'x');
CREATE POLICY r ON public.wiki FOR SELECT USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON public.draft TO APP;
INSERT INTO public.draft VALUES (1, 'ACCOUNT_B', 'of bob');
GRANT SELECT, UPDATE ON public.wiki TO APP; INSERT INTO public.wiki VALUES (1, 'of bob');
-- A: SELECT note FROM public.draft
-- A: INSERT INTO public.draft VALUES (2, 'ACCOUNT_B', 'planted') RETURNING note
-- A: UPDATE public.wiki SET note = 'changed' RETURNING note
-- shows: of bob
-- shows: planted
-- shows: changed
-- then: 42501 new row violates row-level security policy for table "draft"
