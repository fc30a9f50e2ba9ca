-- Roles of the product: what each may do with which rows of the account. See docs/roles.md.

-- The roles tokens name.
CREATE TABLE tenant_guard.product_role (
    name text PRIMARY KEY CHECK (name <> ''),
    inherits text[] NOT NULL,
    -- The level of assurance without which the role does not count.
    assurance text CHECK (assurance <> '')
);
REVOKE ALL ON tenant_guard.product_role FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.product_role', '');

-- One row for each command a role is allowed in a scope. Policies are compiled from it, and lists of
-- columns are read from it, so only our own functions write here.
CREATE TABLE tenant_guard.permission (
    relation regclass NOT NULL,
    role text NOT NULL,
    command text NOT NULL CHECK (command IN ('select', 'insert', 'update', 'delete')),
    scope text NOT NULL CHECK (scope IN ('account', 'own', 'assigned', 'via')),
    owner_column name,
    assigned_column name,
    assignment regclass,
    assignment_key name,
    assignment_subject name,
    via name,
    -- The columns it reaches, null for all.
    columns name[],
    PRIMARY KEY (relation, role, command)
);
REVOKE ALL ON tenant_guard.permission FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.permission',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class)
        AND (assignment IS NULL OR assignment IN (SELECT oid FROM pg_catalog.pg_class))');

-- Every backend keeps the lists of columns; what it keeps of protection_member is told of too.
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.product_role
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.product_role ENABLE ALWAYS TRIGGER tell_backends;
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.permission
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.permission ENABLE ALWAYS TRIGGER tell_backends;

-- They compile policies, as protect does, and under the same settings.
CREATE FUNCTION tenant_guard.define_role(name text, inherits text[] DEFAULT '{}') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'define_role_wrapper';
COMMENT ON FUNCTION tenant_guard.define_role(name text, inherits text[]) IS
    'defines a role of the product, with the roles whose permissions it has as well';
CREATE FUNCTION tenant_guard.drop_role(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'drop_role_wrapper';
COMMENT ON FUNCTION tenant_guard.drop_role(name text) IS
    'drops a role of the product that nothing names any more';
CREATE FUNCTION tenant_guard.require_role_assurance(role text, level text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'require_role_assurance_wrapper';
COMMENT ON FUNCTION tenant_guard.require_role_assurance(role text, level text) IS
    'asks for a level of assurance for a role to count';
CREATE FUNCTION tenant_guard.allow(
    role text, relation regclass, commands text[], scope text DEFAULT 'account',
    owner_column name DEFAULT NULL, assigned_column name DEFAULT NULL,
    assignment regclass DEFAULT NULL, assignment_key name DEFAULT NULL,
    assignment_subject name DEFAULT NULL, via name DEFAULT NULL, columns name[] DEFAULT NULL)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'allow_wrapper';
COMMENT ON FUNCTION tenant_guard.allow(text, regclass, text[], text, name, name, regclass, name,
    name, name, name[]) IS
    'allows a role of the product commands on rows of a protected relation';
CREATE FUNCTION tenant_guard.disallow(
    role text, relation regclass, commands text[] DEFAULT '{all}')
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'disallow_wrapper';
COMMENT ON FUNCTION tenant_guard.disallow(role text, relation regclass, commands text[]) IS
    'takes back what allow() gave';
REVOKE ALL ON FUNCTION
    tenant_guard.define_role(text, text[]), tenant_guard.drop_role(text),
    tenant_guard.require_role_assurance(text, text),
    tenant_guard.allow(
        text, regclass, text[], text, name, name, regclass, name, name, name, name[]),
    tenant_guard.disallow(text, regclass, text[])
    FROM PUBLIC;
-- As protect: the admin's, who must also own the tables whose policies change.
GRANT EXECUTE ON FUNCTION
    tenant_guard.define_role(text, text[]), tenant_guard.drop_role(text),
    tenant_guard.require_role_assurance(text, text),
    tenant_guard.allow(
        text, regclass, text[], text, name, name, regclass, name, name, name, name[]),
    tenant_guard.disallow(text, regclass, text[])
    TO tenant_guard_admin;

CREATE FUNCTION tenant_guard.permission_matrix()
    RETURNS TABLE (
        role text, relation regclass, command text, scope text, detail text, columns text[],
        assurance text, database_roles text[])
    LANGUAGE c STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'permission_matrix_wrapper';
COMMENT ON FUNCTION tenant_guard.permission_matrix() IS
    'what each role of the product may do on each relation, read from the policies that stand';
REVOKE ALL ON FUNCTION tenant_guard.permission_matrix() FROM PUBLIC;
-- It reads catalogs and declarations, as check() does.
GRANT EXECUTE ON FUNCTION tenant_guard.permission_matrix()
    TO tenant_guard_admin, tenant_guard_auditor;

-- For our own code: what a protected relation lets whom do, in all columns a permission names.
CREATE VIEW tenant_guard.declared_permission AS
SELECT p.relation, p.role, p.command, p.scope, p.columns,
    pg_catalog.quote_ident(c.name) AS subject_column,
    pg_catalog.format_type(a.atttypid, NULL) AS subject_type,
    p.assignment,
    CASE WHEN p.assignment IS NOT NULL
        THEN pg_catalog.format('%I.%I', an.nspname, ac.relname) END AS assignment_name,
    pg_catalog.quote_ident(p.assignment_key) AS assignment_key,
    pg_catalog.quote_ident(k.attname) AS row_key,
    pg_catalog.quote_ident(p.via) AS via,
    f.confrelid AS parent,
    CASE WHEN f.confrelid IS NOT NULL
        -- A key is unique in its own table; what inherits from it may hold it again.
        THEN pg_catalog.format(CASE pc.relkind WHEN 'p' THEN '%I.%I' ELSE 'ONLY %I.%I' END,
            pn.nspname, pc.relname) END AS parent_name,
    pg_catalog.quote_ident(f.key) AS parent_key,
    -- A permission whose columns or tables are gone lets nobody in.
    CASE p.scope WHEN 'account' THEN true WHEN 'via' THEN f.key IS NOT NULL
        ELSE a.attnum IS NOT NULL AND (p.assignment IS NULL OR
            k.attname IS NOT NULL AND ak.attnum IS NOT NULL) END AS whole
FROM tenant_guard.permission AS p
CROSS JOIN LATERAL (
    SELECT COALESCE(p.owner_column, p.assigned_column, p.assignment_subject) AS name,
        COALESCE(p.assignment, p.relation) AS relation
) AS c
LEFT JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = c.relation AND a.attname = c.name AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_class AS ac ON ac.oid = p.assignment
LEFT JOIN pg_catalog.pg_namespace AS an ON an.oid = ac.relnamespace
LEFT JOIN pg_catalog.pg_attribute AS ak
    ON ak.attrelid = p.assignment AND ak.attname = p.assignment_key AND ak.attnum > 0
        AND NOT ak.attisdropped
-- The key of a row: its primary key, the account column aside.
LEFT JOIN LATERAL (
    SELECT pg_catalog.min(ka.attname::text)::name AS attname
    FROM pg_catalog.pg_index AS i
    JOIN tenant_guard.protection AS r ON r.relation = p.relation
    JOIN pg_catalog.pg_attribute AS ka
        ON ka.attrelid = i.indrelid AND ka.attnum = ANY (i.indkey)
            AND ka.attname IS DISTINCT FROM r.account_column
    WHERE i.indrelid = p.relation AND i.indisprimary AND p.assignment IS NOT NULL
    HAVING pg_catalog.count(*) = 1
) AS k ON true
-- The parent: by a foreign key over the column, or over it and the account of both.
LEFT JOIN LATERAL (
    SELECT DISTINCT ON (p.via) f.confrelid, pa.attname AS key
    FROM pg_catalog.pg_constraint AS f
    JOIN tenant_guard.protection AS r ON r.relation = p.relation
    JOIN tenant_guard.protection AS pr ON pr.relation = f.confrelid
    JOIN pg_catalog.pg_attribute AS v
        ON v.attrelid = f.conrelid AND v.attname = p.via AND NOT v.attisdropped
    JOIN pg_catalog.pg_attribute AS pa
        ON pa.attrelid = f.confrelid
            AND pa.attnum = f.confkey[pg_catalog.array_position(f.conkey, v.attnum)]
    WHERE f.contype = 'f' AND f.conrelid = p.relation AND f.conparentid = 0
        AND NOT EXISTS (
            SELECT FROM ROWS FROM (
                pg_catalog.unnest(f.conkey), pg_catalog.unnest(f.confkey)) AS o (own, other)
            JOIN pg_catalog.pg_attribute AS oa ON oa.attrelid = f.conrelid AND oa.attnum = o.own
            JOIN pg_catalog.pg_attribute AS ob ON ob.attrelid = f.confrelid AND ob.attnum = o.other
            WHERE o.own <> v.attnum AND (oa.attname IS DISTINCT FROM r.account_column
                OR ob.attname IS DISTINCT FROM pr.account_column))
    ORDER BY p.via, f.conname
) AS f ON p.via IS NOT NULL
LEFT JOIN pg_catalog.pg_class AS pc ON pc.oid = f.confrelid
LEFT JOIN pg_catalog.pg_namespace AS pn ON pn.oid = pc.relnamespace;
REVOKE ALL ON tenant_guard.declared_permission FROM PUBLIC;
