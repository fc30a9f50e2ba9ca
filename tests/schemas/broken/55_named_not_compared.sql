-- twin: whose rights the function has
-- finds: warning|55-definer-bypasses|public.logged()
CREATE FUNCTION public.logged() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$BEGIN
        RAISE DEBUG 'asked by %', tenant_guard.account_id();
        RETURN (SELECT count(*) FROM shop.contact);
    END$$;
-- A: SELECT public.logged()
-- shows: 4
-- then: 2
