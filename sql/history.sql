-- Looking back: who of an account reads its log, the events of a row, rows as they stood, whether a table
-- is what its events made of it, and the log as lines.

-- The roles of the product whose holders read the log of their account.
CREATE TABLE tenant_guard.log_reader (
    role text PRIMARY KEY CHECK (role <> '')
);
REVOKE ALL ON tenant_guard.log_reader FROM PUBLIC;
-- Whoever answers for the log sees who reads it.
GRANT SELECT ON tenant_guard.log_reader TO tenant_guard_admin, tenant_guard_auditor;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.log_reader', '');
-- Every backend keeps them.
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.log_reader
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.log_reader ENABLE ALWAYS TRIGGER tell_backends;

CREATE FUNCTION tenant_guard.allow_log(role text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'allow_log_wrapper';
COMMENT ON FUNCTION tenant_guard.allow_log(text) IS
    'lets a role of the product, and all that inherit it, read the log of their account';
CREATE FUNCTION tenant_guard.disallow_log(role text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'disallow_log_wrapper';
COMMENT ON FUNCTION tenant_guard.disallow_log(text) IS 'takes back what allow_log() gave';

-- The condition of own_events(), called for every row: it carries no search_path. It reads a table
-- of ours when that has changed, as the readers of the identity do.
CREATE FUNCTION tenant_guard.log_account() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'tenant_guard_log_account';
COMMENT ON FUNCTION tenant_guard.log_account() IS
    'the account whose log the current identity may read; null where none of its roles reads it';

-- Not a view on the log: the planner evaluates leakproof conditions of whoever reads a view, comparisons
-- of text among them, against statistics of the whole log, and EXPLAIN shows what comes of it. A function
-- that runs as its owner is planned apart from the statement that calls it, which learns no estimate.
-- What says something of how many transactions others had in between is left out.
CREATE FUNCTION tenant_guard.own_events(
    since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
    OUT event_id text, OUT occurred_at timestamptz, OUT kind text, OUT action text,
    OUT account_id text, OUT relation text, OUT leaf_relation text, OUT row_key text,
    OUT target text, OUT data text, OUT personal text, OUT redacted text[],
    OUT hashed text[], OUT subject text, OUT role text[], OUT session_role text,
    OUT "current_role" text, OUT issuer text, OUT token_id text, OUT session text,
    OUT client_address text, OUT application_name text, OUT transaction_start timestamptz)
    RETURNS SETOF record LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
SELECT lpad(to_hex(l.incarnation), 16, '0') || '-' || l.xid || '-' || l.ordinal,
    l.occurred_at, l.kind, l.action, l.account_id, l.relation, l.leaf_relation, l.row_key, l.target,
    l.data, l.personal, l.redacted, l.hashed, c.subject, c.role, c.session_role, c."current_role",
    c.issuer, c.token_id, c.session, c.client_address, c.application_name, c.transaction_start
FROM tenant_guard.audit_log AS l
LEFT JOIN tenant_guard.audit_context AS c
    ON c.incarnation = l.incarnation AND c.xid = l.xid AND c.number = l.context
WHERE l.account_id = tenant_guard.log_account()
    AND l.occurred_at >= coalesce($1, '-infinity') AND l.occurred_at < coalesce($2, 'infinity')
$$;
COMMENT ON FUNCTION tenant_guard.own_events(timestamptz, timestamptz) IS
    'audited events of the account of the current identity, from a time on and before another';

-- Not STRICT: without an account it is the caller's own, for auditors all.
CREATE FUNCTION tenant_guard.row_history(
    relation text, key jsonb, account text DEFAULT NULL,
    OUT event_id text, OUT occurred_at timestamptz, OUT action text, OUT note text,
    OUT account_id text, OUT relation_name text, OUT leaf_relation text, OUT row_key text,
    OUT subject text, OUT role text[], OUT data text, OUT personal text)
    RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'tenant_guard_row_history';
COMMENT ON FUNCTION tenant_guard.row_history(text, jsonb, text) IS
    'the events of a row in the order of changes, whatever key it had';

CREATE FUNCTION tenant_guard.as_of(relation text, at timestamptz, account text DEFAULT NULL)
    RETURNS SETOF json LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off
    AS 'MODULE_PATHNAME', 'tenant_guard_as_of';
COMMENT ON FUNCTION tenant_guard.as_of(text, timestamptz, text) IS
    'the rows of a relation as they stood at a time, from events alone';
CREATE FUNCTION tenant_guard.as_of_snapshot(
    relation text, snapshot pg_snapshot, account text DEFAULT NULL)
    RETURNS SETOF json LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off
    AS 'MODULE_PATHNAME', 'tenant_guard_as_of_snapshot';
COMMENT ON FUNCTION tenant_guard.as_of_snapshot(text, pg_snapshot, text) IS
    'the rows of a relation as a snapshot of this database saw them, from events alone';

CREATE FUNCTION tenant_guard.record_baseline(relation regclass) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'record_baseline_wrapper';
COMMENT ON FUNCTION tenant_guard.record_baseline(regclass) IS
    'writes an event for each row that stands; how many';

CREATE FUNCTION tenant_guard.verify_state(
    relation regclass, OUT code text, OUT account_id text, OUT row_key text, OUT detail text)
    RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp SET jit = off
    AS 'MODULE_PATHNAME', 'tenant_guard_verify_state';
COMMENT ON FUNCTION tenant_guard.verify_state(regclass) IS
    'compares a table with what its events made of it; a row for each difference';

-- Not STRICT: it may begin at the first event, and give those of all accounts.
CREATE FUNCTION tenant_guard.audit_feed(
    after text DEFAULT NULL, most integer DEFAULT 1000, account text DEFAULT NULL,
    OUT "position" text, OUT line text)
    RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'tenant_guard_audit_feed';
COMMENT ON FUNCTION tenant_guard.audit_feed(text, integer, text) IS
    'sealed events as JSON, in the order of the ledger, from a position on';

REVOKE ALL ON FUNCTION tenant_guard.allow_log(text), tenant_guard.disallow_log(text),
    tenant_guard.log_account(), tenant_guard.own_events(timestamptz, timestamptz),
    tenant_guard.row_history(text, jsonb, text),
    tenant_guard.as_of(text, timestamptz, text),
    tenant_guard.as_of_snapshot(text, pg_snapshot, text),
    tenant_guard.record_baseline(regclass), tenant_guard.verify_state(regclass),
    tenant_guard.audit_feed(text, integer, text) FROM PUBLIC;
-- Who reads what is the admin's to decide; record_baseline() also asks that the caller owns the table.
GRANT EXECUTE ON FUNCTION tenant_guard.allow_log(text), tenant_guard.disallow_log(text),
    tenant_guard.record_baseline(regclass) TO tenant_guard_admin;
-- It shows the events of the account of the caller's own token, and the view own_event calls it with the
-- rights of whoever reads the view.
GRANT EXECUTE ON FUNCTION tenant_guard.own_events(timestamptz, timestamptz) TO PUBLIC;
-- An identity with a role that reads the log looks back at its own account; the functions see to that.
GRANT EXECUTE ON FUNCTION tenant_guard.row_history(text, jsonb, text),
    tenant_guard.as_of(text, timestamptz, text),
    tenant_guard.as_of_snapshot(text, pg_snapshot, text) TO PUBLIC;
-- It shows keys and names of columns that differ, of all accounts.
GRANT EXECUTE ON FUNCTION tenant_guard.verify_state(regclass)
    TO tenant_guard_admin, tenant_guard_auditor;
-- It is the log.
GRANT EXECUTE ON FUNCTION tenant_guard.audit_feed(text, integer, text) TO tenant_guard_auditor;

-- A ledger that outlived an earlier DROP EXTENSION lost its views on functions of ours.
SELECT tenant_guard.init_ledger()
WHERE pg_catalog.to_regclass('tenant_guard.audit_log') IS NOT NULL;
