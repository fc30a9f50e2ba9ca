-- finds: warning|59-leakproof|public.peek(text)
CREATE FUNCTION public.peek(text) RETURNS boolean LANGUAGE plpgsql LEAKPROOF AS
    $$BEGIN RAISE NOTICE '%', $1; RETURN true; END$$;
