-- Manifests: all of isolation in one declaration.

-- What is declared of relations beside their protection.
CREATE TABLE tenant_guard.annotation (
    relation regclass PRIMARY KEY,
    -- Columns that hold data of persons: their values stand apart in the log.
    personal name[] NOT NULL,
    -- Whether plans list the indexes that isolation wants.
    indexed boolean NOT NULL
);
REVOKE ALL ON tenant_guard.annotation FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.annotation',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class)');

CREATE FUNCTION tenant_guard.annotate(
    relation regclass, personal name[] DEFAULT '{}', index boolean DEFAULT true)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'annotate_wrapper';
COMMENT ON FUNCTION tenant_guard.annotate(regclass, name[], boolean) IS
    'declares which columns of a relation hold data of persons, and whether plans index it';

-- They run the statements that protect() runs and compare with what it compares: the same settings
-- are pinned. A plan of hundreds of tables needs no NOTICE for each constraint that is not there.
CREATE FUNCTION tenant_guard.apply_manifest(manifest jsonb, dry_run boolean DEFAULT false)
    RETURNS TABLE (step integer, phase text, object text, statement text, reverse text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    SET client_min_messages = warning
    AS 'MODULE_PATHNAME', 'apply_manifest_wrapper';
COMMENT ON FUNCTION tenant_guard.apply_manifest(jsonb, boolean) IS
    'brings isolation to what the manifest declares, or with dry_run says how';
CREATE FUNCTION tenant_guard.export_manifest() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'export_manifest_wrapper';
COMMENT ON FUNCTION tenant_guard.export_manifest() IS 'the manifest of what is registered';
CREATE FUNCTION tenant_guard.drift()
    RETURNS TABLE (object text, state text, detail text, statement text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'drift_wrapper';
COMMENT ON FUNCTION tenant_guard.drift() IS
    'what stands otherwise than is registered, and which indexes are yet to be made';
REVOKE ALL ON FUNCTION
    tenant_guard.annotate(regclass, name[], boolean),
    tenant_guard.apply_manifest(jsonb, boolean),
    tenant_guard.export_manifest(),
    tenant_guard.drift()
    FROM PUBLIC;
-- As protect: the admin's, who must also own the tables that change.
GRANT EXECUTE ON FUNCTION
    tenant_guard.annotate(regclass, name[], boolean),
    tenant_guard.apply_manifest(jsonb, boolean)
    TO tenant_guard_admin;
-- What is under isolation, and whether it still is, is what both groups are there to know.
GRANT EXECUTE ON FUNCTION tenant_guard.export_manifest(), tenant_guard.drift()
    TO tenant_guard_admin, tenant_guard_auditor;
