-- Cancels the autovacuum workers that hold a lock on a relation, other than against wraparound.
-- $1 oid: the relation. Where the extension's owner is no superuser they are left alone.
SELECT CASE WHEN (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user)
    THEN pg_cancel_backend(a.pid) END
FROM pg_stat_activity AS a
WHERE a.backend_type = 'autovacuum worker' AND a.datname = current_database()
    AND a.query NOT LIKE '%(to prevent wraparound)'
    AND EXISTS (
        SELECT FROM pg_locks AS l
        WHERE l.pid = a.pid AND l.locktype = 'relation' AND l.relation = $1 AND l.granted)
