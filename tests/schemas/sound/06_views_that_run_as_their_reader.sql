-- Views over views, granted to nobody where they cannot run as their reader,
-- a view nobody but its owner reads, and one of another schema.
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL, name text);
SELECT tenant_guard.protect('shop.contact');
-- since 15 | CREATE VIEW shop.names WITH (security_invoker, security_barrier) AS SELECT id, name FROM shop.contact;
-- since 15 | CREATE VIEW shop.short_names WITH (security_invoker = on) AS SELECT name FROM shop.names;
-- before 15 | CREATE VIEW shop.names WITH (security_barrier) AS SELECT id, name FROM shop.contact;
-- before 15 | CREATE VIEW shop.short_names AS SELECT name FROM shop.names;
CREATE VIEW shop.private_view AS SELECT count(*) FROM shop.contact;
REVOKE ALL ON shop.private_view FROM APP;
-- before 15 | REVOKE ALL ON shop.names, shop.short_names FROM APP;
-- since 15 | GRANT SELECT ON shop.names, shop.short_names TO APP;
RESET ROLE;
-- since 15 | CREATE VIEW public.everybody WITH (security_invoker = 1) AS TABLE shop.short_names;
-- since 15 | GRANT SELECT ON public.everybody TO PUBLIC;
CREATE VIEW public.catalogs AS SELECT relname FROM pg_class; GRANT SELECT ON public.catalogs TO PUBLIC;
