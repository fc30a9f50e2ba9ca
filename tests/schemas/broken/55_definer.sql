-- twin: whose rights the functions have
-- By its text, by what its body depends on, by a view, and by another function.
-- finds: error|55-definer-bypasses|public.by_body()
-- finds: error|55-definer-bypasses|public.by_call()
-- finds: error|55-definer-bypasses|public.by_text(text)
-- finds: info|55-definer-bypasses|public.by_itself()
-- finds: info|55-definer-bypasses|public.unseen(text)
CREATE FUNCTION public.by_text("In" text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$BEGIN RETURN (SELECT count(*) FROM shop.contact); END$$;
CREATE FUNCTION public.by_body() RETURNS bigint LANGUAGE sql SECURITY DEFINER
-- since 15 |     BEGIN ATOMIC SELECT count(*) FROM shop.names; END;
-- before 15 |     BEGIN ATOMIC SELECT count(*) FROM shop.contact; END;
CREATE FUNCTION public.inner_part() RETURNS bigint LANGUAGE sql
    BEGIN ATOMIC SELECT count(*) FROM shop.message_1; END;
CREATE FUNCTION public.by_call() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    BEGIN ATOMIC SELECT public.inner_part(); END;
CREATE FUNCTION public.by_itself() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    BEGIN ATOMIC SELECT count(*) FROM shop.contact WHERE account_id = tenant_guard.account_id(); END;
CREATE FUNCTION public.unseen(t text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$BEGIN EXECUTE 'TABLE ' || t; END$$;
CREATE FUNCTION public.not_granted() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    BEGIN ATOMIC SELECT count(*) FROM shop.contact; END;
REVOKE ALL ON FUNCTION public.not_granted() FROM PUBLIC;
-- A: SELECT public.by_text(''), public.by_body(), public.by_call(), public.by_itself()
-- shows: 4|4|2|2
-- then: 2|2|1|2
