-- Who reads: the relations whose reads are recorded. The buffer in between has no object here.

-- Relations whose reads are recorded, with those below them. Written by our code only.
CREATE TABLE tenant_guard.read_audit (
    relation regclass PRIMARY KEY
);
REVOKE ALL ON tenant_guard.read_audit FROM PUBLIC;
-- Whoever answers for the log sees what stands in it.
GRANT SELECT ON tenant_guard.read_audit TO tenant_guard_admin, tenant_guard_auditor;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.read_audit',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class)');
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.read_audit
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.read_audit ENABLE ALWAYS TRIGGER tell_backends;

-- Not STRICT: a null relation is an error and no silence. They compare what the catalog prints, as
-- those of audit() do.
CREATE FUNCTION tenant_guard.audit_reads(relation regclass, enabled boolean DEFAULT true)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'audit_reads_wrapper';
COMMENT ON FUNCTION tenant_guard.audit_reads(regclass, boolean) IS
    'has reads of a protected or audited relation recorded, or no longer recorded';
CREATE FUNCTION tenant_guard.flush_reads() RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'flush_reads_wrapper';
COMMENT ON FUNCTION tenant_guard.flush_reads() IS
    'writes the reads and refusals that wait in the buffer into the log; how many events they became';
CREATE FUNCTION tenant_guard.reads_status()
    RETURNS TABLE (buffer_bytes bigint, used_bytes bigint, lost_reads bigint,
        lost_refusals bigint, unbuffered_reads bigint)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'reads_status_wrapper';
COMMENT ON FUNCTION tenant_guard.reads_status() IS
    'the buffer of reads, and what found no room in it since the server started';
REVOKE ALL ON FUNCTION
    tenant_guard.audit_reads(regclass, boolean), tenant_guard.flush_reads(),
    tenant_guard.reads_status() FROM PUBLIC;
-- What is recorded is the admin's to decide; the function also asks that the caller owns the table.
GRANT EXECUTE ON FUNCTION tenant_guard.audit_reads(regclass, boolean) TO tenant_guard_admin;
-- It holds up the record of everybody's reads until its transaction ends: that is not for who only reads.
GRANT EXECUTE ON FUNCTION tenant_guard.flush_reads() TO tenant_guard_admin;
-- It says nothing of anybody.
GRANT EXECUTE ON FUNCTION tenant_guard.reads_status() TO tenant_guard_admin, tenant_guard_auditor;

-- It calls nothing and knows nothing: whoever looks for his statements in the log computes it.
CREATE FUNCTION tenant_guard.statement_fingerprint(statement text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'statement_fingerprint_wrapper';
COMMENT ON FUNCTION tenant_guard.statement_fingerprint(text) IS
    'what the log calls statements that differ from this one in constants and comments alone';
REVOKE ALL ON FUNCTION tenant_guard.statement_fingerprint(text) FROM PUBLIC;
-- For that, everybody.
GRANT EXECUTE ON FUNCTION tenant_guard.statement_fingerprint(text) TO PUBLIC;
