-- Row 71: without TLS tokens and rows cross the network in clear text.
-- Finds a server that listens beyond its own host and has ssl off (error). The server belongs to no
-- schema: it is listed whatever schemas are asked for.
-- Fix: switch it on, with a certificate in place, and reload.
SELECT 'error', 'ssl',
    format('off, while the server listens on %s: it needs a certificate and a reload', l.setting),
    'ALTER SYSTEM SET ssl = on;'
FROM pg_settings AS s
JOIN pg_settings AS l ON l.name = 'listen_addresses'
WHERE s.name = 'ssl' AND s.setting = 'off' AND ($1 IS NULL OR $1 IS NOT NULL)
    AND EXISTS (
        SELECT FROM regexp_split_to_table(l.setting, '\s*,\s*') AS a (address)
        WHERE a.address !~ '^\s*$|^localhost$|^127\.|^::1$')
