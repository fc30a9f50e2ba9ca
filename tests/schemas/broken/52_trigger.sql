-- twin: whose rights the function has
-- finds: warning|52-trigger-bypasses|shop.contact
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$BEGIN
        NEW.name := (SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact); RETURN NEW; END$$;
CREATE TRIGGER touch BEFORE UPDATE ON shop.contact FOR EACH ROW EXECUTE FUNCTION public.touch();
-- A: UPDATE shop.contact SET name = name WHERE id = 1 RETURNING name
-- shows: abe ann bea bob
-- then: abe ann
