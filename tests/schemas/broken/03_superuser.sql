-- twin: SUPERUSER
-- finds: info|03-superuser-can-log-in|DB_boss
CREATE ROLE DB_boss LOGIN SUPERUSER;
-- as: DB_boss
-- nobody: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: abe ann bea bob
-- then: 28000 no identity is bound to this transaction
