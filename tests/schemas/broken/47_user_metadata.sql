-- finds: error|47-user-metadata|public.draft.p
CREATE FUNCTION public.jwt() RETURNS jsonb LANGUAGE sql STABLE AS 'SELECT NULL::jsonb';
CREATE TABLE public.draft (id int, tenant text);
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON public.draft USING (tenant = ((SELECT public.jwt()) -> 'user_metadata' ->> 'tenant'))
    WITH CHECK (tenant = public.jwt() #>> '{user_metadata,tenant}');
