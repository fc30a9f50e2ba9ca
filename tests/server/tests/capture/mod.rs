//! Capture: what stands in the log after a change, and what never does.

mod audited;
mod changes;
mod commands;
mod events;
mod leaving;
mod log_tables;
pub(crate) mod partitions;
mod personal;
mod swapped;
mod values;

use postgres::{Client, GenericClient};
use tenant_guard_tests::{Database, lines};

/// A database with a ledger.
pub(crate) fn database() -> Database {
    let db = Database::new();
    run(&mut db.superuser(), "SELECT tenant_guard.init_ledger()");
    db
}

#[track_caller]
pub(crate) fn run(client: &mut impl GenericClient, statements: &str) {
    if let Err(error) = client.batch_execute(statements) {
        panic!("{statements}: {error:?}");
    }
}

/// Puts the triggers on a table that `protect` would.
#[track_caller]
pub(crate) fn capture(client: &mut Client, table: &str, account_column: &str, redact: &str) {
    for (name, events, function, each) in [
        ("", "INSERT OR UPDATE OR DELETE", "capture", "ROW"),
        ("_truncate", "TRUNCATE", "capture_truncate", "STATEMENT"),
    ] {
        run(
            client,
            &format!(
                "CREATE TRIGGER tenant_guard_capture{name} AFTER {events} ON {table}
                 FOR EACH {each} EXECUTE FUNCTION
                 tenant_guard.{function}('{account_column}', '{{{redact}}}');
                 ALTER TABLE {table} ENABLE ALWAYS TRIGGER tenant_guard_capture{name};"
            ),
        );
    }
}

/// Switches the event triggers off that refuse to alter the ledger, as a superuser can who means to.
#[track_caller]
pub(crate) fn switch_guards_off(client: &mut impl GenericClient) {
    for name in ["command_start", "command_end", "dropped"] {
        run(
            client,
            &format!("ALTER EVENT TRIGGER tenant_guard_{name} DISABLE"),
        );
    }
}

/// These columns of the log, in the order of changes.
#[track_caller]
pub(crate) fn log(client: &mut impl GenericClient, columns: &str) -> Vec<String> {
    let order = "ORDER BY xid, command_id, ordinal";
    lines(
        client,
        &format!("SELECT {columns} FROM tenant_guard.audit_event {order}"),
    )
}
