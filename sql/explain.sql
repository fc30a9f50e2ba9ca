-- Why a row is shown or hidden.

-- VOLATILE: given claims are an event, and what policies call may be volatile.
CREATE FUNCTION tenant_guard.explain_access(
    relation regclass, key jsonb, claims jsonb DEFAULT NULL, role regrole DEFAULT NULL)
    RETURNS TABLE (
        command text, policy text, kind text, clause text, operand text, verdict text, detail text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET join_collapse_limit = 1
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'explain_access_wrapper';
COMMENT ON FUNCTION tenant_guard.explain_access(regclass, jsonb, jsonb, regrole) IS
    'which policy, and which operand of it, shows or hides a row';
-- Everybody: it reads rows with the caller's own rights, and of a row that those do not show it says
-- only what the catalog does. Claims, other roles and hidden rows are the admin's, as the code asks.
