-- twin: the user mapping
-- finds: error|22-foreign-table|loop
-- finds: error|22-foreign-table|loop
-- finds: warning|22-foreign-table|loop
CREATE EXTENSION postgres_fdw;
CREATE SERVER loop foreign data wrapper postgres_fdw OPTIONS (dbname 'DB', host 'SOCKETS');
CREATE SERVER away foreign data wrapper postgres_fdw OPTIONS (dbname 'DB', host 'db.example');
CREATE user mapping FOR APP SERVER loop OPTIONS (user 'postgres', password_required 'false');
CREATE user mapping FOR PUBLIC SERVER loop;
CREATE user mapping FOR ITSOWNER SERVER loop OPTIONS (user 'APP');
CREATE user mapping FOR APP SERVER away OPTIONS (user 'postgres');
CREATE FOREIGN TABLE public.itself (name text) SERVER loop OPTIONS (schema_name 'shop', table_name 'contact');
GRANT SELECT ON public.itself TO APP;
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM public.itself
-- shows: abe ann bea bob
-- before 17 | -- then: 42704 user mapping not found for "APP"
-- since 17 | -- then: 42704 user mapping not found for user "APP", server "loop"
