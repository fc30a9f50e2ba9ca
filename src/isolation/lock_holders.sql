-- The name of a relation and the processes that stand in the way of a lock on it.
-- $1 oid: the relation. $2 boolean: the lock lets readers through.
SELECT c.oid::regclass::text, (
    SELECT string_agg(DISTINCT l.pid::text, ', ')
    FROM pg_locks AS l
    WHERE l.locktype = 'relation' AND l.relation = c.oid AND l.granted
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        AND l.pid <> pg_backend_pid()
        AND NOT ($2 AND l.mode IN ('AccessShareLock', 'RowShareLock')))
FROM pg_class AS c
WHERE c.oid = $1
