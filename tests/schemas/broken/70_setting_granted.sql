-- twin: the right to set it
-- finds: error|70-setting-planted|tenant_guard.allow_session_identity
-- finds: info|70-setting-planted|tenant_guard.on_missing_identity
GRANT SET ON PARAMETER tenant_guard.allow_session_identity TO APP;
ALTER ROLE APP SET tenant_guard.on_missing_identity = 'empty';
-- reconnects: a setting is read when a session begins
-- outside: SET tenant_guard.allow_session_identity = on
-- outside: DO $$BEGIN PERFORM tenant_guard.authenticate('TOKEN_A', is_local => false); END$$
-- outside: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: abe ann
-- then: 55000 session identity is not allowed
-- then: 28000 no identity is bound to this transaction
