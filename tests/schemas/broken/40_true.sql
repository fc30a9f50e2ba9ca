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
