-- twin: the form of the password
-- without fix: 73-password
-- finds: warning|73-password|APP
-- finds: warning|73-password|password_encryption
-- by hand: SET password_encryption = 'scram-sha-256'; ALTER ROLE APP PASSWORD 'new';
SET password_encryption = 'md5'; ALTER ROLE APP PASSWORD 'old';
ALTER DATABASE DB SET password_encryption = 'md5';
-- cannot be shown: only superusers read verifiers, and a backup that holds them is outside the database
