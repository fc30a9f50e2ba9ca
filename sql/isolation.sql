-- Isolation: protect, its plan and its undoing, and what is remembered for that.

-- What is protected, one row for each relation named in protect(). Written by our code only: a row
-- here decides what unprotect() restores, and what is an alteration.
CREATE TABLE tenant_guard.protection (
    relation regclass PRIMARY KEY,
    archetype text NOT NULL,
    -- Null where rows of the archetype have no account of their own.
    account_column name,
    -- Who is let in, null for PUBLIC. By name: a role that is gone must not make the dump of this
    -- table unreadable.
    roles name[],
    redact name[] NOT NULL,
    audit boolean NOT NULL
);
REVOKE ALL ON tenant_guard.protection FROM PUBLIC;

-- How rows without an account of their own find their parent, which has one.
CREATE TABLE tenant_guard.protection_link (
    relation regclass NOT NULL,
    position integer NOT NULL,
    via name NOT NULL,
    parent regclass NOT NULL,
    parent_key name NOT NULL,
    -- Only rows with this value in this column follow the link; both null where all do.
    type_column name,
    type_value text,
    PRIMARY KEY (relation, position)
);
REVOKE ALL ON tenant_guard.protection_link FROM PUBLIC;

-- The relation itself, its partitions and its children, each with what stood on it before.
CREATE TABLE tenant_guard.protection_member (
    relation regclass PRIMARY KEY,
    root regclass NOT NULL,
    account_column name,
    row_security boolean NOT NULL,
    force_row_security boolean NOT NULL,
    not_null boolean NOT NULL,
    column_default text,
    -- All grants in the order they stood, null where protect() withdrew none.
    grants jsonb
);
REVOKE ALL ON tenant_guard.protection_member FROM PUBLIC;
CREATE INDEX protection_member_root ON tenant_guard.protection_member (root);

-- The account column of each member by its number, which a new name leaves as it is; 0 where rows have
-- no account of their own. Not dumped: a restored relation numbers its columns anew.
CREATE TABLE tenant_guard.protection_column (
    relation regclass PRIMARY KEY,
    account_number smallint NOT NULL
);
REVOKE ALL ON tenant_guard.protection_column FROM PUBLIC;

-- What backends keep of these in memory decides what their queries are held to.
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.protection
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.protection ENABLE ALWAYS TRIGGER tell_backends;
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.protection_link
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.protection_link ENABLE ALWAYS TRIGGER tell_backends;
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.protection_member
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.protection_member ENABLE ALWAYS TRIGGER tell_backends;
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.protection_column
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.protection_column ENABLE ALWAYS TRIGGER tell_backends;

-- Rows of dropped relations stay out of the dump, where their numbers could come to mean others.
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.protection',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class)');
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.protection_link',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class) AND parent IN (SELECT oid FROM pg_catalog.pg_class)');
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.protection_member',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class)');

-- What assurance commands on protected relations ask of the token.
CREATE TABLE tenant_guard.protection_assurance (
    relation regclass NOT NULL,
    command text NOT NULL CHECK (command IN ('all', 'select', 'insert', 'update', 'delete')),
    level text NOT NULL CHECK (level <> ''),
    PRIMARY KEY (relation, command)
);
REVOKE ALL ON tenant_guard.protection_assurance FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.protection_assurance',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class)');

-- Named by policies: it reads the bound identity and no SQL.
CREATE FUNCTION tenant_guard.has_assurance(level text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenant_guard_has_assurance';
COMMENT ON FUNCTION tenant_guard.has_assurance(text) IS
    'whether the token states this level of assurance or a higher one';
CREATE FUNCTION tenant_guard.assured(level text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenant_guard_assured';
COMMENT ON FUNCTION tenant_guard.assured(text) IS
    'the condition of assurance policies: true, or an error with a hint';

CREATE FUNCTION tenant_guard.require_assurance(
    relation regclass, level text, commands text[] DEFAULT '{all}')
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'require_assurance_wrapper';
COMMENT ON FUNCTION tenant_guard.require_assurance(relation regclass, level text, commands text[]) IS
    'asks for a level of assurance for commands on a relation';
REVOKE ALL ON FUNCTION tenant_guard.require_assurance(regclass, text, text[]) FROM PUBLIC;
-- As protect: the admin's, who must also own the table.
GRANT EXECUTE ON FUNCTION tenant_guard.require_assurance(regclass, text, text[])
    TO tenant_guard_admin;

-- For our own code: the assurance policies that stand, and what each demands.
CREATE VIEW tenant_guard.assurance_policy AS
SELECT p.polrelid AS relation, p.polname AS name,
    NOT p.polpermissive AND p.polroles = '{0}' AS binds_all,
    CASE p.polcmd WHEN '*' THEN 'all' WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert'
        WHEN 'w' THEN 'update' ELSE 'delete' END AS command,
    COALESCE(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') AS using_text,
    COALESCE(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), '') AS check_text
-- Not a view of one relation alone, which could be written through.
FROM pg_catalog.pg_policy AS p CROSS JOIN (SELECT) AS one
WHERE p.polname LIKE 'tenant\_guard\_assurance\_%';
REVOKE ALL ON tenant_guard.assurance_policy FROM PUBLIC;

-- Conditions that hold for everybody and for nobody. Policies name these and not a constant, so that
-- DROP EXTENSION ... CASCADE takes the policies away and leaves their tables closed.
CREATE FUNCTION tenant_guard.anyone() RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN true;
COMMENT ON FUNCTION tenant_guard.anyone() IS 'the condition of policies that hold for every row';
CREATE FUNCTION tenant_guard.nobody() RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN false;
COMMENT ON FUNCTION tenant_guard.nobody() IS 'the condition of policies that hold for no row';

-- These functions compare what the catalog prints with what they would write, remember printed
-- defaults, and run statements with names in string constants: the caller's settings stay out of
-- all three.
-- They read the catalog in joins written in the order to run them in: looking for a better one took
-- 13 ms a table, where reading takes 1 ms.
CREATE FUNCTION tenant_guard.protect(
    relation regclass, account_column name DEFAULT 'account_id', roles regrole[] DEFAULT NULL,
    redact name[] DEFAULT '{}', audit boolean DEFAULT true, archetype text DEFAULT NULL,
    via name DEFAULT NULL, parent regclass DEFAULT NULL, type_column name DEFAULT NULL,
    parents jsonb DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'protect_wrapper';
COMMENT ON FUNCTION tenant_guard.protect(regclass, name, regrole[], name[], boolean, text, name,
    regclass, name, jsonb) IS
    'protects a relation: floor and access policies, forced row security, capture, guards';
CREATE FUNCTION tenant_guard.protection_plan(
    relation regclass, account_column name DEFAULT 'account_id', roles regrole[] DEFAULT NULL,
    redact name[] DEFAULT '{}', audit boolean DEFAULT true, archetype text DEFAULT NULL,
    via name DEFAULT NULL, parent regclass DEFAULT NULL, type_column name DEFAULT NULL,
    parents jsonb DEFAULT NULL)
    RETURNS TABLE (step integer, statement text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'protection_plan_wrapper';
COMMENT ON FUNCTION tenant_guard.protection_plan(regclass, name, regrole[], name[], boolean, text,
    name, regclass, name, jsonb) IS
    'the statements that protect() would execute, for a migration file';
CREATE FUNCTION tenant_guard.register_protection(
    relation regclass, account_column name, roles regrole[], redact name[], audit boolean,
    archetype text DEFAULT NULL, via name DEFAULT NULL, parent regclass DEFAULT NULL,
    type_column name DEFAULT NULL, parents jsonb DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'register_protection_wrapper';
COMMENT ON FUNCTION tenant_guard.register_protection(regclass, name, regrole[], name[], boolean, text, name, regclass, name, jsonb) IS
    'first step of a protection plan: validates the relation and remembers what stands on it';
CREATE FUNCTION tenant_guard.protect_schema(
    schema name, account_column name DEFAULT 'account_id', roles regrole[] DEFAULT NULL,
    redact name[] DEFAULT '{}', audit boolean DEFAULT true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'protect_schema_wrapper';
COMMENT ON FUNCTION tenant_guard.protect_schema(name, name, regrole[], name[], boolean) IS
    'protects every table of a schema that has the account column, and governs the schema';
CREATE FUNCTION tenant_guard.unprotect(relation regclass)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'unprotect_wrapper';
COMMENT ON FUNCTION tenant_guard.unprotect(relation regclass) IS
    'takes the protection of a relation away';
REVOKE ALL ON FUNCTION
    tenant_guard.protect(regclass, name, regrole[], name[], boolean, text, name, regclass, name, jsonb),
    tenant_guard.protection_plan(regclass, name, regrole[], name[], boolean, text, name, regclass, name, jsonb),
    tenant_guard.register_protection(regclass, name, regrole[], name[], boolean, text, name, regclass, name, jsonb),
    tenant_guard.protect_schema(name, name, regrole[], name[], boolean),
    tenant_guard.unprotect(regclass)
    FROM PUBLIC;
-- Protection is the admin's to decide; the functions also ask that the caller owns the table.
GRANT EXECUTE ON FUNCTION
    tenant_guard.protect(regclass, name, regrole[], name[], boolean, text, name, regclass, name, jsonb),
    tenant_guard.protection_plan(regclass, name, regrole[], name[], boolean, text, name, regclass, name, jsonb),
    tenant_guard.register_protection(regclass, name, regrole[], name[], boolean, text, name, regclass, name, jsonb),
    tenant_guard.protect_schema(name, name, regrole[], name[], boolean),
    tenant_guard.unprotect(regclass)
    TO tenant_guard_admin;

-- Its columns are the arguments that protect() would be called with again. A partition that was detached
-- stays protected as what it was detached from.
CREATE VIEW tenant_guard.protected_relation AS
SELECT
    s.relation,
    p.account_column,
    -- A role that is gone is let in no more; where all are, the empty list lets nobody in.
    CASE WHEN p.roles IS NOT NULL THEN ARRAY(
        SELECT r.oid::regrole FROM pg_catalog.unnest(p.roles) WITH ORDINALITY AS n (name, position)
        JOIN pg_catalog.pg_roles AS r ON r.rolname = n.name ORDER BY n.position
    ) END AS roles,
    p.redact,
    p.audit,
    p.archetype,
    l.via,
    l.parent,
    l.type_column,
    l.parents
FROM (
    SELECT r.relation, r.relation AS root FROM tenant_guard.protection AS r
    UNION ALL
    SELECT m.relation, m.root FROM tenant_guard.protection_member AS m
    WHERE m.relation <> m.root
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = m.relation)
) AS s
JOIN tenant_guard.protection AS p ON p.relation = s.root
JOIN pg_catalog.pg_class AS c ON c.oid = s.relation
LEFT JOIN LATERAL (
    SELECT pg_catalog.min(l.via::text)::name AS via,
        CASE WHEN pg_catalog.min(l.type_value) IS NULL
            THEN pg_catalog.min(l.parent::oid)::regclass END AS parent,
        pg_catalog.min(l.type_column::text)::name AS type_column,
        pg_catalog.jsonb_object_agg(l.type_value, q.name)
            FILTER (WHERE l.type_value IS NOT NULL) AS parents
    FROM tenant_guard.protection_link AS l
    CROSS JOIN LATERAL (
        SELECT pg_catalog.format('%I.%I', n.nspname, k.relname) AS name
        FROM pg_catalog.pg_class AS k JOIN pg_catalog.pg_namespace AS n ON n.oid = k.relnamespace
        WHERE k.oid = l.parent) AS q
    WHERE l.relation = p.relation
) AS l ON true;
REVOKE ALL ON tenant_guard.protected_relation FROM PUBLIC;
-- Whoever answers for isolation sees what is under it.
GRANT SELECT ON tenant_guard.protected_relation TO tenant_guard_admin, tenant_guard_auditor;

-- For our own code: every privilege granted on a relation or one of its columns, in the order the
-- catalog holds them.
CREATE VIEW tenant_guard.granted_privilege AS
SELECT c.oid AS relation, 0::int2 AS attnum, NULL::name AS column_name, g.position,
    g.grantor, g.grantee, g.privilege, g.grantable
FROM pg_catalog.pg_class AS c,
    pg_catalog.aclexplode(c.relacl) WITH ORDINALITY
        AS g (grantor, grantee, privilege, grantable, position)
UNION ALL
SELECT a.attrelid, a.attnum, a.attname, g.position,
    g.grantor, g.grantee, g.privilege, g.grantable
FROM pg_catalog.pg_attribute AS a,
    pg_catalog.aclexplode(a.attacl) WITH ORDINALITY
        AS g (grantor, grantee, privilege, grantable, position)
WHERE NOT a.attisdropped;
REVOKE ALL ON tenant_guard.granted_privilege FROM PUBLIC;

-- For our own code: policies under names of ours in comparable form; roles empty for PUBLIC.
CREATE VIEW tenant_guard.own_policy AS
SELECT p.polrelid AS relation, p.polname AS name,
    NOT p.polpermissive AS restrictive, p.polcmd AS command,
    ARRAY(
        SELECT pg_catalog.quote_ident(r.rolname)
        FROM pg_catalog.pg_roles AS r WHERE r.oid = ANY (p.polroles)
    ) AS roles,
    pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS using_text,
    pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) AS check_text
-- Not a view of one relation alone, which could be written through.
FROM pg_catalog.pg_policy AS p CROSS JOIN (SELECT) AS one
WHERE p.polname LIKE 'tenant\_guard\_%' AND p.polname NOT LIKE 'tenant\_guard\_assurance\_%';
REVOKE ALL ON tenant_guard.own_policy FROM PUBLIC;

-- For the checks: policies that are not what is registered, of every member.
CREATE FUNCTION tenant_guard.altered_policy()
    RETURNS TABLE (relation regclass, policy text, restrictive boolean, alteration text)
    LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'altered_policy_wrapper';
COMMENT ON FUNCTION tenant_guard.altered_policy() IS
    'policies of ours that somebody changed';
REVOKE ALL ON FUNCTION tenant_guard.altered_policy() FROM PUBLIC;

-- For our own code: the call that brings a relation back to what is registered for it, its columns under
-- the names they have now. Null where a column has another name and nothing says which.
CREATE FUNCTION tenant_guard.protect_again(relation regclass) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT format('SELECT tenant_guard.protect(%L', p.relation)
        || CASE WHEN p.account_column IS NULL THEN ''
            ELSE ', account_column => ' || quote_literal(account.name) END
        || format(', roles => %L, redact => %L, audit => %s', p.roles, redacted.names,
            CASE WHEN p.audit THEN 'true' ELSE 'false' END)
        || CASE WHEN p.archetype = 'account' THEN ''
            ELSE format(', archetype => %L', p.archetype) END
        || CASE WHEN p.via IS NULL THEN '' ELSE ', via => ' || quote_literal(link.name) END
        || CASE WHEN p.parent IS NULL THEN '' ELSE format(', parent => %L', p.parent) END
        || CASE WHEN p.type_column IS NULL THEN ''
            ELSE ', type_column => ' || quote_literal(type.name) || format(', parents => %L', p.parents) END
        || ');'
    FROM tenant_guard.protected_relation AS p
    -- By its number, which a new name leaves as it is. A restored relation has none yet.
    LEFT JOIN LATERAL (
        SELECT a.attname AS name FROM pg_attribute AS a
        LEFT JOIN tenant_guard.protection_column AS k ON k.relation = p.relation
        WHERE a.attrelid = p.relation AND a.attnum > 0 AND NOT a.attisdropped
            AND (a.attnum = k.account_number OR a.attname = p.account_column)
        ORDER BY a.attnum = k.account_number DESC NULLS LAST LIMIT 1) AS account ON true
    -- One that is gone is redacted no more.
    CROSS JOIN LATERAL (
        SELECT COALESCE(array_agg(a.attname ORDER BY r.position), '{}') AS names
        FROM unnest(p.redact) WITH ORDINALITY AS r (name, position)
        LEFT JOIN tenant_guard.capture_column AS k ON k.relation = p.relation
            AND k.declared_by = 'protect' AND k.name = r.name AND EXISTS (
                SELECT FROM pg_attribute AS n WHERE n.attrelid = p.relation AND n.attnum = k.number
                    AND NOT n.attisdropped)
        JOIN pg_attribute AS a ON a.attrelid = p.relation AND a.attnum > 0 AND NOT a.attisdropped
            AND CASE WHEN k.number IS NULL THEN a.attname = r.name ELSE a.attnum = k.number END
    ) AS redacted
    -- Of a link that has another name, by the foreign key it has alone.
    LEFT JOIN LATERAL (
        SELECT a.attname AS name FROM pg_attribute AS a
        WHERE a.attrelid = p.relation AND a.attnum > 0 AND NOT a.attisdropped AND (
            a.attname = p.via OR ARRAY[a.attnum] = (
                SELECT min(f.conkey) FROM pg_constraint AS f
                WHERE f.contype = 'f' AND f.conrelid = p.relation AND f.confrelid = p.parent
                    AND f.conparentid = 0 AND cardinality(f.conkey) = 1
                HAVING min(f.conkey) = max(f.conkey)))
        ORDER BY a.attname = p.via DESC LIMIT 1) AS link ON true
    LEFT JOIN LATERAL (
        SELECT a.attname AS name FROM pg_attribute AS a
        WHERE a.attrelid = p.relation AND a.attname = p.type_column AND NOT a.attisdropped) AS type
        ON true
    WHERE p.relation = protect_again.relation;
END;
COMMENT ON FUNCTION tenant_guard.protect_again(relation regclass) IS
    'the call of protect() that brings back what is registered of a relation';
REVOKE ALL ON FUNCTION tenant_guard.protect_again(regclass) FROM PUBLIC;

-- Called by COPY ... FROM into a protected relation, with what a policy says of the row.
CREATE FUNCTION tenant_guard.admit_copied_row(allowed boolean, relation text, policy text)
    RETURNS boolean LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'tenant_guard_admit_copied_row';
COMMENT ON FUNCTION tenant_guard.admit_copied_row(boolean, text, text) IS
    'true, or the error of a row that row security refuses';

-- For the checks: every relation under protection that still exists.
CREATE VIEW tenant_guard.protected_member AS
SELECT m.relation, m.root, r.archetype, m.account_column, n.nspname AS schema, m.relation::text AS name,
    c.relowner AS owner, c.relkind AS kind,
    c.relrowsecurity AS row_security, c.relforcerowsecurity AS force
FROM tenant_guard.protection_member AS m
JOIN tenant_guard.protection AS r ON r.relation = m.root
JOIN pg_catalog.pg_class AS c ON c.oid = m.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace;
REVOKE ALL ON tenant_guard.protected_member FROM PUBLIC;

-- For the checks: views and materialized views that show rows of protected relations, directly or
-- through other views.
CREATE VIEW tenant_guard.dependent_view AS
WITH RECURSIVE dependent AS (
    SELECT r.ev_class AS view, m.relation AS source, m.archetype <> 'reference' AS isolated
    FROM tenant_guard.protected_member AS m
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = m.relation
            AND d.classid = 'pg_catalog.pg_rewrite'::regclass
    JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid AND r.ev_class <> m.relation
    UNION
    SELECT r.ev_class, v.source, v.isolated
    FROM dependent AS v
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = v.view
            AND d.classid = 'pg_catalog.pg_rewrite'::regclass
    JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid AND r.ev_class <> v.view
)
SELECT v.view::regclass AS view, n.nspname AS schema, v.view::regclass::text AS name,
    c.relkind AS kind, c.relowner AS owner, c.reloptions AS options,
    pg_catalog.string_agg(DISTINCT v.source::text, ', ') AS sources,
    -- Not only of what everybody reads and nobody writes.
    pg_catalog.bool_or(v.isolated) AS isolated,
    -- Everybody but the owner who may read it, as a list for REVOKE.
    (SELECT pg_catalog.string_agg(DISTINCT
            CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(o.rolname) END, ', ')
     FROM tenant_guard.granted_privilege AS g LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = g.grantee
     WHERE g.relation = v.view AND g.privilege = 'SELECT' AND g.grantee <> c.relowner) AS readers,
    -- The same of who may read or write it.
    (SELECT pg_catalog.string_agg(DISTINCT
            CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(o.rolname) END, ', ')
     FROM tenant_guard.granted_privilege AS g LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = g.grantee
     WHERE g.relation = v.view AND g.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
         AND g.grantee <> c.relowner) AS grantees
FROM dependent AS v
JOIN pg_catalog.pg_class AS c ON c.oid = v.view
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname <> 'tenant_guard'
GROUP BY v.view, n.nspname, c.relkind, c.relowner, c.reloptions;
REVOKE ALL ON tenant_guard.dependent_view FROM PUBLIC;
