-- twin: FORCE ROW LEVEL SECURITY
-- finds: error|01-row-security-not-forced|shop.contact
-- finds: warning|01-row-security-not-forced|public.other
ALTER TABLE shop.contact NO FORCE ROW LEVEL SECURITY;
CREATE TABLE public.other (); ALTER TABLE public.other ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON public.other;
CREATE FUNCTION shop.names_of_all() RETURNS text LANGUAGE sql SECURITY DEFINER
    BEGIN ATOMIC SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact; END;
ALTER FUNCTION shop.names_of_all() OWNER TO ITSOWNER;
-- A: SELECT shop.names_of_all()
-- shows: abe ann bea bob
-- then: abe ann
