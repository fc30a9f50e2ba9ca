-- twin: whose rights the trigger's function has
-- finds: error|55-definer-bypasses|public.deliver()
CREATE TABLE public.letter (t text); GRANT INSERT ON public.letter TO APP;
CREATE FUNCTION public.deliver() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$BEGIN UPDATE shop.contact SET name = NEW.t; RETURN NULL; END$$;
CREATE TRIGGER deliver BEFORE INSERT ON public.letter FOR EACH ROW EXECUTE FUNCTION public.deliver();
-- A commits: INSERT INTO public.letter VALUES ('defaced')
-- B: SELECT DISTINCT name FROM shop.contact
-- meanwhile: UPDATE shop.contact SET name = 'restored'
-- shows: defaced
-- then: restored
