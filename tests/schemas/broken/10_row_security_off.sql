-- finds: info|10-row-security-off|row_security
-- finds: info|10-row-security-off|row_security
ALTER ROLE APP SET row_security = off; ALTER DATABASE DB SET row_security = 'no';
