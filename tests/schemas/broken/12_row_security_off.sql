-- twin: ENABLE ROW LEVEL SECURITY
-- finds: error|12-row-security-not-enabled|public.asleep
-- finds: error|12-row-security-not-enabled|shop.contact
ALTER TABLE shop.contact DISABLE ROW LEVEL SECURITY;
CREATE TABLE public.asleep (); CREATE POLICY p ON public.asleep;
ALTER TABLE public.asleep FORCE ROW LEVEL SECURITY;
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: abe ann bea bob
-- then: abe ann
