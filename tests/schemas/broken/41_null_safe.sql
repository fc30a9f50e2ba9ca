-- twin: the comparison
-- finds: error|41-policy-null-safe|public.draft.p
CREATE FUNCTION public.who() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT NULL::uuid';
CREATE TABLE public.draft (id int, account_id uuid);
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER TABLE public.draft OWNER TO ITSOWNER;
CREATE POLICY p ON public.draft USING (account_id IS NOT DISTINCT FROM (SELECT public.who()));
GRANT SELECT ON public.draft TO APP;
-- meanwhile: INSERT INTO public.draft VALUES (7, NULL)
-- nobody: SELECT id FROM public.draft
-- meanwhile: DELETE FROM public.draft WHERE id = 7
-- shows: 7
-- then: 23502 null value in column "account_id" of relation "draft" violates not-null constraint
-- then: 28000 no identity is bound to this transaction
