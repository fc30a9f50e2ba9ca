//! What stands on a protected relation, and commands that would take it away one by one.

use tenant_guard_tests::{ACCOUNT_A, lines};

use super::super::Shop;
use super::{done, findings, refused};

/// Each command alone would take something of protection away.
const WEAKENING: [(&str, &str); 14] = [
    (
        "ALTER TABLE shop.contact DISABLE ROW LEVEL SECURITY",
        "disable row security",
    ),
    (
        "ALTER TABLE shop.contact ADD COLUMN n int, NO FORCE ROW LEVEL SECURITY",
        "take FORCE off row security",
    ),
    (
        "ALTER TABLE shop.contact DISABLE TRIGGER tenant_guard_capture",
        "disable trigger \"tenant_guard_capture\"",
    ),
    (
        "ALTER TABLE shop.contact DISABLE TRIGGER ALL",
        "disable the triggers",
    ),
    (
        "ALTER TABLE shop.contact DISABLE TRIGGER USER",
        "disable the triggers",
    ),
    (
        "ALTER TABLE shop.contact ENABLE TRIGGER tenant_guard_capture",
        "change the firing of trigger \"tenant_guard_capture\"",
    ),
    (
        "ALTER TABLE shop.contact ENABLE REPLICA TRIGGER tenant_guard_capture_truncate",
        "change the firing of trigger \"tenant_guard_capture_truncate\"",
    ),
    (
        "ALTER TABLE shop.contact ENABLE TRIGGER ALL",
        "change the firing of the triggers",
    ),
    (
        "DROP POLICY tenant_guard_floor ON shop.contact",
        "drop policy \"tenant_guard_floor\"",
    ),
    (
        "DROP TRIGGER tenant_guard_capture ON shop.contact",
        "drop trigger \"tenant_guard_capture\"",
    ),
    (
        "ALTER TABLE shop.contact DROP COLUMN account_id CASCADE",
        "drop policy",
    ),
    (
        "ALTER POLICY tenant_guard_floor ON shop.contact USING (true)",
        "alter policy \"tenant_guard_floor\"",
    ),
    (
        "ALTER POLICY tenant_guard_floor ON shop.contact RENAME TO away",
        "rename policy \"tenant_guard_floor\"",
    ),
    (
        "ALTER TRIGGER tenant_guard_capture ON shop.contact RENAME TO away",
        "rename trigger \"tenant_guard_capture\"",
    ),
];

#[test]
fn taking_a_part_of_protection_away_is_refused_to_owner_and_superuser() {
    let shop = Shop::contacts();
    let before = shop.dump();
    let mut owner = shop.owner();
    let mut superuser = shop.db.superuser();
    let mut replica = shop.db.superuser();
    done(&mut replica, "SET session_replication_role = replica");
    for (command, what) in WEAKENING {
        let message = format!("cannot {what}");
        refused(&mut owner, command, "42501", &message);
        refused(&mut superuser, command, "42501", &message);
        refused(&mut replica, command, "42501", &message);
    }
    assert_eq!(shop.dump(), before);
}

#[test]
fn superuser_lets_a_command_through_and_leaves_an_event() {
    for (command, what) in WEAKENING {
        let shop = Shop::contacts();
        done(&mut shop.unguarded(), command);
        let event = "SELECT action, relation, account_id, kind, data::jsonb ->> 'passed'
             FROM tenant_guard.audit_log WHERE action = 'guards off' ORDER BY ordinal LIMIT 1";
        let found = lines(&mut shop.db.superuser(), event);
        assert_eq!(found.len(), 1, "{command}");
        assert!(
            found[0].starts_with(&format!("guards off|shop.contact||system|cannot {what}")),
            "{found:?}"
        );
    }
}

#[test]
fn only_a_superuser_may_switch_the_guards_off() {
    let shop = Shop::contacts();
    let set = "SELECT tenant_guard.is_authenticated(); SET tenant_guard.guards = off";
    let message = "permission denied to set parameter";
    refused(&mut shop.owner(), set, "42501", message);
    refused(&mut shop.app(), set, "42501", message);
    // Before the library is loaded any name is taken, and comes to nothing.
    let mut early = shop.app();
    done(
        &mut early,
        "SET tenant_guard.guards = off; SELECT tenant_guard.is_authenticated()",
    );
    let mut placed = shop
        .db
        .connect_with_options(&shop.app, "-c tenant_guard.guards=off");
    let _ = placed.batch_execute("SELECT tenant_guard.is_authenticated()");
    let value = "SELECT current_setting('tenant_guard.guards')";
    assert_eq!(lines(&mut placed, value), ["on"]);
    assert_eq!(lines(&mut early, value), ["on"]);
}

#[test]
fn giving_a_protected_relation_to_somebody_who_logs_in_is_refused() {
    let shop = Shop::contacts();
    let login = shop.db.role("login");
    let nobody = format!("{}_other_owner", shop.db.name());
    let mut superuser = shop.db.superuser();
    done(&mut superuser, &format!("CREATE ROLE {nobody} NOLOGIN"));
    refused(
        &mut superuser,
        &format!("ALTER TABLE shop.contact OWNER TO {login}"),
        "42501",
        &format!("shop.contact cannot belong to role \"{login}\", which can log in"),
    );
    for owner in ["postgres", &nobody, &shop.owner] {
        done(
            &mut superuser,
            &format!("ALTER TABLE shop.contact OWNER TO {owner}"),
        );
    }
    done(
        &mut superuser,
        &format!("REASSIGN OWNED BY {} TO {nobody}", shop.owner),
    );
}

#[test]
fn a_detached_partition_keeps_its_floor_when_its_root_goes() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid NOT NULL, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES IN (1);
         SELECT tenant_guard.protect('shop.t');
         ALTER TABLE shop.t DETACH PARTITION shop.t1;
         DROP TABLE shop.t",
    );
    let mut owner = shop.owner();
    for (command, what) in [
        ("DROP POLICY tenant_guard_floor ON shop.t1", "drop"),
        (
            "ALTER POLICY tenant_guard_floor ON shop.t1 USING (true)",
            "alter",
        ),
    ] {
        let message =
            format!("cannot {what} policy \"tenant_guard_floor\" of protected relation shop.t1");
        refused(&mut owner, command, "42501", &message);
    }
    done(&mut owner, "SELECT tenant_guard.unprotect('shop.t1')");
    let left =
        "SELECT relrowsecurity, (SELECT count(*) FROM pg_policy AS p WHERE p.polrelid = c.oid),
                (SELECT count(*) FROM pg_trigger AS t WHERE t.tgrelid = c.oid)
                FROM pg_class AS c WHERE oid = 'shop.t1'::regclass";
    assert_eq!(lines(&mut owner, left), ["f|0|0"]);
    done(&mut owner, "DROP TABLE shop.t1");
}

#[test]
fn a_trigger_in_the_place_of_capture_is_refused() {
    let shop = Shop::contacts();
    let mut owner = shop.owner();
    done(
        &mut owner,
        "CREATE FUNCTION shop.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    );
    for trigger in [
        "AFTER INSERT ON shop.contact FOR EACH ROW EXECUTE FUNCTION shop.nothing()",
        "AFTER INSERT OR UPDATE OR DELETE ON shop.contact FOR EACH ROW WHEN (false)
             EXECUTE FUNCTION tenant_guard.capture('account_id', '{}')",
        "AFTER INSERT OR UPDATE OR DELETE ON shop.contact FOR EACH ROW
             EXECUTE FUNCTION tenant_guard.capture('account_id', '{name}')",
    ] {
        refused(
            &mut owner,
            &format!("CREATE OR REPLACE TRIGGER tenant_guard_capture {trigger}"),
            "42501",
            "cannot replace trigger \"tenant_guard_capture\" of protected relation shop.contact",
        );
    }
    done(
        &mut owner,
        "CREATE TRIGGER mine AFTER INSERT ON shop.contact FOR EACH ROW
             EXECUTE FUNCTION shop.nothing();
         ALTER TABLE shop.contact DISABLE TRIGGER mine;
         ALTER TABLE shop.contact ENABLE ALWAYS TRIGGER tenant_guard_capture;
         DROP TRIGGER mine ON shop.contact",
    );
}

#[test]
fn forging_events_with_a_capture_trigger_of_ones_own_is_refused() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    done(
        &mut superuser,
        &format!("CREATE SCHEMA mine AUTHORIZATION {}", shop.app),
    );
    let mut app = shop.app();
    done(&mut app, "CREATE TABLE mine.t (account_id uuid)");
    for statement in [
        "CREATE TRIGGER tenant_guard_capture AFTER INSERT ON mine.t FOR EACH ROW
             EXECUTE FUNCTION tenant_guard.capture('account_id', '{}')",
        "CREATE TRIGGER any_name AFTER TRUNCATE ON mine.t FOR EACH STATEMENT
             EXECUTE FUNCTION tenant_guard.capture_truncate('account_id', '{}')",
        "CREATE CONSTRAINT TRIGGER any_name AFTER INSERT ON mine.t FOR EACH ROW
             EXECUTE FUNCTION tenant_guard.capture('account_id', '{}')",
    ] {
        refused(
            &mut app,
            statement,
            "42501",
            "permission denied for function capture",
        );
    }
}

#[test]
fn a_policy_that_a_parents_or_types_cascade_would_take_stays() {
    let shop = Shop::with(
        "CREATE TYPE shop.kind AS ENUM ('thread');
         CREATE TABLE shop.thread (id int PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.note (id int PRIMARY KEY, parent_id int, kind shop.kind);
         SELECT tenant_guard.protect('shop.thread');
         SELECT tenant_guard.protect('shop.note', via => 'parent_id', type_column => 'kind',
             parents => '{\"thread\": \"shop.thread\"}')",
    );
    let mut owner = shop.owner();
    let message = "of protected relation shop.note";
    for command in [
        "DROP TABLE shop.thread CASCADE",
        "DROP TYPE shop.kind CASCADE",
        "ALTER TABLE shop.note DROP COLUMN parent_id CASCADE",
    ] {
        refused(&mut owner, command, "42501", message);
    }
    done(&mut owner, "DROP TABLE shop.thread, shop.note CASCADE");
}

#[test]
fn a_schema_put_in_the_place_of_the_real_one_hides_nothing() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    // The check of the new constraint runs the owner's code before the command ends.
    done(
        &mut superuser,
        &format!(
            "GRANT CREATE ON DATABASE {} TO {}",
            shop.db.name(),
            shop.owner
        ),
    );
    let mut owner = shop.owner();
    done(
        &mut owner,
        "CREATE FUNCTION shop.swap(int) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
             IF to_regnamespace('aside') IS NULL THEN
                 ALTER SCHEMA shop RENAME TO aside;
                 CREATE SCHEMA shop;
                 CREATE TABLE shop.contact (id int, account_id uuid, name text);
             END IF;
             RETURN true;
         END $$",
    );
    for weakening in [
        "DROP COLUMN account_id CASCADE",
        "DISABLE ROW LEVEL SECURITY",
    ] {
        refused(
            &mut superuser,
            &format!("ALTER TABLE shop.contact ADD CHECK (shop.swap(id)), {weakening}"),
            "42501",
            "of protected relation aside.contact",
        );
    }
}

#[test]
fn unprotect_protect_and_plans_run_under_the_guards() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (id int PRIMARY KEY, account_id uuid, org uuid NOT NULL, n int)
             PARTITION BY LIST (id);
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES IN (1)",
    );
    let mut owner = shop.owner();
    let before = shop.dump();
    let runs = |owner: &mut postgres::Client, arguments: &str| {
        let plan = format!("SELECT statement FROM tenant_guard.protection_plan({arguments})");
        for statement in lines(owner, &plan) {
            done(owner, &statement);
        }
        let left = format!("SELECT count(*) FROM tenant_guard.protection_plan({arguments})");
        assert_eq!(lines(owner, &left), ["0"], "{arguments}");
    };
    let role = format!("roles => '{{{}}}'", shop.app);
    for arguments in [
        "'shop.t'",
        "'shop.t', redact => '{n}'",
        &format!("'shop.t', {role}"),
        "'shop.t', 'org'",
        "'shop.t', audit => false",
        "'shop.t'",
        "'shop.t', archetype => 'deny_all'",
        "'shop.t', archetype => 'public_read'",
    ] {
        runs(&mut owner, arguments);
    }
    // A policy of somebody's under our name is replaced by the plan.
    done(
        &mut owner,
        "SELECT tenant_guard.unprotect('shop.t');
         CREATE POLICY tenant_guard_floor ON shop.t USING (true)",
    );
    runs(&mut owner, "'shop.t'");
    done(&mut owner, "SELECT tenant_guard.unprotect('shop.t')");
    assert_eq!(shop.dump(), before);
}

#[test]
fn levels_of_assurance_come_and_go_under_the_guards() {
    let shop = Shop::contacts();
    let mut owner = shop.owner();
    let require = |level: &str| {
        format!("SELECT tenant_guard.require_assurance('shop.contact', {level}, '{{delete}}')")
    };
    done(&mut owner, &require("'aal2'"));
    refused(
        &mut owner,
        "DROP POLICY tenant_guard_assurance_delete ON shop.contact",
        "42501",
        "cannot drop policy \"tenant_guard_assurance_delete\"",
    );
    done(&mut owner, &require("'aal3'"));
    assert_eq!(findings(&shop), [""; 0]);
    done(&mut owner, &require("NULL"));
    assert_eq!(findings(&shop), [""; 0]);
}

#[test]
fn a_role_that_policies_name_goes_with_drop_owned() {
    let shop = Shop::with("CREATE TABLE shop.t (id int, account_id uuid)");
    let mut owner = shop.owner();
    done(
        &mut owner,
        &format!(
            "SELECT tenant_guard.protect('shop.t', roles => '{{{}}}')",
            shop.app
        ),
    );
    done(
        &mut shop.db.superuser(),
        &format!("DROP OWNED BY {0}; DROP ROLE {0}", shop.app),
    );
    let floor = "SELECT polname FROM pg_policy";
    assert_eq!(
        lines(&mut shop.db.superuser(), floor),
        ["tenant_guard_floor"]
    );
}

#[test]
fn dropping_protected_tables_and_their_schema_is_nobodys_business() {
    let shop = Shop::contacts();
    let mut owner = shop.owner();
    done(
        &mut owner,
        "CREATE TABLE shop.t (account_id uuid, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES IN (1);
         SELECT tenant_guard.protect('shop.t');
         DROP TABLE shop.t1; DROP TABLE shop.t",
    );
    done(&mut owner, "DROP SCHEMA shop CASCADE");
}

#[test]
fn validating_a_foreign_key_sees_every_row_under_force() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.parent (id int, account_id uuid, UNIQUE (account_id, id));
         CREATE TABLE shop.child (parent_id int, account_id uuid);
         INSERT INTO shop.child VALUES (7, '{ACCOUNT_A}');
         SELECT tenant_guard.protect_schema('shop')"
    ));
    let mut owner = shop.owner();
    let definition = "FOREIGN KEY (account_id, parent_id) REFERENCES shop.parent (account_id, id)";
    let replace = |definition: &str| {
        format!("SELECT tenant_guard.replace_foreign_key('shop.child', 'key', '{definition}')")
    };
    refused(
        &mut owner,
        &replace(definition),
        "23503",
        "violates foreign key constraint \"key\"",
    );
    done(&mut owner, &replace(&format!("{definition} NOT VALID")));
    let validate = "SELECT tenant_guard.validate_foreign_key('shop.child', 'key')";
    refused(
        &mut owner,
        validate,
        "23503",
        "violates foreign key constraint \"key\"",
    );
    for other in [
        "CHECK (true)",
        &format!("{definition}; DROP TABLE shop.parent"),
        &format!("{definition}, DISABLE ROW LEVEL SECURITY"),
    ] {
        refused(
            &mut owner,
            &replace(other),
            "22023",
            "must be that of one foreign key",
        );
    }
    done(
        &mut shop.db.superuser(),
        &format!("INSERT INTO shop.parent VALUES (7, '{ACCOUNT_A}')"),
    );
    done(&mut owner, validate);
    let valid = "SELECT convalidated FROM pg_constraint WHERE conname = 'key'";
    assert_eq!(lines(&mut owner, valid), ["t"]);
    assert_eq!(findings(&shop), [""; 0]);
    refused(
        &mut shop.app(),
        validate,
        "42501",
        "permission denied for function",
    );
}
