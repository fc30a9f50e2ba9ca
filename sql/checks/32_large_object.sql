-- Row 32: large objects have no row security; whoever may read one reads it in every account.
-- Finds large objects that others than their owner may read (error), or that a role which reads
-- protected relations owns (warning), columns of protected relations that hold their numbers (info), and
-- lo_compat_privileges, which opens all of them (error). Large objects belong to no schema: they are
-- listed whatever schemas are asked for.
-- Fix: revoke; reset. For the rest keep files in a bytea column of a protected relation.
SELECT 'error', 'pg_largeobject',
    format('%s large objects may be read by %s', count(*), grantee.name),
    -- Their numbers may be too many for a list.
    format('DO %L;', format('DECLARE o oid; BEGIN FOR o IN SELECT m.oid FROM pg_largeobject_metadata '
        'AS m, aclexplode(m.lomacl) AS a WHERE a.grantee = %s AND a.grantee <> m.lomowner '
        'LOOP EXECUTE format(''REVOKE ALL ON LARGE OBJECT %%s FROM %%s CASCADE'', o, %L); '
        'END LOOP; END', CASE WHEN a.grantee = 0 THEN '0'
            ELSE format('%L::regrole', grantee.name) END, grantee.name))
FROM pg_largeobject_metadata AS m
CROSS JOIN LATERAL aclexplode(m.lomacl) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
CROSS JOIN LATERAL (
    SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS name) AS grantee
WHERE a.grantee <> m.lomowner AND ($1 IS NULL OR $1 IS NOT NULL)
GROUP BY a.grantee, grantee.name
UNION ALL
SELECT 'warning', 'pg_largeobject',
    format('%s large objects belong to %I, whichever account it wrote them for', count(*), p.name), ''
FROM pg_largeobject_metadata AS m
JOIN tenant_guard.protected_reader AS p ON p.role = m.lomowner
GROUP BY p.name
UNION ALL
SELECT 'info', m.name,
    format('column %I is of type %s: if these are large objects, no policy filters what they hold',
        a.attname, format_type(a.atttypid, NULL)), ''
FROM tenant_guard.protected_member AS m
JOIN pg_attribute AS a ON a.attrelid = m.relation AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE 'oid'::regtype IN (t.oid, t.typbasetype) AND m.relation = m.root
    AND ($1 IS NULL OR m.schema = ANY ($1))
UNION ALL
SELECT 'error', 'lo_compat_privileges', k.place || ': every large object is open to everybody', k.reset
FROM tenant_guard.kept_setting AS k
WHERE k.name = 'lo_compat_privileges' AND k.value::boolean
UNION ALL
SELECT 'error', 'lo_compat_privileges',
    'on for the whole server: every large object is open to everybody',
    'ALTER SYSTEM SET lo_compat_privileges = off;'
FROM pg_settings AS s
WHERE s.name = 'lo_compat_privileges' AND s.setting = 'on'
    AND s.source IN ('configuration file', 'command line')
