-- twin: which metadata
-- finds: error|47-user-metadata|public.draft.p
CREATE TABLE public.profile (who name, theirs jsonb, ours jsonb);
ALTER TABLE public.profile ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON public.profile USING (who = current_user) WITH CHECK (who = current_user);
INSERT INTO public.profile VALUES ('APP', '{}', '{"app_metadata": {}}');
GRANT SELECT, UPDATE (theirs) ON public.profile TO APP;
CREATE FUNCTION public.jwt() RETURNS jsonb LANGUAGE sql STABLE AS 'SELECT theirs || ours FROM public.profile';
CREATE TABLE public.draft (id int, tenant text);
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON public.draft USING (tenant = ((SELECT public.jwt()) -> 'user_metadata' ->> 'tenant'))
    WITH CHECK (tenant = public.jwt() #>> '{user_metadata,tenant}');
GRANT SELECT ON public.draft TO APP; INSERT INTO public.draft VALUES (7, 'b');
-- A: UPDATE public.profile SET theirs = '{"user_metadata": {"tenant": "b"}}'
-- A: SELECT id FROM public.draft
-- shows: 7
