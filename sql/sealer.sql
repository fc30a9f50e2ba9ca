-- Waiting for the background worker that seals. The worker itself has no object here: commits start it.

-- Not STRICT: without an event it waits for all that is committed, without a timeout for ever.
CREATE FUNCTION tenant_guard.wait_sealed(
    event_id text DEFAULT NULL, timeout interval DEFAULT '10 s')
    RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'wait_sealed_wrapper';
COMMENT ON FUNCTION tenant_guard.wait_sealed(text, interval) IS
    'waits until an event, or all that was committed before, is sealed; false when it takes too long';
REVOKE ALL ON FUNCTION tenant_guard.wait_sealed(text, interval) FROM PUBLIC;
-- Who wrote an event may wait for its seal before it is told to a customer. The function asks for an
-- identity, of admins and auditors excepted, and knows the events of its account alone.
GRANT EXECUTE ON FUNCTION tenant_guard.wait_sealed(text, interval) TO PUBLIC;
