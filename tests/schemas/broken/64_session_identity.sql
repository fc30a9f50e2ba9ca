-- finds: warning|64-session-identity|tenant_guard.allow_session_identity
ALTER ROLE APP IN DATABASE DB SET tenant_guard.allow_session_identity = 'yes';
