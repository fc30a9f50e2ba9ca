-- Row 73: an MD5 verifier is the password to whoever reads it from a backup, and quick to guess from.
-- Finds password_encryption set to md5, and roles that log in, hold rights on protected relations and
-- have such a verifier (warning). Settings and roles belong to no schema: they are listed whatever
-- schemas are asked for.
-- Fix: set it to scram-sha-256, then every password anew.
SELECT 'warning', 'password_encryption', k.place || ': new passwords are stored as MD5', k.reset
FROM tenant_guard.kept_setting AS k
WHERE k.name = 'password_encryption' AND k.value <> 'scram-sha-256' AND ($1 IS NULL OR $1 IS NOT NULL)
UNION ALL
SELECT 'warning', 'password_encryption', 'md5 for the whole server: new passwords are stored as MD5',
    'ALTER SYSTEM SET password_encryption = ''scram-sha-256'';'
FROM pg_settings AS s
WHERE s.name = 'password_encryption' AND s.setting <> 'scram-sha-256'
    AND s.source IN ('configuration file', 'command line')
UNION ALL
SELECT 'warning', quote_ident(a.rolname), 'has an MD5 password: it has to be set anew', ''
FROM pg_authid AS a
JOIN tenant_guard.protected_reader AS p ON p.role = a.oid
WHERE a.rolpassword LIKE 'md5%'
