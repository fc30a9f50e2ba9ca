-- finds: warning|25-foreign-key-oracle|public.guess
CREATE TABLE public.guess (contact_id int CONSTRAINT "It's there" REFERENCES shop.contact);
GRANT INSERT (contact_id) ON public.guess TO APP;
