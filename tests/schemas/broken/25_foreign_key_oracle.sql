-- twin: protect() of the table
-- finds: error|12-row-security-not-enabled|public.guess
-- finds: warning|25-foreign-key-oracle|public.guess
CREATE TABLE public.guess (contact_id int CONSTRAINT "It's there" REFERENCES shop.contact);
GRANT SELECT, INSERT (contact_id) ON public.guess TO APP;
-- A: INSERT INTO public.guess VALUES (3) RETURNING contact_id
-- A: INSERT INTO public.guess VALUES (99)
-- shows: 3
-- shows: 23503 insert or update on table "guess" violates foreign key constraint "It's there"
-- then: 42501 new row violates row-level security policy for table "guess"
-- then: 42501 new row violates row-level security policy for table "guess"
