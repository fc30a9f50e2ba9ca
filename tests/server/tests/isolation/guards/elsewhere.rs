//! What the guards must not stop: an application's ordinary commands, and other extensions.

use tenant_guard_tests::{ACCOUNT_A, Database, lines};

use super::super::Shop;
use super::{done, members};

#[test]
fn sequence_for_each_new_account_is_made_by_a_trigger() {
    let shop = Shop::with(
        "CREATE TABLE shop.account (id uuid PRIMARY KEY, name text);
         CREATE FUNCTION shop.numbers() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
             SET search_path = pg_catalog, pg_temp AS $$
         BEGIN
             EXECUTE format('CREATE SEQUENCE shop.%I', 'numbers_' || NEW.id);
             EXECUTE format('ALTER SEQUENCE shop.%I OWNED BY shop.account.id', 'numbers_' || NEW.id);
             RETURN NEW;
         END $$;
         CREATE TRIGGER numbers AFTER INSERT ON shop.account
             FOR EACH ROW EXECUTE FUNCTION shop.numbers();
         SELECT tenant_guard.protect_schema('shop');
         SELECT tenant_guard.protect('shop.account', 'id')",
    );
    shop.within(ACCOUNT_A, |t| {
        t.batch_execute(&format!(
            "INSERT INTO shop.account VALUES ('{ACCOUNT_A}', 'a')"
        ))
        .unwrap();
    });
    let sequences = "SELECT count(*) FROM pg_sequences WHERE schemaname = 'shop'";
    assert_eq!(lines(&mut shop.db.superuser(), sequences), ["1"]);
}

#[test]
fn ordinary_commands_of_an_application_go_through() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    done(
        &mut superuser,
        &format!("CREATE SCHEMA app AUTHORIZATION {}", shop.app),
    );
    done(
        &mut shop.app(),
        "CREATE TEMP TABLE t (account_id uuid, n int) ON COMMIT DROP;
         CREATE TEMP TABLE kept (account_id uuid); DROP TABLE kept;
         CREATE TABLE app.t (id int PRIMARY KEY, account_id uuid, n int);
         ALTER TABLE app.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY p ON app.t USING (true); ALTER POLICY p ON app.t RENAME TO q;
         ALTER TABLE app.t NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
         DROP POLICY q ON app.t;
         CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER g BEFORE INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.f();
         ALTER TABLE app.t DISABLE TRIGGER ALL; ALTER TABLE app.t ENABLE TRIGGER USER;
         DROP TRIGGER g ON app.t; DROP FUNCTION app.f();
         CREATE TABLE app.p (n int) PARTITION BY LIST (n);
         CREATE TABLE app.p1 PARTITION OF app.p FOR VALUES IN (1);
         ALTER TABLE app.p DETACH PARTITION app.p1;
         ALTER TABLE app.p ATTACH PARTITION app.p1 FOR VALUES IN (1);
         CREATE TABLE app.copy (LIKE app.t INCLUDING ALL);
         CREATE TABLE app.again AS SELECT * FROM app.t;
         CREATE MATERIALIZED VIEW app.m AS SELECT * FROM app.t;
         ALTER TABLE app.t ADD COLUMN more text, DROP COLUMN n CASCADE;
         CREATE VIEW app.v AS TABLE app.t; DROP VIEW app.v;
         GRANT SELECT ON app.t TO PUBLIC;
         DROP TABLE app.p, app.copy; DROP SCHEMA app CASCADE",
    );
    assert_eq!(members(&shop), ["shop.contact|shop.contact"]);
}

#[test]
fn commands_on_protected_tables_that_weaken_nothing_go_through() {
    let shop = Shop::contacts();
    let script = format!(
        "ALTER TABLE shop.contact ADD COLUMN email text, ADD CHECK (id > 0);
         ALTER TABLE shop.contact RENAME email TO mail;
         ALTER TABLE shop.contact DROP COLUMN mail;
         CREATE INDEX ON shop.contact (name);
         CREATE POLICY mine ON shop.contact AS RESTRICTIVE USING (id > 0);
         ALTER POLICY mine ON shop.contact USING (id > 1); DROP POLICY mine ON shop.contact;
         ALTER TABLE shop.contact ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         ALTER TABLE shop.contact RENAME TO person; ALTER TABLE shop.person RENAME TO contact;
         CREATE VIEW shop.v {} AS TABLE shop.contact;
         COMMENT ON TABLE shop.contact IS 'people'",
        shop.db.invoker()
    );
    done(&mut shop.owner(), &script);
}

#[test]
fn other_extensions_install_update_and_go() {
    let shop = Shop::contacts();
    done(
        &mut shop.db.superuser(),
        "CREATE EXTENSION citext; CREATE EXTENSION pg_stat_statements;
         ALTER EXTENSION citext SET SCHEMA public; DROP EXTENSION citext",
    );
}

#[test]
fn database_without_the_extension_notices_nothing() {
    let db = Database::empty();
    done(
        &mut db.superuser(),
        "LOAD 'tenant_guard'; CREATE TABLE t (account_id uuid);
         ALTER TABLE t DISABLE TRIGGER ALL; DROP TABLE t",
    );
}

#[test]
fn hostile_search_path_leads_the_guards_nowhere() {
    let shop = Shop::contacts();
    let mut owner = shop.owner();
    done(
        &mut owner,
        "CREATE FUNCTION shop.equals(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN RAISE EXCEPTION 'planted operator ran as %', current_user; END $$;
         CREATE OPERATOR shop.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = shop.equals);
         CREATE FUNCTION shop.equals_text(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN RAISE EXCEPTION 'planted operator ran as %', current_user; END $$;
         CREATE OPERATOR shop.= (LEFTARG = text, RIGHTARG = text, FUNCTION = shop.equals_text);
         CREATE VIEW shop.pg_class AS SELECT 1 AS oid;
         CREATE FUNCTION shop.pg_event_trigger_ddl_commands() RETURNS int LANGUAGE sql RETURN 1;
         SET search_path = shop, pg_catalog;
         CREATE TABLE person () INHERITS (contact);
         CREATE TABLE copy (LIKE contact)",
    );
    super::refused(
        &mut owner,
        "DROP POLICY tenant_guard_floor ON contact",
        "42501",
        "cannot drop policy",
    );
    super::refused(
        &mut owner,
        "ALTER POLICY tenant_guard_floor ON contact USING (true)",
        "42501",
        "cannot alter policy",
    );
    assert_eq!(members(&shop).len(), 3);
}
