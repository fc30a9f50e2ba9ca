-- twin: the setting
-- finds: warning|64-session-identity|tenant_guard.allow_session_identity
ALTER ROLE APP IN DATABASE DB SET tenant_guard.allow_session_identity = 'yes';
-- reconnects: a setting is read when a session begins
-- outside: DO $$BEGIN PERFORM tenant_guard.authenticate('TOKEN_A', is_local => false); END$$
-- outside: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: abe ann
-- then: 55000 session identity is not allowed
-- then: 28000 no identity is bound to this transaction
