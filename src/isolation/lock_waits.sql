-- Seconds that each session other than this one has waited for a lock. The start of a wait is null
-- for a moment.
SELECT COALESCE(extract(epoch FROM clock_timestamp() - l.waitstart)::float8, 0)
FROM pg_locks AS l
WHERE NOT l.granted AND l.pid <> pg_backend_pid()
