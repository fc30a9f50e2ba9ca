-- finds: error|41-policy-null-safe|public.draft.p
CREATE FUNCTION public.who() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT NULL::uuid';
CREATE TABLE public.draft (id int, account_id uuid);
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER TABLE public.draft OWNER TO ITSOWNER;
CREATE POLICY p ON public.draft USING (account_id IS NOT DISTINCT FROM (SELECT public.who()));
