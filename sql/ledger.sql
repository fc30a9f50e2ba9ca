-- The ledger: sealing, status, checkpoint, verification. Its tables are made on first use, see
-- sql/ledger_tables.sql.

CREATE FUNCTION tenant_guard.seal(
    heartbeat boolean DEFAULT false, OUT block bigint, OUT events bigint, OUT accounts bigint)
    RETURNS SETOF record LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'seal_wrapper';
COMMENT ON FUNCTION tenant_guard.seal(boolean) IS
    'seals the events committed since the last block; no row when there are none, unless it is a heartbeat';

CREATE FUNCTION tenant_guard.ledger_status(
    OUT blocks bigint, OUT events bigint, OUT sealed_events bigint, OUT unsealed_events bigint,
    OUT oldest_unsealed timestamptz, OUT last_root text, OUT incarnation bigint,
    OUT sealer text, OUT sealer_pid integer, OUT last_round timestamptz,
    OUT published_block bigint, OUT publication text)
    RETURNS SETOF record LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'ledger_status_wrapper';
COMMENT ON FUNCTION tenant_guard.ledger_status() IS 'how much the ledger holds and what waits';

CREATE FUNCTION tenant_guard.checkpoint() RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'checkpoint_wrapper';
COMMENT ON FUNCTION tenant_guard.checkpoint() IS
    'origin, size and root of the ledger: the body of a C2SP tlog-checkpoint, unsigned';

-- Not STRICT: all arguments may be null.
CREATE FUNCTION tenant_guard.verify_ledger(
    account text DEFAULT NULL, against text DEFAULT NULL, since text DEFAULT NULL,
    part integer DEFAULT NULL, parts integer DEFAULT NULL,
    OUT code text, OUT block bigint, OUT account_id text, OUT event_id text, OUT relation text,
    OUT detail text)
    RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off
    AS 'MODULE_PATHNAME', 'verify_ledger_wrapper';
COMMENT ON FUNCTION tenant_guard.verify_ledger(text, text, text, integer, integer) IS
    'recomputes the ledger; a row for each thing that is not as it was sealed';

CREATE FUNCTION tenant_guard.capture_history(
    OUT block bigint, OUT sealed_at timestamptz, OUT part text, OUT change text, OUT entry jsonb)
    RETURNS SETOF record LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'capture_history_wrapper';
COMMENT ON FUNCTION tenant_guard.capture_history() IS
    'what changed from block to block in what is captured, and in who could change that';

REVOKE ALL ON FUNCTION tenant_guard.seal(boolean), tenant_guard.capture_history(),
    tenant_guard.ledger_status(),
    tenant_guard.checkpoint(),
    tenant_guard.verify_ledger(text, text, text, integer, integer) FROM PUBLIC;
-- Sealing writes; auditors only read.
GRANT EXECUTE ON FUNCTION tenant_guard.seal(boolean) TO tenant_guard_admin;
GRANT EXECUTE ON FUNCTION tenant_guard.ledger_status(), tenant_guard.checkpoint(),
    tenant_guard.verify_ledger(text, text, text, integer, integer), tenant_guard.capture_history()
    TO tenant_guard_admin, tenant_guard_auditor;
