-- Data migrations account by account, and how far each has come.

-- One row for each run. Of the statements only their hash is kept: they may hold secrets.
CREATE TABLE tenant_guard.migration_run (
    run text PRIMARY KEY CHECK (run <> ''),
    statements_hash text NOT NULL,
    reason text NOT NULL,
    begun_by name NOT NULL,
    begun_at timestamptz NOT NULL
);
CREATE TABLE tenant_guard.migration_run_account (
    run text NOT NULL,
    account_id text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed')),
    started_at timestamptz,
    finished_at timestamptz,
    rows bigint,
    sqlstate text,
    message text,
    PRIMARY KEY (run, account_id)
);
REVOKE ALL ON tenant_guard.migration_run, tenant_guard.migration_run_account FROM PUBLIC;
-- A restored database has the rows as the run left them, so it must know how far that came.
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.migration_run', '');
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.migration_run_account', '');

CREATE VIEW tenant_guard.account_run AS
SELECT a.run, r.statements_hash, a.account_id, a.state, a.started_at, a.finished_at, a.rows,
    a.sqlstate, a.message
FROM tenant_guard.migration_run_account AS a
JOIN tenant_guard.migration_run AS r ON r.run = a.run;
COMMENT ON VIEW tenant_guard.account_run IS 'how far each run of for_each_account() has come';
REVOKE ALL ON tenant_guard.account_run FROM PUBLIC;
-- It names accounts and errors, no values of rows.
GRANT SELECT ON tenant_guard.account_run TO tenant_guard_admin, tenant_guard_auditor;

-- No SET clause: a procedure with one may not commit. All that it looks up is qualified, and the
-- statements it is given find their names as the caller would.
CREATE PROCEDURE tenant_guard.for_each_account(
    sql text, reason text, run text DEFAULT NULL, accounts text[] DEFAULT NULL,
    on_error text DEFAULT 'stop', subject text DEFAULT NULL, roles text[] DEFAULT '{}')
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenant_guard_for_each_account';
COMMENT ON PROCEDURE tenant_guard.for_each_account(text, text, text, text[], text, text, text[]) IS
    'runs statements once for each account, each time in a transaction bound to that account';
-- Granted to nobody, as act_as: it is a way to every account without a token.
REVOKE ALL ON PROCEDURE
    tenant_guard.for_each_account(text, text, text, text[], text, text, text[]) FROM PUBLIC;

CREATE FUNCTION tenant_guard.forget_run(run text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'forget_run_wrapper';
COMMENT ON FUNCTION tenant_guard.forget_run(run text) IS
    'forgets how far a run of for_each_account() has come';
REVOKE ALL ON FUNCTION tenant_guard.forget_run(text) FROM PUBLIC;
-- A run that is forgotten can be carried out a second time.
GRANT EXECUTE ON FUNCTION tenant_guard.forget_run(text) TO tenant_guard_admin;
