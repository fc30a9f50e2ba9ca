-- twin: search_path
-- finds: info|56-definer-search-path|public.pinned()
-- finds: warning|56-definer-search-path|public.open()
-- finds: warning|56-definer-search-path|public.temporary()
-- finds: warning|56-definer-search-path|public.trigger_of_somebody()
CREATE TABLE public.admin (who name); GRANT SELECT ON public.admin TO ITSOWNER;
CREATE FUNCTION public.open() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
    AS $$BEGIN RETURN EXISTS (SELECT FROM admin WHERE who = session_user); END$$;
CREATE FUNCTION public.temporary() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = "Odd, name", public
    AS $$BEGIN RETURN EXISTS (SELECT FROM admin WHERE who = session_user); END$$;
CREATE FUNCTION public.trigger_of_somebody() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    AS $$BEGIN RETURN NEW; END$$;
REVOKE ALL ON FUNCTION public.trigger_of_somebody() FROM PUBLIC;
CREATE FUNCTION public.pinned() RETURNS int LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = '' AS $$BEGIN RETURN 1; END$$;
ALTER FUNCTION public.open() OWNER TO ITSOWNER; ALTER FUNCTION public.temporary() OWNER TO ITSOWNER;
ALTER FUNCTION public.pinned() OWNER TO ITSOWNER;
-- A: CREATE TEMP TABLE admin AS SELECT session_user AS who; GRANT SELECT ON admin TO PUBLIC
-- A: SELECT public.open(), public.temporary()
-- shows: t|t
-- then: f|f
