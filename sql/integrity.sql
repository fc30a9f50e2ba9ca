-- Integrity across accounts: keys held to the account.

-- As protect: what stands in the catalog is compared and printed, so the caller's settings stay out.
CREATE FUNCTION tenant_guard.bind_foreign_keys(schema name, dry_run boolean DEFAULT false)
    RETURNS TABLE (step integer, relation text, statement text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    AS 'MODULE_PATHNAME', 'bind_foreign_keys_wrapper';
COMMENT ON FUNCTION tenant_guard.bind_foreign_keys(name, boolean) IS
    'holds foreign keys between protected relations to the account';
REVOKE ALL ON FUNCTION tenant_guard.bind_foreign_keys(name, boolean) FROM PUBLIC;
-- Protection is the admin's to decide; the function also asks that the caller owns the tables.
GRANT EXECUTE ON FUNCTION tenant_guard.bind_foreign_keys(name, boolean) TO tenant_guard_admin;

-- Triggers beside keys that cannot pair the accounts. No rights of the caller's are used. Keys are
-- carried as texts: in a form that says the same when it is read again, whatever the caller has set.
CREATE FUNCTION tenant_guard.check_binding() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'tenant_guard_check_binding';
COMMENT ON FUNCTION tenant_guard.check_binding() IS
    'refuses a row that refers to a row of another account';
CREATE FUNCTION tenant_guard.check_bound() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'tenant_guard_check_bound';
COMMENT ON FUNCTION tenant_guard.check_bound() IS
    'refuses that a row leaves the account of those that refer to it';
REVOKE ALL ON FUNCTION tenant_guard.check_binding(), tenant_guard.check_bound() FROM PUBLIC;
-- A partition gets the triggers of its parent in the name of whoever makes the partition. Between
-- relations that are not protected they compare nothing.
GRANT EXECUTE ON FUNCTION tenant_guard.check_binding(), tenant_guard.check_bound() TO PUBLIC;

-- What is declared of relations for check_data().
CREATE TABLE tenant_guard.account_row_rule (relation regclass PRIMARY KEY);
CREATE TABLE tenant_guard.path_rule (
    relation regclass NOT NULL,
    column_name name NOT NULL,
    template text NOT NULL,
    PRIMARY KEY (relation, column_name)
);
REVOKE ALL ON tenant_guard.account_row_rule, tenant_guard.path_rule FROM PUBLIC;
-- Whoever answers for isolation sees what is looked for.
GRANT SELECT ON tenant_guard.account_row_rule, tenant_guard.path_rule
    TO tenant_guard_admin, tenant_guard_auditor;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.account_row_rule',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class)');
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.path_rule',
    'WHERE relation IN (SELECT oid FROM pg_catalog.pg_class)');

CREATE FUNCTION tenant_guard.require_account_row(relation regclass, required boolean DEFAULT true)
    RETURNS void LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'require_account_row_wrapper';
COMMENT ON FUNCTION tenant_guard.require_account_row(regclass, boolean) IS
    'has check_data() name accounts without a row in the relation';
CREATE FUNCTION tenant_guard.declare_path(relation regclass, column_name name, template text)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'declare_path_wrapper';
COMMENT ON FUNCTION tenant_guard.declare_path(regclass, name, text) IS
    'says where in the paths of a column the account stands, for check_data()';

-- Native and past every policy, so that it says the same to whoever may call it.
CREATE FUNCTION tenant_guard.check_data(schemas name[] DEFAULT NULL)
    RETURNS TABLE (severity text, code text, object text, detail text, count bigint, sample text[])
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'check_data_wrapper';
COMMENT ON FUNCTION tenant_guard.check_data(name[]) IS
    'finds rows that cross accounts, over all accounts';

-- How far check_data_in_pieces() has come. Not dumped: blocks of a restored table are others.
CREATE TABLE tenant_guard.data_check (
    relation regclass PRIMARY KEY,
    part_of regclass NOT NULL,
    blocks bigint NOT NULL,
    -- What rows refer to may be looked at in parts; done counts the blocks for all of them.
    parts bigint NOT NULL DEFAULT 1,
    done bigint NOT NULL DEFAULT 0,
    finished boolean NOT NULL DEFAULT false
);
CREATE TABLE tenant_guard.data_check_finding (
    severity text NOT NULL,
    code text NOT NULL,
    object text NOT NULL,
    detail text NOT NULL,
    count bigint NOT NULL,
    sample text[] NOT NULL,
    PRIMARY KEY (code, object, detail)
);
REVOKE ALL ON tenant_guard.data_check, tenant_guard.data_check_finding FROM PUBLIC;
-- As the procedure that fills them.
GRANT SELECT ON tenant_guard.data_check_finding TO tenant_guard_admin;

CREATE VIEW tenant_guard.check_data_progress AS
SELECT d.relation, d.blocks * d.parts AS blocks, d.done, d.finished
-- Not a view of one relation alone, which could be written through.
FROM tenant_guard.data_check AS d CROSS JOIN (SELECT) AS one;
COMMENT ON VIEW tenant_guard.check_data_progress IS 'how far check_data_in_pieces() has come';
REVOKE ALL ON tenant_guard.check_data_progress FROM PUBLIC;
-- It names tables and counts blocks.
GRANT SELECT ON tenant_guard.check_data_progress TO tenant_guard_admin, tenant_guard_auditor;

-- No SET clause: a procedure with one may not commit. All that it looks up is qualified.
CREATE PROCEDURE tenant_guard.check_data_in_pieces(
    schemas name[] DEFAULT NULL, resume boolean DEFAULT false, blocks integer DEFAULT 8192)
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenant_guard_check_data_in_pieces';
COMMENT ON PROCEDURE tenant_guard.check_data_in_pieces(name[], boolean, integer) IS
    'check_data() with a commit after so many blocks; findings are in data_check_finding';
REVOKE ALL ON FUNCTION
    tenant_guard.require_account_row(regclass, boolean),
    tenant_guard.declare_path(regclass, name, text),
    tenant_guard.check_data(name[])
    FROM PUBLIC;
REVOKE ALL ON PROCEDURE tenant_guard.check_data_in_pieces(name[], boolean, integer) FROM PUBLIC;
-- They show keys of rows of every account, whoever owns the tables: the admin's alone, not the
-- auditor's.
GRANT EXECUTE ON FUNCTION
    tenant_guard.require_account_row(regclass, boolean),
    tenant_guard.declare_path(regclass, name, text),
    tenant_guard.check_data(name[])
    TO tenant_guard_admin;
GRANT EXECUTE ON PROCEDURE tenant_guard.check_data_in_pieces(name[], boolean, integer)
    TO tenant_guard_admin;

-- Paths of files in buckets. Named by policies: they read the bound identity and no SQL.
CREATE FUNCTION tenant_guard.account_path(VARIADIC segments text[]) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'account_path_wrapper';
COMMENT ON FUNCTION tenant_guard.account_path(text[]) IS
    'the path of these segments in the folder of the verified account';
CREATE FUNCTION tenant_guard.path_account(path text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'path_account_wrapper';
COMMENT ON FUNCTION tenant_guard.path_account(text) IS
    'the account in whose folder a path is, null for what is no sound path in a folder';
CREATE FUNCTION tenant_guard.owns_path(path text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'owns_path_wrapper';
COMMENT ON FUNCTION tenant_guard.owns_path(text) IS
    'whether a path is in the folder of the verified account';

-- Origins that accounts allow, in canonical text.
CREATE TABLE tenant_guard.allowed_origin (
    account_id text NOT NULL,
    origin text NOT NULL,
    PRIMARY KEY (account_id, origin)
);
REVOKE ALL ON tenant_guard.allowed_origin FROM PUBLIC;
-- Whoever declares them sees them all.
GRANT SELECT ON tenant_guard.allowed_origin TO tenant_guard_admin, tenant_guard_auditor;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.allowed_origin', '');

CREATE FUNCTION tenant_guard.allow_origin(account text, origin text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'allow_origin_wrapper';
COMMENT ON FUNCTION tenant_guard.allow_origin(account text, origin text) IS
    'lets an account be used from an origin';
CREATE FUNCTION tenant_guard.disallow_origin(account text, origin text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'disallow_origin_wrapper';
COMMENT ON FUNCTION tenant_guard.disallow_origin(account text, origin text) IS
    'takes back what allow_origin() gave';
CREATE FUNCTION tenant_guard.origin_allowed(origin text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'origin_allowed_wrapper';
COMMENT ON FUNCTION tenant_guard.origin_allowed(text) IS
    'whether the verified account lets its users come from a web origin';
REVOKE ALL ON FUNCTION
    tenant_guard.account_path(text[]), tenant_guard.path_account(text), tenant_guard.owns_path(text),
    tenant_guard.allow_origin(text, text), tenant_guard.disallow_origin(text, text),
    tenant_guard.origin_allowed(text)
    FROM PUBLIC;
-- They reveal what the caller's own verified token says, and what its account allows.
GRANT EXECUTE ON FUNCTION
    tenant_guard.account_path(text[]), tenant_guard.path_account(text), tenant_guard.owns_path(text),
    tenant_guard.origin_allowed(text)
    TO PUBLIC;
-- Whoever declares origins decides from where an account is reached.
GRANT EXECUTE ON FUNCTION
    tenant_guard.allow_origin(text, text), tenant_guard.disallow_origin(text, text)
    TO tenant_guard_admin;
