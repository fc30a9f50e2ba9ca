-- twin: row_security
-- finds: info|10-row-security-off|row_security
-- finds: info|10-row-security-off|row_security
ALTER ROLE APP SET row_security = off; ALTER DATABASE DB SET row_security = 'no';
-- reconnects: a setting is read when a session begins
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact
-- shows: 42501 query would be affected by row-level security policy for table "contact"
-- then: abe ann
