-- twin: STABLE
-- finds: error|57-immutable-identity|public.account(text)
-- finds: error|57-immutable-identity|public.mine()
CREATE FUNCTION public.mine() RETURNS uuid LANGUAGE sql IMMUTABLE AS 'SELECT tenant_guard.account_id()';
CREATE FUNCTION public.account(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN RETURN current_setting($1); END$$;
CREATE FUNCTION public.harmless(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN -- not current_setting($1)
    RETURN $1; END$$;
CREATE TABLE public.draft (id int, tenant uuid); GRANT SELECT ON public.draft TO APP;
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON public.draft USING (tenant = public.mine());
INSERT INTO public.draft VALUES (1, 'ACCOUNT_A'), (7, 'ACCOUNT_B');
-- outside: DEALLOCATE ALL
-- A commits: PREPARE drafts AS SELECT id FROM public.draft
-- A: EXECUTE drafts
-- B: EXECUTE drafts
-- shows: 1
-- shows: 1
-- then: 1
-- then: 7
