-- twin: BYPASSRLS
-- finds: error|02-role-bypasses-row-security|APP
ALTER ROLE APP BYPASSRLS;
-- nobody: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: abe ann bea bob
-- then: 28000 no identity is bound to this transaction
