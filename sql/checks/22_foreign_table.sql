-- Row 22: foreign tables have no row security, and a server that leads back here is another role.
-- Finds foreign tables with the account column in schemas with protected relations (error where others
-- may read them, else info), and user mappings of postgres_fdw and dblink_fdw servers that lead to this
-- database (error where the role they log in as bypasses row security or is not named, else warning).
-- Fix: take the right to read it away; drop the mapping.
SELECT CASE WHEN readers.list IS NULL THEN 'info' ELSE 'error' END, c.oid::regclass::text,
    format('is a foreign table with column %I, which no policy filters', a.attname),
    CASE WHEN readers.list IS NULL THEN ''
        ELSE format('REVOKE ALL ON TABLE %s FROM %s CASCADE;', c.oid::regclass, readers.list) END
FROM tenant_guard.account_column AS k
JOIN tenant_guard.product_schema AS n ON n.name = k.schema
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind = 'f'
JOIN pg_attribute AS a
    ON a.attrelid = c.oid AND a.attname = k.name AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END,
        ', ') AS list
    FROM tenant_guard.granted_privilege AS g LEFT JOIN pg_roles AS r ON r.oid = g.grantee
    WHERE g.relation = c.oid AND g.grantee <> c.relowner
) AS readers
WHERE $1 IS NULL OR n.name = ANY ($1)
UNION ALL
SELECT CASE WHEN mapped.name IS NULL OR r.rolsuper OR r.rolbypassrls THEN 'error' ELSE 'warning' END,
    quote_ident(s.srvname),
    format('the mapping for %s leads back to this database as %s', holder.name,
        COALESCE(quote_ident(mapped.name), 'a role it does not name')),
    format('DROP USER MAPPING FOR %s SERVER %I;', holder.name, s.srvname)
FROM pg_user_mapping AS u
JOIN pg_foreign_server AS s ON s.oid = u.umserver
JOIN pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw AND w.fdwname IN ('postgres_fdw', 'dblink_fdw')
LEFT JOIN pg_roles AS h ON h.oid = u.umuser
CROSS JOIN LATERAL (
    SELECT CASE WHEN u.umuser = 0 THEN 'PUBLIC' ELSE quote_ident(h.rolname) END AS name) AS holder
CROSS JOIN LATERAL (
    SELECT max(o.option_value) FILTER (WHERE o.option_name = 'host') AS host,
        max(o.option_value) FILTER (WHERE o.option_name = 'hostaddr') AS hostaddr,
        max(o.option_value) FILTER (WHERE o.option_name = 'port') AS port,
        max(o.option_value) FILTER (WHERE o.option_name = 'dbname') AS dbname
    FROM pg_options_to_table(s.srvoptions) AS o) AS server
CROSS JOIN LATERAL (
    SELECT max(o.option_value) FILTER (WHERE o.option_name = 'user') AS name
    FROM pg_options_to_table(u.umoptions) AS o) AS mapped
LEFT JOIN pg_roles AS r ON r.rolname = mapped.name
WHERE server.dbname = current_database()
    AND COALESCE(server.port, current_setting('port')) = current_setting('port')
    AND COALESCE(server.hostaddr, server.host, '') ~ '^$|^/|^localhost$|^127\.|^::1$'
    AND NOT COALESCE(h.rolsuper, false)
    AND EXISTS (SELECT FROM tenant_guard.protected_member)
