-- Guards: event triggers against commands that take protection or the ledger apart, and schemas
-- whose new tables are protected as they are made. They come last, so that they do not judge this script.

-- What new tables with the account column are protected with. Roles by name: one that is gone must
-- not make the dump of this table unreadable. The schema by name: pg_upgrade gives schemas other oids
-- and refuses a column of type regnamespace.
CREATE TABLE tenant_guard.governed_schema (
    schema name PRIMARY KEY,
    account_column name NOT NULL,
    roles name[] CHECK (pg_catalog.cardinality(roles) > 0),
    redact name[] NOT NULL,
    audit boolean NOT NULL
);
REVOKE ALL ON tenant_guard.governed_schema FROM PUBLIC;
-- Whoever answers for isolation sees what will be under it.
GRANT SELECT ON tenant_guard.governed_schema TO tenant_guard_admin, tenant_guard_auditor;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.governed_schema',
    'WHERE schema IN (SELECT nspname FROM pg_catalog.pg_namespace)');

CREATE FUNCTION tenant_guard.govern_schema(
    schema name, account_column name DEFAULT 'account_id', roles regrole[] DEFAULT NULL,
    redact name[] DEFAULT '{}', audit boolean DEFAULT true)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'govern_schema_wrapper';
COMMENT ON FUNCTION tenant_guard.govern_schema(name, name, regrole[], name[], boolean) IS
    'has tables made in the schema later protected if they have the account column';
CREATE FUNCTION tenant_guard.ungovern_schema(schema name)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'ungovern_schema_wrapper';
COMMENT ON FUNCTION tenant_guard.ungovern_schema(schema name) IS
    'takes back what govern_schema() gave';
REVOKE ALL ON FUNCTION
    tenant_guard.govern_schema(name, name, regrole[], name[], boolean),
    tenant_guard.ungovern_schema(name)
    FROM PUBLIC;
-- Protection is the admin's to decide; the functions also ask that the caller owns the schema.
GRANT EXECUTE ON FUNCTION
    tenant_guard.govern_schema(name, name, regrole[], name[], boolean),
    tenant_guard.ungovern_schema(name)
    TO tenant_guard_admin;

-- What the guards let nobody do by taking FORCE off for a moment.
CREATE FUNCTION tenant_guard.replace_foreign_key(
    relation regclass, constraint_name name, definition text)
    RETURNS void LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'replace_foreign_key_wrapper';
COMMENT ON FUNCTION tenant_guard.replace_foreign_key(regclass, name, text) IS
    'adds a foreign key, checking all rows where row security is forced';
CREATE FUNCTION tenant_guard.validate_foreign_key(relation regclass, constraint_name name)
    RETURNS void LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'validate_foreign_key_wrapper';
COMMENT ON FUNCTION tenant_guard.validate_foreign_key(regclass, name) IS
    'validates a foreign key, checking all rows where row security is forced';
REVOKE ALL ON FUNCTION
    tenant_guard.replace_foreign_key(regclass, name, text),
    tenant_guard.validate_foreign_key(regclass, name)
    FROM PUBLIC;
-- The statement they run asks that the caller owns the table; an admin who does may unprotect it.
GRANT EXECUTE ON FUNCTION
    tenant_guard.replace_foreign_key(regclass, name, text),
    tenant_guard.validate_foreign_key(regclass, name)
    TO tenant_guard_admin;

-- No search_path: they look up names as the command they judge did, and pin it before they read
-- anything else.
CREATE FUNCTION tenant_guard.guard_command_start() RETURNS event_trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenant_guard_guard_command_start';
COMMENT ON FUNCTION tenant_guard.guard_command_start() IS
    'the event trigger before commands that leave nothing to look at afterwards';
CREATE FUNCTION tenant_guard.guard_command_end() RETURNS event_trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenant_guard_guard_command_end';
COMMENT ON FUNCTION tenant_guard.guard_command_end() IS
    'the event trigger at the end of commands: protects, records and refuses';
CREATE FUNCTION tenant_guard.guard_dropped() RETURNS event_trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenant_guard_guard_dropped';
COMMENT ON FUNCTION tenant_guard.guard_dropped() IS
    'the event trigger after objects are dropped';
-- Event triggers ask nobody for the right.
REVOKE ALL ON FUNCTION tenant_guard.guard_command_start(), tenant_guard.guard_command_end(),
    tenant_guard.guard_dropped() FROM PUBLIC;
-- A partition gets the trigger of its parent in the name of whoever makes the partition. Who else
-- may put one on a table, the guard of CREATE TRIGGER decides: members of tenant_guard_admin.
GRANT EXECUTE ON FUNCTION tenant_guard.capture(), tenant_guard.capture_truncate() TO PUBLIC;

-- Commands that are none of these pay nothing.
CREATE EVENT TRIGGER tenant_guard_command_start ON ddl_command_start
    WHEN TAG IN ('ALTER TABLE', 'ALTER INDEX', 'ALTER VIEW', 'ALTER MATERIALIZED VIEW',
        'ALTER FOREIGN TABLE', 'ALTER TYPE', 'ALTER TRIGGER', 'ALTER SCHEMA', 'ALTER EXTENSION',
        'DROP TABLE', 'DROP TRIGGER', 'DROP SCHEMA', 'DROP EXTENSION', 'DROP OWNED',
        'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE MATERIALIZED VIEW',
        'CREATE SCHEMA', 'CREATE TRIGGER', 'CREATE POLICY', 'ALTER POLICY', 'DROP POLICY',
        'CREATE VIEW', 'CREATE RULE', 'GRANT', 'REVOKE')
    EXECUTE FUNCTION tenant_guard.guard_command_start();
CREATE EVENT TRIGGER tenant_guard_command_end ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER INDEX', 'ALTER VIEW',
        'ALTER MATERIALIZED VIEW', 'ALTER POLICY', 'ALTER TRIGGER', 'ALTER SCHEMA', 'ALTER EXTENSION',
        'ALTER TYPE', 'ALTER DOMAIN', 'DROP OWNED', 'CREATE TRIGGER', 'CREATE TABLE', 'CREATE TABLE AS',
        'SELECT INTO', 'CREATE MATERIALIZED VIEW', 'REFRESH MATERIALIZED VIEW', 'CREATE FOREIGN TABLE',
        'CREATE SCHEMA', 'CREATE POLICY', 'GRANT', 'REVOKE')
    EXECUTE FUNCTION tenant_guard.guard_command_end();
-- Whatever the command is: a cascade can take a policy with a column, a type or a parent.
CREATE EVENT TRIGGER tenant_guard_dropped ON sql_drop
    EXECUTE FUNCTION tenant_guard.guard_dropped();
ALTER EVENT TRIGGER tenant_guard_command_start ENABLE ALWAYS;
ALTER EVENT TRIGGER tenant_guard_command_end ENABLE ALWAYS;
ALTER EVENT TRIGGER tenant_guard_dropped ENABLE ALWAYS;
