-- Row 66: pg_stat_activity and pg_stat_statements show the statements of everybody, values in them
-- included, to members of pg_read_all_stats and pg_monitor.
-- Finds roles that log in, hold rights on protected relations and are such members, however far (warning).
-- Fix: revoke the last step of each way there.
SELECT 'warning', quote_ident(w.role_name),
    format('reads protected relations and, by %s through %s, everybody''s statements', w.reached_name,
        CASE WHEN bool_and(w.direct) THEN 'its own membership'
            ELSE string_agg(DISTINCT quote_ident(w.via_name), ', ') END),
    string_agg(DISTINCT w.cut, ' ')
FROM tenant_guard.role_way AS w
JOIN tenant_guard.protected_reader AS p ON p.role = w.role
WHERE w.reached_name IN ('pg_read_all_stats', 'pg_monitor')
    -- That pg_monitor is a member of the other is PostgreSQL's doing.
    AND w.via_name <> 'pg_monitor'
    AND ($1 IS NULL OR $1 IS NOT NULL)
GROUP BY w.role, w.role_name, w.reached_name
