-- twin: LEAKPROOF
-- finds: warning|59-leakproof|public.peek(text)
CREATE FUNCTION public.peek(text) RETURNS boolean LANGUAGE plpgsql LEAKPROOF COST 0.0001 AS
    $$BEGIN RAISE NOTICE '%', $1; RETURN true; END$$;
-- A: SET LOCAL enable_indexscan = off
-- A: SET LOCAL enable_bitmapscan = off
-- A: SELECT name FROM shop.contact WHERE public.peek(name)
-- shows: notice: ann
-- shows: notice: abe
-- shows: notice: bob
-- shows: notice: bea
-- shows: ann
-- shows: abe
-- then: notice: ann
-- then: notice: abe
-- then: ann
-- then: abe
