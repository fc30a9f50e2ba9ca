//! Who may seal, read and verify, and that nobody writes.

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, Database, expect_error, lines};

use super::{add, database, findings, seal};
use crate::capture::run;

const TABLES: [&str; 8] = [
    "audit_log",
    "audit_context",
    "ledger_account",
    "ledger_pruned",
    "ledger_block",
    "ledger_leaf",
    "ledger_checkpoint",
    "ledger_retention",
];

const FUNCTIONS: [&str; 5] = [
    "seal()",
    "ledger_status()",
    "checkpoint()",
    "verify_ledger()",
    "init_ledger()",
];

/// A session of a new ordinary role that is a member of `group`.
fn member(db: &Database, label: &str, group: &str) -> Client {
    let role = db.role(label);
    run(&mut db.superuser(), &format!("GRANT {group} TO {role}"));
    db.connect_as(&role)
}

#[test]
fn list_of_tables_is_complete() {
    let db = database();
    let tables = lines(
        &mut db.superuser(),
        "SELECT relname FROM pg_class WHERE relnamespace = 'tenant_guard'::regnamespace
           AND relkind IN ('r', 'p') AND NOT relispartition
           AND relname ~ '^(audit|ledger)_' ORDER BY relname",
    );
    let mut expected = TABLES;
    expected.sort_unstable();
    assert_eq!(tables, expected);
}

#[test]
fn ordinary_admin_seals_and_verifies() {
    let db = database();
    add(&mut db.superuser(), "one", ACCOUNT_A);
    let mut admin = member(&db, "admin", "tenant_guard_admin");
    assert_eq!(seal(&mut admin), ["1|1|1"]);
    assert_eq!(findings(&mut admin), [""; 0]);
    for function in FUNCTIONS {
        lines(&mut admin, &format!("SELECT tenant_guard.{function}"));
    }
}

#[test]
fn auditor_reads_and_verifies_and_does_nothing_else() {
    let db = database();
    let mut superuser = db.superuser();
    add(&mut superuser, "one", ACCOUNT_A);
    seal(&mut superuser);
    let mut auditor = member(&db, "auditor", "tenant_guard_auditor");
    for table in TABLES {
        let rows = lines(&mut auditor, &format!("SELECT 1 FROM tenant_guard.{table}"));
        // Nobody signed, ruled or removed anything yet.
        let empty = ["ledger_checkpoint", "ledger_pruned", "ledger_retention"].contains(&table);
        assert_eq!(rows.is_empty(), empty, "{table}");
    }
    assert_eq!(findings(&mut auditor), [""; 0]);
    for reader in ["ledger_status()", "checkpoint()"] {
        let rows = lines(&mut auditor, &format!("SELECT tenant_guard.{reader}"));
        assert_eq!(rows.len(), 1, "{reader}");
    }
    for action in ["seal()", "init_ledger()"] {
        let call = format!("SELECT tenant_guard.{action}");
        expect_error(auditor.batch_execute(&call), "42501", "permission denied");
    }
}

#[test]
fn application_role_reaches_neither_tables_nor_functions() {
    let db = database();
    let mut superuser = db.superuser();
    add(&mut superuser, "one", ACCOUNT_A);
    seal(&mut superuser);
    let mut app = db.connect_as(&db.role("app"));
    let reads = TABLES.map(|table| format!("SELECT FROM tenant_guard.{table}"));
    let calls = FUNCTIONS.map(|function| format!("SELECT tenant_guard.{function}"));
    for statement in reads.into_iter().chain(calls) {
        expect_error(app.batch_execute(&statement), "42501", "permission denied");
    }
    let writes = TABLES.map(writes_of).concat();
    for statement in writes {
        expect_error(app.batch_execute(&statement), "42501", "permission denied");
    }
}

/// One statement for each way to write a table.
fn writes_of(table: &str) -> Vec<String> {
    let column = match table {
        "ledger_account" | "ledger_pruned" => "state",
        "ledger_retention" => "keep",
        "audit_context" => "hash",
        "audit_log" | "ledger_leaf" => "leaf_hash",
        _ => "root",
    };
    vec![
        format!("INSERT INTO tenant_guard.{table} SELECT * FROM tenant_guard.{table}"),
        format!("UPDATE tenant_guard.{table} SET {column} = {column}"),
        format!("DELETE FROM tenant_guard.{table}"),
        format!("TRUNCATE tenant_guard.{table}"),
    ]
}

#[test]
fn owner_and_granted_roles_cannot_write_past_the_guards() {
    let db = database();
    let mut superuser = db.superuser();
    add(&mut superuser, "one", ACCOUNT_A);
    seal(&mut superuser);
    let granted = db.role("granted");
    run(
        &mut superuser,
        &format!("GRANT ALL ON ALL TABLES IN SCHEMA tenant_guard TO {granted}"),
    );
    let mut granted = db.connect_as(&granted);
    for replication_role in ["origin", "replica"] {
        let set = format!("SET session_replication_role = {replication_role}");
        run(&mut superuser, &set);
        for statement in TABLES.map(writes_of).concat() {
            for client in [&mut superuser, &mut granted] {
                expect_error(client.batch_execute(&statement), "55000", "is append-only");
            }
        }
    }
    // What lifts the guards for sealing must not stay lifted after it.
    add(&mut superuser, "two", ACCOUNT_A);
    seal(&mut superuser);
    let delete = "DELETE FROM tenant_guard.ledger_block";
    expect_error(superuser.batch_execute(delete), "55000", "is append-only");
    assert_eq!(findings(&mut superuser), [""; 0]);
}
