-- finds: warning|73-password|APP
-- finds: warning|73-password|password_encryption
-- left: warning|73-password|APP
-- by hand: SET password_encryption = 'scram-sha-256'; ALTER ROLE APP PASSWORD 'new';
SET password_encryption = 'md5'; ALTER ROLE APP PASSWORD 'old';
ALTER DATABASE DB SET password_encryption = 'md5';
