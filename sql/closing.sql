-- What stands in tables that nobody is granted is nobody's to read: keys that sign tokens, declarations
-- that choose accounts. Members of pg_read_all_data and pg_write_all_data need no grant, but row security
-- binds them, and here is no policy. It does not bind the owner, with whose rights our code reads: it is not
-- forced, so that all goes on where the owner is no superuser any more.
--
-- Tables that are granted are left: a policy for their readers would be dumped with the database, and fail
-- where the extension has made it already. Before the guards, which would judge each of these commands.
DO $$
DECLARE
    closed pg_catalog.text;
BEGIN
    FOR closed IN
        SELECT c.relname
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_depend AS d
            ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
        WHERE c.relnamespace OPERATOR(pg_catalog.=) 'tenant_guard'::pg_catalog.regnamespace
            AND c.relkind OPERATOR(pg_catalog.=) 'r'
            AND NOT EXISTS (
                SELECT FROM pg_catalog.aclexplode(c.relacl) AS a
                WHERE a.grantee OPERATOR(pg_catalog.<>) c.relowner)
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE tenant_guard.%I ENABLE ROW LEVEL SECURITY', closed);
    END LOOP;
END
$$;
