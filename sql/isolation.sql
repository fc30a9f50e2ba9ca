-- Isolation: protect, its plan and its undoing, and what is remembered for that.

-- What is protected, one row for each relation named in protect(). Who is let in stands in the
-- access policy alone. Written by our code only: a row here decides what unprotect() restores.
CREATE TABLE tenant_guard.protection (
    relation regclass PRIMARY KEY,
    account_column name NOT NULL,
    redact name[] NOT NULL,
    audit boolean NOT NULL
);
REVOKE ALL ON tenant_guard.protection FROM PUBLIC;

-- The relation itself, its partitions and its children, each with what stood on it before.
CREATE TABLE tenant_guard.protection_member (
    relation regclass PRIMARY KEY,
    root regclass NOT NULL,
    account_column name NOT NULL,
    row_security boolean NOT NULL,
    force_row_security boolean NOT NULL,
    not_null boolean NOT NULL,
    column_default text,
    -- All grants in the order they stood, null where protect() withdrew none. Roles by name: a
    -- role that is gone must not make the dump of this table unreadable.
    grants jsonb
);
REVOKE ALL ON tenant_guard.protection_member FROM PUBLIC;

-- Rows of dropped relations stay out of the dump, where their numbers could come to mean others.
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.protection',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class)');
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.protection_member',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class)');

CREATE FUNCTION tenant_guard.protect(
    relation regclass, account_column name DEFAULT 'account_id', roles regrole[] DEFAULT NULL,
    redact name[] DEFAULT '{}', audit boolean DEFAULT true)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'protect_wrapper';
CREATE FUNCTION tenant_guard.protection_plan(
    relation regclass, account_column name DEFAULT 'account_id', roles regrole[] DEFAULT NULL,
    redact name[] DEFAULT '{}', audit boolean DEFAULT true)
    RETURNS TABLE (step integer, statement text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'protection_plan_wrapper';
CREATE FUNCTION tenant_guard.register_protection(
    relation regclass, account_column name, redact name[], audit boolean)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'register_protection_wrapper';
COMMENT ON FUNCTION tenant_guard.register_protection(regclass, name, name[], boolean) IS
    'first step of a protection plan: validates the relation and remembers what stands on it';
CREATE FUNCTION tenant_guard.protect_schema(
    schema name, account_column name DEFAULT 'account_id', roles regrole[] DEFAULT NULL,
    redact name[] DEFAULT '{}', audit boolean DEFAULT true)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'protect_schema_wrapper';
CREATE FUNCTION tenant_guard.unprotect(relation regclass)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'unprotect_wrapper';
REVOKE ALL ON FUNCTION
    tenant_guard.protect(regclass, name, regrole[], name[], boolean),
    tenant_guard.protection_plan(regclass, name, regrole[], name[], boolean),
    tenant_guard.register_protection(regclass, name, name[], boolean),
    tenant_guard.protect_schema(name, name, regrole[], name[], boolean),
    tenant_guard.unprotect(regclass)
    FROM PUBLIC;
-- Protection is the admin's to decide; the functions also ask that the caller owns the table.
GRANT EXECUTE ON FUNCTION
    tenant_guard.protect(regclass, name, regrole[], name[], boolean),
    tenant_guard.protection_plan(regclass, name, regrole[], name[], boolean),
    tenant_guard.register_protection(regclass, name, name[], boolean),
    tenant_guard.protect_schema(name, name, regrole[], name[], boolean),
    tenant_guard.unprotect(regclass)
    TO tenant_guard_admin;

-- Its columns are the arguments that protect() would be called with again.
CREATE VIEW tenant_guard.protected_relation AS
SELECT
    p.relation,
    p.account_column,
    -- PUBLIC is role 0 in a policy and NULL in protect().
    CASE WHEN a.polroles <> '{0}' THEN a.polroles::regrole[] END AS roles,
    p.redact,
    p.audit
FROM tenant_guard.protection AS p
JOIN pg_catalog.pg_class AS c ON c.oid = p.relation
LEFT JOIN pg_catalog.pg_policy AS a
    ON a.polrelid = p.relation AND a.polname = 'tenant_guard_access';
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

-- For our own code: the two policies of a protection in comparable form; roles empty for PUBLIC.
CREATE VIEW tenant_guard.own_policy AS
SELECT p.polrelid AS relation, p.polname AS name,
    NOT p.polpermissive AS restrictive, p.polcmd = '*' AS all_commands,
    ARRAY(
        SELECT pg_catalog.quote_ident(r.rolname)
        FROM pg_catalog.pg_roles AS r WHERE r.oid = ANY (p.polroles)
    ) AS roles,
    COALESCE(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') AS using_text,
    COALESCE(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), '') AS check_text
FROM pg_catalog.pg_policy AS p
WHERE p.polname IN ('tenant_guard_floor', 'tenant_guard_access');
REVOKE ALL ON tenant_guard.own_policy FROM PUBLIC;
