-- Capture of changes, events of the application, and the tables they are written to.

-- A trigger with this function writes events in the name of the extension, so who may create one
-- decides what the log says.
CREATE FUNCTION tenant_guard.capture() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenant_guard_capture';
COMMENT ON FUNCTION tenant_guard.capture() IS
    'row trigger of protected tables; arguments: account column, redacted columns as text[]';
CREATE FUNCTION tenant_guard.capture_truncate() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenant_guard_capture_truncate';
COMMENT ON FUNCTION tenant_guard.capture_truncate() IS
    'TRUNCATE trigger of protected tables; arguments as of capture()';
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
