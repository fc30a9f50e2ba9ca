-- How long the log is kept, and what removes what is older. Rules and what they let go stand in
-- tenant_guard.ledger_retention, a table of the ledger (sql/ledger_tables.sql), and count once a block
-- states them.

-- Where removing data goes on, and nothing else: without it, it begins again. Written by our code only.
CREATE TABLE tenant_guard.retention_progress (
    relation text PRIMARY KEY,
    -- Blocks before this one were gone through.
    next bigint NOT NULL,
    -- The first of them in which something was held, and how many holds had been released by then.
    held_from bigint,
    releases bigint NOT NULL
);
REVOKE ALL ON tenant_guard.retention_progress FROM PUBLIC;

-- Not STRICT: the relation may be null, and what must not be is told by name.
CREATE FUNCTION tenant_guard.set_retention(relation regclass, payload interval, reason text)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_retention_wrapper';
COMMENT ON FUNCTION tenant_guard.set_retention(regclass, interval, text) IS
    'how long the data of a relation''s events is kept at least; of all without a rule if it is null';
CREATE FUNCTION tenant_guard.keep_events(period interval, reason text)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'keep_events_wrapper';
COMMENT ON FUNCTION tenant_guard.keep_events(interval, text) IS
    'how long events are kept at least';
CREATE FUNCTION tenant_guard.let_go(
    OUT what text, OUT relation text, OUT before timestamptz)
    RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'let_go_wrapper';
COMMENT ON FUNCTION tenant_guard.let_go() IS
    'lets go what the rules no longer keep: the next block states it, and it may be removed then';
CREATE FUNCTION tenant_guard.prune_payloads(
    most integer DEFAULT 10000, OUT events bigint, OUT more boolean)
    RETURNS SETOF record LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'prune_payloads_wrapper';
COMMENT ON FUNCTION tenant_guard.prune_payloads(integer) IS
    'removes the data of events that a block let go: of how many, and whether there is more to go through';
CREATE FUNCTION tenant_guard.prune_blocks(
    checkpoint text, most bigint DEFAULT 10000, OUT block bigint, OUT events bigint)
    RETURNS SETOF record LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'prune_blocks_wrapper';
COMMENT ON FUNCTION tenant_guard.prune_blocks(text, bigint) IS
    'removes the events of the first blocks that a block let go, up to the one whose checkpoint is given; no row when none may go';

REVOKE ALL ON FUNCTION
    tenant_guard.set_retention(regclass, interval, text),
    tenant_guard.keep_events(interval, text), tenant_guard.let_go(),
    tenant_guard.prune_payloads(integer), tenant_guard.prune_blocks(text, bigint)
    FROM PUBLIC;
-- What is kept is the admin's to decide, above the floor that a superuser sets; the log says what came
-- of it.
GRANT EXECUTE ON FUNCTION
    tenant_guard.set_retention(regclass, interval, text),
    tenant_guard.keep_events(interval, text), tenant_guard.let_go(),
    tenant_guard.prune_payloads(integer), tenant_guard.prune_blocks(text, bigint)
    TO tenant_guard_admin;
