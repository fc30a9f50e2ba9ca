//! Ledgers that move: dumps restored elsewhere, another timeline, the extension dropped. Losing an
//! event silently here is the worst that can happen.

use std::sync::{Arc, LazyLock};

use postgres::Client;
use tenant_guard_tests::{Cluster, Database, await_lines, expect_error, lines};

use super::{add, audit_items, checkpoint, database, findings, findings_against, seal};
use crate::capture::{capture, run, switch_guards_off};

const EVENTS: &str = "SELECT count(*) FROM tenant_guard.audit_log";
const STATUS: &str = "SELECT blocks, events, unsealed_events FROM tenant_guard.ledger_status()";
const EPOCHS: &str = "SELECT block, epoch, timeline, events, adopted <> ''
                      FROM tenant_guard.ledger_block ORDER BY block";

/// A ledger with two blocks and three events that none holds: one was written before the second
/// block and committed after it, two came later.
fn ledger_with_unsealed_events() -> (Database, Client) {
    let db = database();
    let (mut client, mut late) = (db.superuser(), db.superuser());
    spend_transaction_ids(&mut client);
    add(&mut client, "one", "a");
    seal(&mut client);
    run(&mut late, "BEGIN; INSERT INTO item VALUES ('late', 'b')");
    add(&mut client, "two", "a");
    assert_eq!(seal(&mut client), ["2|1|1"]);
    run(&mut late, "COMMIT");
    add(&mut client, "three", "a");
    add(&mut client, "four", "c");
    assert_eq!(lines(&mut client, STATUS), ["2|5|3"]);
    (db, client)
}

/// So that a fresh cluster's ids run lower than those in the ledger.
fn spend_transaction_ids(client: &mut Client) {
    run(
        client,
        "DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$",
    );
}

#[track_caller]
fn assert_ids_run_lower(client: &mut Client) {
    let lower = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                     < (SELECT min(xid) FROM tenant_guard.audit_log)";
    assert_eq!(lines(client, lower), ["t"]);
}

/// Another cluster than the one all tests share, on which transaction ids run lower.
fn elsewhere() -> Arc<Cluster> {
    static ELSEWHERE: LazyLock<Arc<Cluster>> = LazyLock::new(|| Cluster::start(&[]));
    Arc::clone(&ELSEWHERE)
}

/// Copies a database into a new one of a cluster.
fn restored(db: &Database, cluster: &Arc<Cluster>, format: &str) -> Database {
    let copy = cluster.empty_database();
    match format {
        "plain" => copy.restore(&db.pg_dump(&[])),
        _ => copy.pg_restore(
            &["--single-transaction"],
            &db.pg_dump(&["--format", format]),
        ),
    }
    copy
}

#[track_caller]
fn check_restored(format: &str) {
    let (db, mut original) = ledger_with_unsealed_events();
    let earlier = checkpoint(&mut original);
    let copy = restored(&db, &elsewhere(), format);
    let mut client = copy.superuser();
    assert_ids_run_lower(&mut client);
    assert_eq!(lines(&mut client, STATUS), ["2|5|3"]);
    assert_eq!(findings(&mut client), [""; 0]);

    add(&mut client, "new", "b");
    assert_eq!(lines(&mut client, STATUS), ["2|6|4"]);
    assert_eq!(findings(&mut client), [""; 0]);
    assert_eq!(seal(&mut client), ["3|4|3"]);
    assert_eq!(seal(&mut client), [""; 0]);
    add(&mut client, "newer", "a");
    assert_eq!(seal(&mut client), ["4|1|1"]);
    assert_eq!(
        lines(&mut client, EPOCHS),
        ["1|1|1|1|f", "2|1|1|1|f", "3|2|1|4|t", "4|2|1|1|f"]
    );
    assert_eq!(findings(&mut client), [""; 0]);
    assert_eq!(lines(&mut client, EVENTS), ["7"]);

    // What was witnessed of the old epoch still binds the copy.
    assert_eq!(findings_against(&mut client, &earlier), [""; 0]);
    let now = checkpoint(&mut client);
    assert_eq!(findings_against(&mut client, &now), [""; 0]);
    // The original goes its own way from there.
    assert_eq!(seal(&mut original), ["3|3|3"]);
    let fork = checkpoint(&mut original);
    assert_eq!(
        findings_against(&mut client, &fork),
        ["checkpoint_mismatch"]
    );
    assert_eq!(
        findings_against(&mut original, &now),
        ["checkpoint_truncated"]
    );
}

#[test]
fn plain_dump_loses_no_event_and_seals_on() {
    check_restored("plain");
}

#[test]
fn archive_loses_no_event_and_seals_on() {
    check_restored("custom");
}

#[test]
fn copy_of_a_copy_that_never_sealed_loses_no_event() {
    let (first, mut original) = ledger_with_unsealed_events();
    let second = restored(&first, &elsewhere(), "plain");
    let mut client = second.superuser();
    add(&mut client, "in the second", "a");
    run(
        &mut client,
        "INSERT INTO item VALUES ('and', 'd'), ('more', 'd')",
    );
    assert_eq!(lines(&mut client, STATUS), ["2|8|6"]);
    // Back in the first cluster, as a database that was moved out and home again.
    let third = restored(&second, &Cluster::shared(), "custom");
    let mut client = third.superuser();
    assert_eq!(lines(&mut client, STATUS), ["2|8|6"]);
    add(&mut client, "in the third", "a");
    assert_eq!(findings(&mut client), [""; 0]);
    assert_eq!(seal(&mut client), ["3|7|4"]);
    assert_eq!(seal(&mut client), [""; 0]);
    let adopted = "SELECT cardinality(string_to_array(adopted, ','))
                   FROM tenant_guard.ledger_block WHERE block = 3";
    assert_eq!(lines(&mut client, adopted), ["2"]);
    assert_eq!(findings(&mut client), [""; 0]);
    let earlier = checkpoint(&mut original);
    assert_eq!(findings_against(&mut client, &earlier), [""; 0]);
}

#[test]
fn copy_of_a_ledger_that_never_sealed_begins_with_its_events() {
    let db = database();
    let mut client = db.superuser();
    spend_transaction_ids(&mut client);
    add(&mut client, "one", "a");
    let copy = restored(&db, &elsewhere(), "plain");
    let mut client = copy.superuser();
    assert_ids_run_lower(&mut client);
    assert_eq!(findings(&mut client), [""; 0]);
    // Nothing new is written, and what came along is still sealed.
    assert_eq!(seal(&mut client), ["1|1|1"]);
    add(&mut client, "two", "a");
    assert_eq!(seal(&mut client), ["2|1|1"]);
    assert_eq!(lines(&mut client, EPOCHS), ["1|1|1|1|t", "2|1|1|1|f"]);
    assert_eq!(findings(&mut client), [""; 0]);
}

/// A copy made inside the server, by CREATE DATABASE ... TEMPLATE.
#[test]
fn copy_in_the_same_cluster_is_another_incarnation() {
    let cluster = Cluster::start(&[]);
    let db = cluster.database();
    let mut client = db.superuser();
    run(&mut client, "SELECT tenant_guard.init_ledger()");
    audit_items(&mut client);
    add(&mut client, "one", "a");
    seal(&mut client);
    add(&mut client, "two", "a");
    drop(client);
    let copy = cluster.copy_of(&db);
    let mut client = copy.superuser();
    assert_eq!(lines(&mut client, STATUS), ["1|2|1"]);
    add(&mut client, "three", "b");
    assert_eq!(seal(&mut client), ["2|2|2"]);
    assert_eq!(lines(&mut client, EPOCHS), ["1|1|1|1|f", "2|2|1|2|t"]);
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn new_timeline_opens_an_epoch() {
    let cluster = Cluster::start(&["restore_command=false"]);
    let db = cluster.database();
    let mut client = db.superuser();
    run(&mut client, "SELECT tenant_guard.init_ledger()");
    audit_items(&mut client);
    add(&mut client, "one", "a");
    seal(&mut client);
    let earlier = checkpoint(&mut client);
    add(&mut client, "two", "a");
    // Recovery that finds no archive ends at once, on the next timeline.
    std::fs::write(cluster.directory().join("data/recovery.signal"), "").unwrap();
    cluster.restart();
    let mut client = db.superuser();
    await_lines(&mut client, "SELECT pg_is_in_recovery()", &["f"]);
    add(&mut client, "three", "b");
    assert_eq!(findings(&mut client), [""; 0]);
    assert_eq!(seal(&mut client), ["2|2|2"]);
    assert_eq!(lines(&mut client, EPOCHS), ["1|1|1|1|f", "2|2|2|2|f"]);
    assert_eq!(findings_against(&mut client, &earlier), [""; 0]);
}

#[test]
fn event_brought_in_after_the_first_block_is_reported() {
    let (db, _original) = ledger_with_unsealed_events();
    let copy = restored(&db, &elsewhere(), "plain");
    let mut client = copy.superuser();
    assert_eq!(seal(&mut client), ["3|3|3"]);
    switch_guards_off(&mut client);
    run(
        &mut client,
        "ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard;
         INSERT INTO tenant_guard.audit_log
         SELECT (jsonb_populate_record(l, '{\"xid\": 900000}')).*
         FROM tenant_guard.audit_log l ORDER BY xid LIMIT 1",
    );
    let found = lines(&mut client, "SELECT code FROM tenant_guard.verify_ledger()");
    assert!(found.contains(&"event_unclaimed".to_owned()), "{found:?}");
}

#[test]
fn ledger_goes_on_after_the_extension_was_dropped() {
    let (_db, mut client) = ledger_with_unsealed_events();
    let earlier = checkpoint(&mut client);
    switch_guards_off(&mut client);
    run(
        &mut client,
        "DROP EXTENSION tenant_guard CASCADE; INSERT INTO item VALUES ('unseen', 'a')",
    );
    expect_error(
        client.batch_execute("SELECT tenant_guard.seal()"),
        "42883",
        "does not exist",
    );
    run(&mut client, "CREATE EXTENSION tenant_guard");
    capture(&mut client, "item", "account_id", "");
    assert_eq!(findings_against(&mut client, &earlier), [""; 0]);
    add(&mut client, "five", "a");
    assert_eq!(seal(&mut client), ["3|4|3"]);
    assert_eq!(findings_against(&mut client, &earlier), [""; 0]);
    for table in [
        "audit_log",
        "audit_context",
        "ledger_account",
        "ledger_block",
        "ledger_leaf",
    ] {
        expect_error(
            client.batch_execute(&format!("DELETE FROM tenant_guard.{table}")),
            "55000",
            "is append-only",
        );
    }
}
