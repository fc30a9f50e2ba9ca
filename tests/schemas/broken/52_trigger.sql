-- finds: warning|52-trigger-bypasses|shop.contact
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER touch BEFORE UPDATE ON shop.contact FOR EACH ROW EXECUTE FUNCTION public.touch();
