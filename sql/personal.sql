-- Personal values in the log: who has some, taking them out, what keeps them, and what is left of
-- them on disk.

-- Holds, active and released. Written by our code only, each act with an event.
CREATE TABLE tenant_guard.legal_hold (
    id bigint PRIMARY KEY,
    account_id text NOT NULL,
    -- Null for all relations, and for all rows.
    relation text,
    row_key text,
    reason text NOT NULL,
    placed_by name NOT NULL,
    placed_at timestamptz NOT NULL,
    released_by name,
    released_at timestamptz,
    release_reason text,
    -- Every name that the relation had or has, and those of the tables that inherit from it.
    covers text[],
    CHECK (row_key IS NULL OR relation IS NOT NULL),
    CHECK ((released_at IS NULL) = (released_by IS NULL)),
    CHECK ((released_at IS NULL) = (release_reason IS NULL))
);
REVOKE ALL ON tenant_guard.legal_hold FROM PUBLIC;
-- Whoever answers for erasures sees what stands against them.
GRANT SELECT ON tenant_guard.legal_hold TO tenant_guard_admin, tenant_guard_auditor;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.legal_hold', '');

-- An INSERT, as of a restore, only ever holds more. Whatever gets past this, the log puts right.
CREATE TRIGGER tenant_guard_guard BEFORE UPDATE OR DELETE OR TRUNCATE ON tenant_guard.legal_hold
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.guard_ledger();
ALTER TABLE tenant_guard.legal_hold ENABLE ALWAYS TRIGGER tenant_guard_guard;

-- None of them is STRICT: the error names the argument that is null.
CREATE FUNCTION tenant_guard.place_hold(
    account text, relation text DEFAULT NULL, row_key text DEFAULT NULL, reason text DEFAULT NULL)
    RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'place_hold_wrapper';
COMMENT ON FUNCTION tenant_guard.place_hold(text, text, text, text) IS
    'keeps personal values of an account, of a relation or of a row from being erased; returns the hold''s id';
CREATE FUNCTION tenant_guard.release_hold(id bigint, reason text)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'release_hold_wrapper';
COMMENT ON FUNCTION tenant_guard.release_hold(bigint, text) IS 'ends a hold';

-- All rows are a function of their own: no value of an argument can come to mean them by mistake.
CREATE FUNCTION tenant_guard.personal_events(
    account text, relation text,
    OUT event_id text, OUT row_key text, OUT occurred_at timestamptz, OUT action text,
    OUT personal text)
    RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off
    AS 'MODULE_PATHNAME', 'tenant_guard_personal_events';
COMMENT ON FUNCTION tenant_guard.personal_events(text, text) IS
    'the events of all rows of a relation that hold personal values, in order';
CREATE FUNCTION tenant_guard.personal_events(
    account text, relation text, row_keys text[],
    OUT event_id text, OUT row_key text, OUT occurred_at timestamptz, OUT action text,
    OUT personal text)
    RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off
    AS 'MODULE_PATHNAME', 'tenant_guard_personal_events';
COMMENT ON FUNCTION tenant_guard.personal_events(text, text, text[]) IS
    'the events of rows that hold personal values, in order';
CREATE FUNCTION tenant_guard.erase_personal(
    account text, events text[], legal_basis text, reason text DEFAULT NULL)
    RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'erase_personal_wrapper';
COMMENT ON FUNCTION tenant_guard.erase_personal(text, text[], text, text) IS
    'removes the personal values of events from the log, which goes on verifying; returns of how many';

CREATE FUNCTION tenant_guard.overwrite_erased(
    OUT relation text, OUT pages bigint, OUT overwritten bigint, OUT waiting bigint)
    RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'overwrite_erased_wrapper';
COMMENT ON FUNCTION tenant_guard.overwrite_erased() IS
    'overwrites with zeros what VACUUM left in the free space of the log''s pages';

REVOKE ALL ON FUNCTION
    tenant_guard.place_hold(text, text, text, text), tenant_guard.release_hold(bigint, text),
    tenant_guard.personal_events(text, text), tenant_guard.personal_events(text, text, text[]),
    tenant_guard.erase_personal(text, text[], text, text), tenant_guard.overwrite_erased()
    FROM PUBLIC;
-- What is kept and what is erased is the admin's to decide, whoever owns the table.
GRANT EXECUTE ON FUNCTION
    tenant_guard.place_hold(text, text, text, text), tenant_guard.release_hold(bigint, text),
    tenant_guard.erase_personal(text, text[], text, text), tenant_guard.overwrite_erased()
    TO tenant_guard_admin;
-- Auditors read the log, personal values included; admins answer whoever asks for their data.
GRANT EXECUTE ON FUNCTION
    tenant_guard.personal_events(text, text), tenant_guard.personal_events(text, text, text[])
    TO tenant_guard_admin, tenant_guard_auditor;
