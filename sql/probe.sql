-- Trying to cross from one account to another.

-- Its queries are large and their tables small: compiling them took most of the time.
CREATE FUNCTION tenant_guard.probe(
    relation regclass, accept text[] DEFAULT '{}', canary jsonb DEFAULT '{}',
    trust text[] DEFAULT '{}')
    RETURNS TABLE (role text, attempt text, outcome text, detail text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off SET standard_conforming_strings = on
    AS 'MODULE_PATHNAME', 'probe_wrapper';
COMMENT ON FUNCTION tenant_guard.probe(regclass, text[], jsonb, text[]) IS
    'plants rows of two made-up accounts, tries to get from one to the other, and undoes all of it';
CREATE FUNCTION tenant_guard.probe_gate(
    relation regclass, accept text[] DEFAULT '{}', canary jsonb DEFAULT '{}',
    trust text[] DEFAULT '{}')
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off SET standard_conforming_strings = on
    AS 'MODULE_PATHNAME', 'probe_gate_wrapper';
COMMENT ON FUNCTION tenant_guard.probe_gate(regclass, text[], jsonb, text[]) IS
    'an error unless probe() passes';
REVOKE ALL ON FUNCTION
    tenant_guard.probe(regclass, text[], jsonb, text[]), tenant_guard.probe_gate(regclass, text[], jsonb, text[])
    FROM PUBLIC;
-- It acts as every role that reaches the relation, for accounts that nobody has and without a trace.
GRANT EXECUTE ON FUNCTION
    tenant_guard.probe(regclass, text[], jsonb, text[]), tenant_guard.probe_gate(regclass, text[], jsonb, text[])
    TO tenant_guard_admin;
