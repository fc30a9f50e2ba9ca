-- Identity: issuers, authenticate, readers. See docs/reference.md.

-- Keys may be shared secrets, so nobody but the extension's owner reads this table.
CREATE TABLE tenant_guard.issuer (
    issuer text PRIMARY KEY CHECK (issuer <> ''),
    keys jsonb NOT NULL,
    algorithms text[],
    audiences text[],
    claim_paths jsonb NOT NULL,
    leeway interval NOT NULL,
    max_age interval,
    require_exp boolean NOT NULL
);
REVOKE ALL ON tenant_guard.issuer FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.issuer', '');

CREATE FUNCTION tenant_guard.tell_backends() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenant_guard_tell_backends';
COMMENT ON FUNCTION tenant_guard.tell_backends() IS
    'the trigger that tells every session that a table of ours changed';
REVOKE ALL ON FUNCTION tenant_guard.tell_backends() FROM PUBLIC;
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.issuer
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.issuer ENABLE ALWAYS TRIGGER tell_backends;

-- Where the product keeps accounts and memberships. Our code reads those tables past row security,
-- so only our own functions write here.
CREATE TABLE tenant_guard.identity_source (
    purpose text PRIMARY KEY CHECK (purpose IN ('membership', 'account')),
    relation regclass NOT NULL,
    key_column name NOT NULL,
    account_column name,
    role_column name,
    active_column name
);
REVOKE ALL ON tenant_guard.identity_source FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.identity_source', '');
-- The numbers of the columns named there, which a new name leaves as they are. Not dumped: a restored
-- relation numbers its columns anew.
CREATE TABLE tenant_guard.identity_source_column (
    purpose text NOT NULL,
    name name NOT NULL,
    number smallint NOT NULL,
    PRIMARY KEY (purpose, name)
);
REVOKE ALL ON tenant_guard.identity_source_column FROM PUBLIC;
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.identity_source
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.identity_source ENABLE ALWAYS TRIGGER tell_backends;

CREATE FUNCTION tenant_guard.set_membership(
    relation regclass, subject_column name, account_column name, role_column name DEFAULT NULL,
    active_column name DEFAULT NULL)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_membership_wrapper';
COMMENT ON FUNCTION tenant_guard.set_membership(regclass, name, name, name, name) IS
    'says where it stands which accounts a person belongs to';
CREATE FUNCTION tenant_guard.set_account_relation(
    relation regclass, key_column name, active_column name DEFAULT NULL)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_account_relation_wrapper';
COMMENT ON FUNCTION tenant_guard.set_account_relation(regclass, name, name) IS
    'says where the accounts stand, and which of them are active';
REVOKE ALL ON FUNCTION
    tenant_guard.set_membership(regclass, name, name, name, name),
    tenant_guard.set_account_relation(regclass, name, name) FROM PUBLIC;
-- Whoever declares memberships decides who belongs where.
GRANT EXECUTE ON FUNCTION
    tenant_guard.set_membership(regclass, name, name, name, name),
    tenant_guard.set_account_relation(regclass, name, name) TO tenant_guard_admin;

-- How long sessions may stay unused, by account; the empty one is every account without its own.
CREATE TABLE tenant_guard.idle_timeout (
    account_id text PRIMARY KEY,
    after interval NOT NULL
);
REVOKE ALL ON tenant_guard.idle_timeout FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.idle_timeout', '');
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.idle_timeout
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.idle_timeout ENABLE ALWAYS TRIGGER tell_backends;

-- When sessions were used, to the minute. Not dumped: a restored database has no sessions.
CREATE TABLE tenant_guard.session_use (
    issuer text NOT NULL,
    session text NOT NULL,
    used_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, session, used_at)
);
REVOKE ALL ON tenant_guard.session_use FROM PUBLIC;

CREATE FUNCTION tenant_guard.set_idle_timeout(account text, after interval) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_idle_timeout_wrapper';
COMMENT ON FUNCTION tenant_guard.set_idle_timeout(account text, after interval) IS
    'ends sessions of an account, or of all, that were idle for so long';
REVOKE ALL ON FUNCTION tenant_guard.set_idle_timeout(text, interval) FROM PUBLIC;
-- It locks users out.
GRANT EXECUTE ON FUNCTION tenant_guard.set_idle_timeout(text, interval) TO tenant_guard_admin;

-- Read by every backend's own code, written through the functions below. Without a unique key:
-- nobody's revocation waits for one that somebody else has not committed.
CREATE TABLE tenant_guard.revocation (
    kind text NOT NULL CHECK (kind IN ('token', 'session', 'subject')),
    name text NOT NULL CHECK (name <> ''),
    -- Empty for every issuer.
    issuer text NOT NULL,
    issued_before timestamptz,
    -- When the tokens it names must have expired; null where that is not known.
    expires_at timestamptz
);
CREATE INDEX revocation_name ON tenant_guard.revocation (kind, name, issuer);
REVOKE ALL ON tenant_guard.revocation FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.revocation', '');
CREATE TRIGGER tell_backends
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenant_guard.revocation
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.tell_backends();
ALTER TABLE tenant_guard.revocation ENABLE ALWAYS TRIGGER tell_backends;

-- Without arguments: the caller's own, by the identity that is bound.
CREATE FUNCTION tenant_guard.revoke_token() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'revoke_own_token_wrapper';
COMMENT ON FUNCTION tenant_guard.revoke_token() IS
    'revokes the token that is bound';
CREATE FUNCTION tenant_guard.revoke_session() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'revoke_own_session_wrapper';
COMMENT ON FUNCTION tenant_guard.revoke_session() IS
    'revokes the session of the token that is bound';
CREATE FUNCTION tenant_guard.revoke_subject() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'revoke_own_subject_wrapper';
COMMENT ON FUNCTION tenant_guard.revoke_subject() IS
    'revokes all tokens of the bound subject that were issued until now';
CREATE FUNCTION tenant_guard.revoke_token(token_id text, issuer text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'revoke_token_wrapper';
COMMENT ON FUNCTION tenant_guard.revoke_token(token_id text, issuer text) IS
    'revokes a token by its id';
CREATE FUNCTION tenant_guard.revoke_session(session text, issuer text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'revoke_session_wrapper';
COMMENT ON FUNCTION tenant_guard.revoke_session(session text, issuer text) IS
    'revokes the tokens of a session';
CREATE FUNCTION tenant_guard.revoke_subject(
    subject text, before timestamptz DEFAULT NULL, issuer text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'revoke_subject_wrapper';
COMMENT ON FUNCTION tenant_guard.revoke_subject(subject text, before timestamp with time zone, issuer text) IS
    'revokes the tokens of a subject that were issued before a time';
REVOKE ALL ON FUNCTION tenant_guard.revoke_token(text, text),
    tenant_guard.revoke_session(text, text), tenant_guard.revoke_subject(text, timestamptz, text)
    FROM PUBLIC;
-- Revoking somebody else locks them out.
GRANT EXECUTE ON FUNCTION tenant_guard.revoke_token(text, text),
    tenant_guard.revoke_session(text, text), tenant_guard.revoke_subject(text, timestamptz, text)
    TO tenant_guard_admin;

CREATE FUNCTION tenant_guard.add_issuer(
    issuer text, keys jsonb, algorithms text[] DEFAULT NULL, audiences text[] DEFAULT NULL,
    claim_paths jsonb DEFAULT '{}', leeway interval DEFAULT '30 s', max_age interval DEFAULT NULL,
    require_exp boolean DEFAULT true)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'tenant_guard_add_issuer';
COMMENT ON FUNCTION tenant_guard.add_issuer(text, jsonb, text[], text[], jsonb, interval, interval,
    boolean) IS
    'registers who signs tokens, with the keys and what a token of theirs must have';
CREATE FUNCTION tenant_guard.alter_issuer(
    issuer text, algorithms text[] DEFAULT NULL, audiences text[] DEFAULT NULL,
    claim_paths jsonb DEFAULT '{}', leeway interval DEFAULT '30 s', max_age interval DEFAULT NULL,
    require_exp boolean DEFAULT true)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'tenant_guard_alter_issuer';
COMMENT ON FUNCTION tenant_guard.alter_issuer(text, text[], text[], jsonb, interval, interval, boolean)
    IS 'gives an issuer other settings and leaves its keys alone';
CREATE FUNCTION tenant_guard.set_issuer_keys(issuer text, keys jsonb)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'tenant_guard_set_issuer_keys';
COMMENT ON FUNCTION tenant_guard.set_issuer_keys(issuer text, keys jsonb) IS
    'replaces the keys of an issuer';
CREATE FUNCTION tenant_guard.drop_issuer(issuer text)
    RETURNS void LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'drop_issuer_wrapper';
COMMENT ON FUNCTION tenant_guard.drop_issuer(issuer text) IS
    'forgets an issuer: its tokens are refused from now on';
REVOKE ALL ON FUNCTION
    tenant_guard.add_issuer(text, jsonb, text[], text[], jsonb, interval, interval, boolean),
    tenant_guard.alter_issuer(text, text[], text[], jsonb, interval, interval, boolean),
    tenant_guard.set_issuer_keys(text, jsonb), tenant_guard.drop_issuer(text) FROM PUBLIC;
-- Whoever registers an issuer decides whose tokens are believed.
GRANT EXECUTE ON FUNCTION
    tenant_guard.add_issuer(text, jsonb, text[], text[], jsonb, interval, interval, boolean),
    tenant_guard.alter_issuer(text, text[], text[], jsonb, interval, interval, boolean),
    tenant_guard.set_issuer_keys(text, jsonb), tenant_guard.drop_issuer(text)
    TO tenant_guard_admin;

-- No SET clause: it runs at the start of every transaction, and all it looks up is qualified.
CREATE FUNCTION tenant_guard.authenticate(
    token text, account text DEFAULT NULL, is_local boolean DEFAULT true)
    RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'tenant_guard_authenticate';
COMMENT ON FUNCTION tenant_guard.authenticate(token text, account text, is_local boolean) IS
    'verifies a token and binds the transaction, or the session, to its account; its claims';
CREATE FUNCTION tenant_guard.sign_out() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sign_out_wrapper';
COMMENT ON FUNCTION tenant_guard.sign_out() IS
    'forgets the bound identity';

-- As authenticate: PostgREST calls it in every request.
CREATE FUNCTION tenant_guard.authenticate_request() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'authenticate_request_wrapper';
COMMENT ON FUNCTION tenant_guard.authenticate_request() IS
    'verifies the token of the request that PostgREST passes on: its db-pre-request';

CREATE FUNCTION tenant_guard.act_as(
    account text, subject text, roles text[] DEFAULT '{}', reason text DEFAULT NULL)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'act_as_wrapper';
COMMENT ON FUNCTION tenant_guard.act_as(account text, subject text, roles text[], reason text) IS
    'binds the transaction to an account without a token, for jobs, and logs the reason';
-- Granted to nobody: it is the one way to an account without a token.
REVOKE ALL ON FUNCTION tenant_guard.act_as(text, text, text[], text) FROM PUBLIC;

CREATE FUNCTION tenant_guard.verify_token(token text) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenant_guard_verify_token';
COMMENT ON FUNCTION tenant_guard.verify_token(token text) IS
    'verifies a token without binding it, and says why it is refused';
REVOKE ALL ON FUNCTION tenant_guard.verify_token(text) FROM PUBLIC;
-- It tells why a token is refused, which helps a forger.
GRANT EXECUTE ON FUNCTION tenant_guard.verify_token(text) TO tenant_guard_admin;

-- The readers touch no SQL: policies call them once a row, and a SET clause would cost each call.
CREATE FUNCTION tenant_guard.is_authenticated() RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'is_authenticated_wrapper';
COMMENT ON FUNCTION tenant_guard.is_authenticated() IS
    'whether a valid identity is bound';
CREATE FUNCTION tenant_guard.account_id() RETURNS uuid
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenant_guard_account_id';
COMMENT ON FUNCTION tenant_guard.account_id() IS
    'the account of the bound identity, as a uuid';
CREATE FUNCTION tenant_guard.account_id_bigint() RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenant_guard_account_id_bigint';
COMMENT ON FUNCTION tenant_guard.account_id_bigint() IS
    'the account of the bound identity, as a bigint';
CREATE FUNCTION tenant_guard.account_id_text() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenant_guard_account_id_text';
COMMENT ON FUNCTION tenant_guard.account_id_text() IS
    'the account of the bound identity, as it stands in the token';
CREATE FUNCTION tenant_guard.subject() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenant_guard_subject';
COMMENT ON FUNCTION tenant_guard.subject() IS
    'the subject of the bound identity: sub, or where the issuer has it';
CREATE FUNCTION tenant_guard.user_id() RETURNS uuid
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenant_guard_user_id';
COMMENT ON FUNCTION tenant_guard.user_id() IS
    'the subject of the bound identity, as a uuid';
CREATE FUNCTION tenant_guard.user_id_bigint() RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenant_guard_user_id_bigint';
COMMENT ON FUNCTION tenant_guard.user_id_bigint() IS
    'the subject of the bound identity, as a bigint';
CREATE FUNCTION tenant_guard.roles() RETURNS text[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'roles_wrapper';
COMMENT ON FUNCTION tenant_guard.roles() IS
    'the roles of the product that the bound identity has';
CREATE FUNCTION tenant_guard.has_role(role text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'has_role_wrapper';
COMMENT ON FUNCTION tenant_guard.has_role(role text) IS
    'whether the bound identity has a role';
CREATE FUNCTION tenant_guard.has_any_role(roles text[]) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenant_guard_has_any_role';
COMMENT ON FUNCTION tenant_guard.has_any_role(roles text[]) IS
    'whether the bound identity has one of these roles';
CREATE FUNCTION tenant_guard.session_id() RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'session_id_wrapper';
COMMENT ON FUNCTION tenant_guard.session_id() IS
    'the session of the bound identity';
CREATE FUNCTION tenant_guard.claims() RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenant_guard_claims';
COMMENT ON FUNCTION tenant_guard.claims() IS
    'all claims of the bound identity''s token';
CREATE FUNCTION tenant_guard.claim(VARIADIC path text[]) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'claim_wrapper';
COMMENT ON FUNCTION tenant_guard.claim(VARIADIC path text[]) IS
    'one claim of the bound identity''s token, by its path';

-- authenticate, sign_out and the readers stay with PUBLIC: they reveal only what the caller's own
-- verified token says. version() names a number that pg_extension shows anyway.
