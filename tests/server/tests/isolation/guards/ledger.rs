//! The ledger, and the extension and schema it depends on.

use tenant_guard_tests::{Database, lines};

use super::super::Shop;
use super::{done, refused};
use crate::capture::partitions::this_month;

#[test]
fn dropping_what_the_ledger_depends_on_is_refused() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    for (command, what) in [
        ("DROP EXTENSION tenant_guard", "drop extension tenant_guard"),
        (
            "DROP EXTENSION tenant_guard CASCADE",
            "drop extension tenant_guard",
        ),
        (
            "DROP SCHEMA shop, tenant_guard CASCADE",
            "drop schema tenant_guard",
        ),
        (
            "DROP OWNED BY CURRENT_USER",
            "drop what the owner of tenant_guard owns",
        ),
    ] {
        refused(
            &mut superuser,
            command,
            "55000",
            &format!("cannot {what}: the audit ledger holds events"),
        );
    }
    done(
        &mut superuser,
        "SET tenant_guard.guards = off; DROP EXTENSION tenant_guard CASCADE",
    );
    let left = "SELECT action, data::jsonb ->> 'passed' FROM tenant_guard.audit_log
                WHERE action = 'guards off'";
    assert_eq!(
        lines(&mut superuser, left),
        ["guards off|cannot drop extension tenant_guard: the audit ledger holds events"]
    );
}

#[test]
fn extension_without_events_may_go() {
    let db = Database::new();
    done(
        &mut db.superuser(),
        "SELECT tenant_guard.init_ledger(); DROP EXTENSION tenant_guard CASCADE;
         DROP SCHEMA tenant_guard CASCADE; CREATE EXTENSION tenant_guard",
    );
}

#[test]
fn altering_a_ledger_table_is_refused_to_the_superuser() {
    let shop = Shop::contacts();
    let login = shop.db.role("login");
    let mut superuser = shop.db.superuser();
    let mut refused = |command: &str, message: &str| {
        refused(&mut superuser, command, "55000", message);
    };
    for alter in [
        "ADD COLUMN extra int",
        "DROP COLUMN data",
        "ALTER action TYPE varchar",
        "DISABLE TRIGGER tenant_guard_guard",
        "DISABLE TRIGGER ALL",
        "ENABLE TRIGGER tenant_guard_guard",
        "DROP CONSTRAINT audit_log_redacted_check",
        "DETACH PARTITION tenant_guard.audit_log_default",
        "ENABLE ROW LEVEL SECURITY",
        "SET UNLOGGED",
        &format!("OWNER TO {login}"),
    ] {
        for table in ["tenant_guard.audit_log", "ONLY tenant_guard.audit_log"] {
            let alter = format!("ALTER TABLE {table} {alter}");
            refused(&alter, "cannot alter ledger table \"audit_log\"");
        }
    }
    for (command, message) in [
        (
            "ALTER TABLE tenant_guard.audit_log RENAME TO log",
            "cannot rename",
        ),
        (
            "ALTER INDEX tenant_guard.audit_log RENAME TO log",
            "cannot rename",
        ),
        (
            "ALTER TABLE tenant_guard.audit_log RENAME action TO act",
            "cannot rename",
        ),
        (
            "ALTER TABLE tenant_guard.audit_log SET SCHEMA public",
            "cannot move",
        ),
        ("DROP TABLE tenant_guard.audit_log", "cannot drop"),
        (
            "DROP TABLE shop.contact, tenant_guard.ledger_block CASCADE",
            "cannot drop",
        ),
        (
            "SET search_path = tenant_guard; DROP TABLE ledger_leaf",
            "cannot drop ledger table \"ledger_leaf\"",
        ),
        (
            "DROP TRIGGER tenant_guard_guard ON tenant_guard.audit_log",
            "cannot drop the guard trigger of ledger table \"audit_log\"",
        ),
        (
            "ALTER SCHEMA tenant_guard RENAME TO aside",
            "cannot rename schema tenant_guard",
        ),
        (
            "ALTER EXTENSION tenant_guard ADD TABLE tenant_guard.audit_log",
            "cannot change the members of extension tenant_guard",
        ),
        (
            "ALTER EXTENSION tenant_guard DROP EVENT TRIGGER tenant_guard_dropped",
            "cannot change the members of extension tenant_guard",
        ),
    ] {
        refused(command, message);
    }
}

#[test]
fn what_a_restore_does_to_ledger_tables_is_free() {
    let shop = Shop::contacts();
    done(
        &mut shop.db.superuser(),
        "ALTER TABLE tenant_guard.audit_log OWNER TO postgres;
         ALTER TABLE tenant_guard.audit_log ENABLE ALWAYS TRIGGER tenant_guard_guard;
         ALTER TABLE tenant_guard.audit_log ALTER data SET STORAGE EXTENDED;
         ALTER TABLE tenant_guard.audit_log ALTER data SET STATISTICS 10;
         ALTER TABLE tenant_guard.audit_log_default SET (fillfactor = 90);
         ALTER TABLE tenant_guard.audit_log ADD CHECK (ordinal >= 0);
         CREATE INDEX ON tenant_guard.audit_log (account_id);
         CREATE TABLE public.audit_log (n int); ALTER TABLE public.audit_log ADD m int;
         DROP TABLE public.audit_log",
    );
}

#[test]
fn guards_that_are_switched_off_are_found() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    let found = |shop: &Shop| shop.check("severity, code, object, detail");
    for (damage, detail) in [
        ("DISABLE", "event trigger is disabled"),
        ("ENABLE", "event trigger does not fire always"),
        ("ENABLE REPLICA", "event trigger does not fire always"),
    ] {
        done(
            &mut superuser,
            &format!("ALTER EVENT TRIGGER tenant_guard_dropped {damage}"),
        );
        assert_eq!(
            found(&shop),
            [format!(
                "error|15-guard-disabled|tenant_guard_dropped|{detail}"
            )]
        );
        for fix in shop.check("fix") {
            done(&mut superuser, &fix);
        }
        assert_eq!(found(&shop), [""; 0]);
    }
    done(
        &mut superuser,
        "SET tenant_guard.guards = off;
         ALTER EXTENSION tenant_guard DROP EVENT TRIGGER tenant_guard_dropped;
         DROP EVENT TRIGGER tenant_guard_dropped",
    );
    assert_eq!(
        found(&shop),
        ["error|15-guard-disabled|tenant_guard_dropped|event trigger is missing"]
    );
}

#[test]
fn taking_a_partition_of_the_log_apart_is_refused_to_the_superuser() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    let month = this_month();
    let name = month.replace("tenant_guard.", "");
    done(
        &mut superuser,
        "CREATE TABLE public.audit_log_2001_01 (LIKE tenant_guard.audit_log);
         CREATE TABLE tenant_guard.stray (LIKE tenant_guard.audit_log)",
    );
    for (command, message) in [
        (
            format!("ALTER TABLE tenant_guard.audit_log DETACH PARTITION {month}"),
            "cannot alter ledger table \"audit_log\"".to_owned(),
        ),
        (
            format!("ALTER TABLE tenant_guard.audit_log DETACH PARTITION {month} CONCURRENTLY"),
            "cannot alter ledger table \"audit_log\"".to_owned(),
        ),
        (
            "ALTER TABLE tenant_guard.audit_log ATTACH PARTITION tenant_guard.stray
                 FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')"
                .to_owned(),
            "cannot alter ledger table \"audit_log\"".to_owned(),
        ),
        (
            "ALTER TABLE tenant_guard.audit_log ATTACH PARTITION public.audit_log_2001_01
                 FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')"
                .to_owned(),
            "cannot alter ledger table \"audit_log\"".to_owned(),
        ),
        (
            format!("DROP TABLE {month}"),
            format!("cannot drop ledger table \"{name}\""),
        ),
        (
            format!("ALTER TABLE {month} DISABLE TRIGGER tenant_guard_guard"),
            format!("cannot alter ledger table \"{name}\""),
        ),
        (
            format!("DROP TRIGGER tenant_guard_guard ON {month}"),
            format!("cannot drop the guard trigger of ledger table \"{name}\""),
        ),
        (
            format!("ALTER TABLE {month} RENAME TO aside"),
            format!("cannot rename ledger table \"{name}\""),
        ),
        (
            format!("ALTER TABLE {month} SET SCHEMA public"),
            format!("cannot move ledger table \"{name}\""),
        ),
        (
            "DROP TABLE tenant_guard.audit_context_default".to_owned(),
            "cannot drop ledger table \"audit_context_default\"".to_owned(),
        ),
    ] {
        refused(&mut superuser, &command, "55000", &message);
    }
    // Old months may go to cheaper disks.
    done(
        &mut superuser,
        &format!("ALTER TABLE {month} SET TABLESPACE pg_default"),
    );
}

#[test]
fn changing_what_shows_the_ledger_is_refused_to_the_superuser() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    for (command, what) in [
        (
            "CREATE OR REPLACE VIEW tenant_guard.audit_event AS SELECT 1 AS event_id",
            "replace view \"audit_event\" of tenant_guard",
        ),
        (
            "SET search_path = tenant_guard; CREATE OR REPLACE VIEW protected_relation AS SELECT 1",
            "replace view \"protected_relation\" of tenant_guard",
        ),
        (
            "ALTER VIEW tenant_guard.audit_event SET (security_barrier)",
            "alter view \"audit_event\" of tenant_guard",
        ),
        (
            "ALTER VIEW tenant_guard.audit_event RENAME COLUMN action TO deed",
            "rename view \"audit_event\" of tenant_guard",
        ),
        (
            "ALTER VIEW tenant_guard.audit_event SET SCHEMA public",
            "move view \"audit_event\" of tenant_guard",
        ),
        (
            "CREATE RULE quiet AS ON INSERT TO tenant_guard.audit_event DO INSTEAD NOTHING",
            "put a rule on view \"audit_event\" of tenant_guard",
        ),
        (
            "CREATE RULE quiet AS ON INSERT TO tenant_guard.ledger_block DO INSTEAD NOTHING",
            "put a rule on ledger table \"ledger_block\"",
        ),
    ] {
        refused(&mut superuser, command, "55000", &format!("cannot {what}"));
    }
    done(
        &mut superuser,
        "SET search_path = public, tenant_guard;
         CREATE OR REPLACE VIEW audit_event AS SELECT 1 AS n;
         CREATE OR REPLACE VIEW audit_event AS SELECT 1 AS n, 2 AS m;
         CREATE OR REPLACE TEMPORARY VIEW audit_event AS SELECT 1 AS n;
         ALTER VIEW tenant_guard.audit_event OWNER TO CURRENT_USER;
         DROP VIEW tenant_guard.audit_event; SELECT tenant_guard.init_ledger()",
    );
}
