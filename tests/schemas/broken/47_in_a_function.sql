-- twin: which metadata
-- without fix: 47-user-metadata
-- finds: error|47-user-metadata|shop.contact.narrow
-- by hand: CREATE OR REPLACE FUNCTION public.level() RETURNS int LANGUAGE plpgsql STABLE AS $$BEGIN RETURN public.jwt() -> 'app_metadata' ->> 'level'; END$$;
CREATE TABLE public.profile (who name, theirs jsonb, ours jsonb);
ALTER TABLE public.profile ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON public.profile USING (who = current_user) WITH CHECK (who = current_user);
INSERT INTO public.profile VALUES ('APP', '{}', '{"app_metadata": {}}');
GRANT SELECT, UPDATE (theirs) ON public.profile TO APP;
CREATE FUNCTION public.jwt() RETURNS jsonb LANGUAGE sql STABLE AS 'SELECT theirs || ours FROM public.profile';
CREATE FUNCTION public.level() RETURNS int LANGUAGE plpgsql STABLE AS
    $$BEGIN RETURN public.jwt() -> 'user_metadata' ->> 'level'; END$$;
CREATE FUNCTION public.allowed() RETURNS boolean LANGUAGE sql STABLE RETURN public.level() > 3;
CREATE POLICY narrow ON shop.contact AS RESTRICTIVE FOR DELETE USING (public.allowed());
-- A: UPDATE public.profile SET theirs = '{"user_metadata": {"level": "9"}}'
-- A: DELETE FROM shop.contact WHERE id = 2 RETURNING name
-- shows: abe
