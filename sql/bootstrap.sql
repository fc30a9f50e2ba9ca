-- Roles and the schema. Every right starts from nobody; each GRANT says why.

-- CREATE EXTENSION takes a schema that is there already, whoever made it. Its owner could add functions
-- of the same names beside ours, for other argument types, and be handed tokens. Operators are
-- qualified: it may have planted some for this script to find.
DO $$
DECLARE
    owner pg_catalog.oid := (
        SELECT nspowner FROM pg_catalog.pg_namespace
        WHERE nspname OPERATOR(pg_catalog.=) 'tenant_guard');
BEGIN
    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE oid OPERATOR(pg_catalog.=) owner) THEN
        RAISE EXCEPTION 'schema "tenant_guard" belongs to role "%", who is not superuser',
            pg_catalog.pg_get_userbyid(owner)
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'See what is in it, then drop it or give it to a superuser.';
    END IF;
END
$$;
REVOKE ALL ON SCHEMA tenant_guard FROM PUBLIC;
-- Policies and readers name functions of this schema in every session.
GRANT USAGE ON SCHEMA tenant_guard TO PUBLIC;

-- Tokens, claims and the log's JSON are UTF-8 (RFC 7519, RFC 8259), and not every text of theirs has
-- a form in another encoding.
DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'tenant_guard needs a database in encoding UTF8'
            USING ERRCODE = 'feature_not_supported';
    END IF;
END
$$;

-- Group roles belong to the cluster, so another database may have made them already.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'tenant_guard_admin') THEN
        CREATE ROLE tenant_guard_admin NOLOGIN;
        COMMENT ON ROLE tenant_guard_admin IS
            'issuers, protection and checks of tenant_guard';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'tenant_guard_auditor') THEN
        CREATE ROLE tenant_guard_auditor NOLOGIN;
        COMMENT ON ROLE tenant_guard_auditor IS
            'reads and verifies the audit ledger of tenant_guard, nothing else';
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    -- Another CREATE EXTENSION made them at the same moment.
    NULL;
END
$$;

CREATE FUNCTION tenant_guard.version() RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'version_wrapper';
COMMENT ON FUNCTION tenant_guard.version() IS 'version of the loaded library';
