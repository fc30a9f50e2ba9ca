-- Capture of changes, events of the application, and the tables they are written to.

-- How changes of relations are captured, beyond what protect() says of it. Written by our code only.
CREATE TABLE tenant_guard.capture_rule (
    relation regclass PRIMARY KEY,
    -- Null for all columns.
    include name[],
    exclude name[] NOT NULL,
    redact name[] NOT NULL,
    hash name[] NOT NULL,
    skip_unchanged boolean NOT NULL,
    truncate_rows boolean NOT NULL
);
REVOKE ALL ON tenant_guard.capture_rule FROM PUBLIC;
-- Whoever answers for the log sees what stands in it.
GRANT SELECT ON tenant_guard.capture_rule TO tenant_guard_admin, tenant_guard_auditor;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.capture_rule',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class)');

-- The columns that the lists of capture were declared for, by number, which no other column ever
-- has; 0 fits none. Written by our code only, and not dumped: a restored relation numbers its
-- columns anew.
CREATE TABLE tenant_guard.capture_column (
    relation regclass NOT NULL,
    declared_by text NOT NULL,
    name name NOT NULL,
    number smallint NOT NULL,
    PRIMARY KEY (relation, declared_by, name)
);
REVOKE ALL ON tenant_guard.capture_column FROM PUBLIC;

-- For our own code: names that have come to another column since, or to none.
CREATE VIEW tenant_guard.strayed_column AS
SELECT k.relation, k.declared_by, k.name, c.relnamespace
FROM tenant_guard.capture_column AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.relation
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.relation AND a.attnum = k.number
    AND NOT a.attisdropped
WHERE a.attname IS DISTINCT FROM k.name;
REVOKE ALL ON tenant_guard.strayed_column FROM PUBLIC;

-- The key of this database under which values of hashed columns are hashed: one row, made when the
-- first column is hashed. No role but the owner reads it. Dumped, so that hashes of one value stay
-- equal in a restored database.
CREATE TABLE tenant_guard.capture_key (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    key bytea NOT NULL CHECK (pg_catalog.length(key) = 32)
);
REVOKE ALL ON tenant_guard.capture_key FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.capture_key', '');
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.capture_key
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.capture_key ENABLE ALWAYS TRIGGER tell_backends;

-- Not STRICT: include may be null. As those of protect(), they compare what the catalog prints with
-- what they would write, so the caller's settings stay out.
CREATE FUNCTION tenant_guard.audit(
    relation regclass, include name[] DEFAULT NULL, exclude name[] DEFAULT NULL,
    redact name[] DEFAULT '{}', hash name[] DEFAULT '{}', skip_unchanged boolean DEFAULT false,
    truncate_rows boolean DEFAULT false)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'audit_wrapper';
COMMENT ON FUNCTION tenant_guard.audit(regclass, name[], name[], name[], name[], boolean, boolean) IS
    'has changes of a relation captured, or captured in another way';
CREATE FUNCTION tenant_guard.unaudit(relation regclass)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'unaudit_wrapper';
COMMENT ON FUNCTION tenant_guard.unaudit(regclass) IS
    'undoes audit(); a protected relation is captured as protect() says';
REVOKE ALL ON FUNCTION
    tenant_guard.audit(regclass, name[], name[], name[], name[], boolean, boolean),
    tenant_guard.unaudit(regclass) FROM PUBLIC;
-- What is captured is the admin's to decide; the functions also ask that the caller owns the table.
GRANT EXECUTE ON FUNCTION
    tenant_guard.audit(regclass, name[], name[], name[], name[], boolean, boolean),
    tenant_guard.unaudit(regclass) TO tenant_guard_admin;

-- A trigger with this function writes events in the name of the extension, so who may create one
-- decides what the log says.
CREATE FUNCTION tenant_guard.capture() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenant_guard_capture';
COMMENT ON FUNCTION tenant_guard.capture() IS
    'row trigger of audited tables; arguments: account column, redacted columns as text[], what else as JSON';
CREATE FUNCTION tenant_guard.capture_truncate() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenant_guard_capture_truncate';
COMMENT ON FUNCTION tenant_guard.capture_truncate() IS
    'TRUNCATE trigger of audited tables; arguments as of capture()';
CREATE FUNCTION tenant_guard.guard_ledger() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenant_guard_guard_ledger';
COMMENT ON FUNCTION tenant_guard.guard_ledger() IS
    'refuses every write to a ledger table that is not tenant_guard''s own';

CREATE FUNCTION tenant_guard.init_ledger() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenant_guard_init_ledger';
COMMENT ON FUNCTION tenant_guard.init_ledger() IS
    'creates the tables of the audit ledger where they do not exist';

-- Not STRICT: the target may be null. It reads no SQL, so it carries no search_path.
CREATE FUNCTION tenant_guard.record_event(
    action text, target text DEFAULT NULL, data jsonb DEFAULT '{}')
    RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'tenant_guard_record_event';
COMMENT ON FUNCTION tenant_guard.record_event(text, text, jsonb) IS
    'writes an event of the application into the log of the current account; returns its id';

REVOKE ALL ON FUNCTION
    tenant_guard.capture(), tenant_guard.capture_truncate(), tenant_guard.guard_ledger(),
    tenant_guard.init_ledger(), tenant_guard.record_event(text, text, jsonb)
    FROM PUBLIC;
-- protect() creates the triggers with the rights of its caller.
GRANT EXECUTE ON FUNCTION tenant_guard.capture(), tenant_guard.capture_truncate(),
    tenant_guard.init_ledger() TO tenant_guard_admin;
-- It writes kind application into the caller's own verified account only.
GRANT EXECUTE ON FUNCTION tenant_guard.record_event(text, text, jsonb) TO PUBLIC;

-- A ledger that outlived an earlier DROP EXTENSION lost its guard triggers with their function.
SELECT tenant_guard.init_ledger()
WHERE pg_catalog.to_regclass('tenant_guard.audit_log') IS NOT NULL;
