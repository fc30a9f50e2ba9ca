-- twin: whose rights the procedure has
-- A procedure that calls a function that reads a view over a view, in strings.
-- finds: error|55-definer-bypasses|public.report()
CREATE VIEW shop.far WITH (security_invoker) AS SELECT name FROM shop.names;
ALTER VIEW shop.far OWNER TO ITSOWNER;
CREATE FUNCTION public.collected() RETURNS text LANGUAGE plpgsql
    AS $$BEGIN RETURN (SELECT string_agg(name, ' ' ORDER BY name) FROM shop."far"); END$$;
CREATE PROCEDURE public.report() LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$BEGIN RAISE NOTICE '%', public.collected(); END$$;
-- A: CALL public.report()
-- shows: notice: abe ann bea bob
-- then: notice: abe ann
