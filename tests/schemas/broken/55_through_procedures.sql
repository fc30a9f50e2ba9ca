-- twin: whose rights the procedure has
-- A procedure that calls a function that reads a view over a view, in strings.
-- finds: error|55-definer-bypasses|public.report()
-- since 15 | CREATE VIEW shop.far WITH (security_invoker) AS SELECT name FROM shop.names;
-- since 15 | ALTER VIEW shop.far OWNER TO ITSOWNER;
-- before 15 | CREATE VIEW shop.near AS TABLE shop.contact; CREATE VIEW shop.far AS SELECT name FROM shop.near;
CREATE FUNCTION public.collected() RETURNS text LANGUAGE plpgsql
    AS $$BEGIN RETURN (SELECT string_agg(name, ' ' ORDER BY name) FROM shop."far"); END$$;
CREATE PROCEDURE public.report() LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$BEGIN RAISE NOTICE '%', public.collected(); END$$;
-- A: CALL public.report()
-- shows: notice: abe ann bea bob
-- since 15 | -- then: notice: abe ann
-- before 15 | -- then: 42501 permission denied for view far
