-- Row 72: lines of pg_hba.conf that let roles of the application in without a password, or without TLS.
-- Finds lines for this database and roles that hold rights on protected relations, with the method trust
-- (error beyond this host, else warning) or, beyond this host, without TLS (warning), unless a line
-- above them rejects the same connections. The server belongs to no schema: they are listed
-- whatever schemas are asked for.
-- Fix: none to paste. Edit the file and reload.
WITH line AS (
    SELECT h.line_number AS number, h.type, h.database, h.user_name, h.auth_method AS method, h.address,
        h.type <> 'local' AND COALESCE(h.address, 'all') !~ '^127\.|^::1$|^localhost$|^samehost$'
            AS from_afar,
        CASE WHEN h.address ~ '^[0-9.]+$|:' THEN
            -- The length of the mask, counted in its text form.
            set_masklen(h.address::inet, CASE WHEN family(h.address::inet) = 4
                THEN length(replace((h.netmask::inet - '0.0.0.0'::inet)::bit(32)::text, '0', ''))
                ELSE masklen(h.address::inet) END) END AS network
    FROM pg_hba_file_rules AS h
    WHERE h.error IS NULL
)
SELECT CASE WHEN l.method = 'trust' AND l.from_afar THEN 'error' ELSE 'warning' END, 'pg_hba.conf',
    format('line %s (%s) lets %s in %s', l.number,
        concat_ws(' ', l.type, array_to_string(l.database, ','), array_to_string(l.user_name, ','),
            l.address, l.method),
        CASE WHEN count(*) > 3 THEN format('%s roles', count(*))
            ELSE string_agg(quote_ident(p.name), ', ' ORDER BY p.name) END,
        concat_ws(' and ', CASE WHEN l.method = 'trust' THEN 'without a password' END,
            CASE WHEN l.from_afar AND l.type <> 'hostssl' THEN 'without TLS' END)),
    ''
FROM line AS l
JOIN tenant_guard.protected_reader AS p ON EXISTS (
    SELECT FROM unnest(l.user_name) AS u (name)
    WHERE u.name IN ('all', p.name)
        OR u.name LIKE '+%' AND pg_has_role(p.role, to_regrole(quote_ident(substr(u.name, 2))), 'MEMBER')
        OR u.name LIKE '/%' AND p.name::text ~ substr(u.name, 2))
WHERE l.method <> 'reject'
    AND (l.method = 'trust' OR l.from_afar AND l.type <> 'hostssl')
    -- Over GSSAPI the connection is encrypted, too.
    AND l.type <> 'hostgssenc'
    AND (l.database && ARRAY['all', 'sameuser', 'samerole', current_database()::text]
        OR EXISTS (SELECT FROM unnest(l.database) AS d (name)
            WHERE d.name LIKE '/%' AND current_database()::text ~ substr(d.name, 2)))
    AND NOT EXISTS (
        SELECT FROM line AS r
        WHERE r.number < l.number AND r.method = 'reject' AND 'all' = ANY (r.database)
            AND 'all' = ANY (r.user_name)
            AND (r.type = l.type OR r.type = 'host' AND l.type LIKE 'host%'
                OR r.type = 'hostnossl' AND l.type = 'host' AND l.method <> 'trust')
            AND (r.address IS NOT DISTINCT FROM l.address OR r.address = 'all'
                OR r.network >>= l.network))
    AND ($1 IS NULL OR $1 IS NOT NULL)
GROUP BY l.number, l.type, l.database, l.user_name, l.address, l.method, l.from_afar
