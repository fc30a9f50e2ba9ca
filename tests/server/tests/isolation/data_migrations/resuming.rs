//! What stays when a run ends early, and how it goes on.

use std::thread;

use tenant_guard_tests::{await_lines, expect_error};

use super::*;

/// A row of the last account stands in the way of the statement.
const SHOUT_UNLESS_BOB: &str = "UPDATE shop.contact SET name = upper(name) || '!'
     WHERE name <> 'bob' OR 1 / (length(name) - 3) = 0";

/// A migration that waits for a lock in account B, and the session that holds it.
const WAITING: &str = "UPDATE shop.contact SET name = upper(name) || '!';
     SELECT pg_advisory_xact_lock(7) FROM shop.contact WHERE id = 3";

fn hold(migration: &Migration) -> Client {
    let mut holder = migration.shop.db.superuser();
    holder.batch_execute("SELECT pg_advisory_lock(7)").unwrap();
    holder
}

/// Calls the run in another thread and, when it waits in account B, does `meanwhile`.
fn while_it_waits(migration: &Migration, meanwhile: impl FnOnce(&mut Client)) -> Result<(), Error> {
    let mut holder = hold(migration);
    let mut session = migration.session();
    thread::scope(|scope| {
        let run = scope.spawn(move || call(&mut session, WAITING, ", run => 'r'"));
        await_lines(
            &mut holder,
            "SELECT usename FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event = 'advisory'",
            &[&migration.migrator],
        );
        meanwhile(&mut holder);
        drop(holder);
        run.join().unwrap()
    })
}

/// The run is taken up again, and every row has been changed once in the end.
fn assert_goes_on(migration: &Migration) {
    // The server sends the error before it lets go of the run.
    await_lines(
        &mut migration.shop.db.superuser(),
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
             AND backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid()",
        &["0"],
    );
    assert_eq!(migration.names(), ["ANN!", "ABE!", "bob"]);
    call(&mut migration.session(), WAITING, ", run => 'r'").unwrap();
    assert_eq!(migration.names(), ["ANN!", "ABE!", "BOB!"]);
    assert_eq!(
        migration.record("run, state, rows, sqlstate"),
        ["r|done|2|<null>", "r|done|1|<null>"]
    );
    assert_eq!(
        migration.all(
            "SELECT row_key, count(*) FROM tenant_guard.audit_log WHERE action = 'update'
             GROUP BY 1 ORDER BY 1"
        ),
        ["{\"id\":1}|1", "{\"id\":2}|1", "{\"id\":3}|1"]
    );
}

#[test]
fn run_that_failed_keeps_what_is_done_and_goes_on_behind_it() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    let failed = call(&mut session, SHOUT_UNLESS_BOB, ", run => 'r'");
    let hint = failed.as_ref().err().and_then(Error::as_db_error);
    assert_eq!(
        hint.and_then(|error| error.hint()),
        Some("What is done stays. Call it again with run => 'r' to go on.")
    );
    expect_error(
        failed,
        "22012",
        &format!("run \"r\" failed for account \"{ACCOUNT_B}\": division by zero"),
    );
    assert_eq!(migration.names(), ["ANN!", "ABE!", "bob"]);
    assert_eq!(
        migration.record("account_id, state, rows, sqlstate, message"),
        [
            format!("{ACCOUNT_A}|done|2|<null>|<null>"),
            format!("{ACCOUNT_B}|failed|<null>|22012|division by zero"),
        ]
    );
    migration
        .shop
        .db
        .superuser()
        .batch_execute("UPDATE shop.contact SET name = 'bobby' WHERE id = 3")
        .unwrap();
    call(&mut session, SHOUT_UNLESS_BOB, ", run => 'r'").unwrap();
    assert_eq!(migration.names(), ["ANN!", "ABE!", "BOBBY!"]);
    call(&mut session, SHOUT_UNLESS_BOB, ", run => 'r'").unwrap();
    assert_eq!(migration.names(), ["ANN!", "ABE!", "BOBBY!"]);
    assert_eq!(
        migration.record("state, rows, sqlstate"),
        ["done|2|<null>", "done|1|<null>"]
    );
}

#[test]
fn run_that_is_to_continue_visits_all_and_fails_in_the_end() {
    let migration = Migration::contacts();
    let (mut session, notices) = migration.shop.db.connect_with_notices(&migration.migrator);
    let unless_ann = "UPDATE shop.contact SET name = upper(name) || '!'
        WHERE name <> 'ann' OR 1 / (length(name) - 3) = 0";
    let failed = call(
        &mut session,
        unless_ann,
        ", run => 'r', on_error => 'continue'",
    );
    let told = format!("run \"r\" failed for account \"{ACCOUNT_A}\": division by zero");
    let detail = failed.as_ref().err().and_then(Error::as_db_error);
    assert_eq!(detail.and_then(|error| error.detail()), Some(told.as_str()));
    expect_error(failed, "22012", "run \"r\" failed for 1 of 2 accounts");
    assert_eq!(migration.names(), ["ann", "abe", "BOB!"]);
    assert_eq!(
        notices.take(),
        [
            format!("01000: {told}"),
            format!("00000: run \"r\": 2 of 2 accounts, \"{ACCOUNT_B}\" changed 1 rows"),
        ]
    );
    assert_eq!(migration.record("state"), ["failed", "done"]);
}

#[test]
fn cancelled_run_goes_on_where_it_was() {
    let migration = Migration::contacts();
    let cancelled = while_it_waits(&migration, |other| {
        other
            .batch_execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event = 'advisory'",
            )
            .unwrap();
        await_lines(
            other,
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event = 'advisory'",
            &["0"],
        );
    });
    expect_error(
        cancelled,
        "57014",
        "canceling statement due to user request",
    );
    assert_eq!(migration.record("state"), ["done", "running"]);
    assert_goes_on(&migration);
}

#[test]
fn session_whose_run_was_cancelled_is_in_no_transaction() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    session
        .batch_execute("SET statement_timeout = '300ms'")
        .unwrap();
    expect_error(
        call(&mut session, "SELECT pg_sleep(60)", ""),
        "57014",
        "canceling statement due to statement timeout",
    );
    session.batch_execute("RESET statement_timeout").unwrap();
    assert_eq!(lines(&mut session, "SELECT 1"), ["1"]);
}

#[test]
fn run_whose_session_was_ended_goes_on_where_it_was() {
    let migration = Migration::contacts();
    let ended = while_it_waits(&migration, |other| {
        other
            .batch_execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event = 'advisory'",
            )
            .unwrap();
        await_lines(
            other,
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event = 'advisory'",
            &["0"],
        );
    });
    assert!(ended.is_err(), "the session is gone");
    assert_eq!(migration.record("state"), ["done", "running"]);
    assert_goes_on(&migration);
}

#[test]
fn others_see_how_far_a_run_is_and_cannot_carry_it_out_as_well() {
    let migration = Migration::contacts();
    let finished = while_it_waits(&migration, |_| {
        assert_eq!(migration.record("state"), ["done", "running"]);
        expect_error(
            call(&mut migration.session(), WAITING, ", run => 'r'"),
            "55006",
            "run \"r\" is being carried out by another session",
        );
        expect_error(
            migration
                .shop
                .owner()
                .simple_query("SELECT tenant_guard.forget_run('r')"),
            "55006",
            "run \"r\" is being carried out by another session",
        );
        call(&mut migration.session(), "SELECT 1", ", run => 'other'").unwrap();
    });
    finished.unwrap();
    assert_eq!(migration.names(), ["ANN!", "ABE!", "BOB!"]);
}

#[test]
fn run_goes_on_with_accounts_that_came_later() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    let first = format!(", run => 'r', accounts => '{{{ACCOUNT_B}}}'");
    call(&mut session, SHOUT, &first).unwrap();
    assert_eq!(migration.names(), ["ann", "abe", "BOB!"]);
    call(&mut session, SHOUT, ", run => 'r'").unwrap();
    assert_eq!(migration.names(), ["ANN!", "ABE!", "BOB!"]);
}

#[test]
fn other_statements_under_the_name_of_a_run_are_refused() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    call(&mut session, SHOUT, ", run => 'r'").unwrap();
    expect_error(
        call(&mut session, "DELETE FROM shop.contact", ", run => 'r'"),
        "22023",
        "run \"r\" was begun with other statements",
    );
    // The server sends the error before it lets go of the run.
    session.simple_query("").unwrap();
    let forget = "SELECT tenant_guard.forget_run('r')";
    migration.shop.owner().batch_execute(forget).unwrap();
    call(&mut session, "DELETE FROM shop.contact", ", run => 'r'").unwrap();
    assert_eq!(migration.names(), [""; 0]);
    migration.shop.owner().batch_execute(forget).unwrap();
    expect_error(
        migration.shop.owner().simple_query(forget),
        "42704",
        "run \"r\" does not exist",
    );
}

#[test]
fn restored_database_knows_how_far_a_run_had_come() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    call(&mut session, SHOUT_UNLESS_BOB, ", run => 'r'").unwrap_err();
    drop(session);
    let restored = tenant_guard_tests::Database::empty();
    restored.restore(&migration.shop.db.pg_dump(&[]));
    assert_eq!(
        lines(
            &mut restored.superuser(),
            "SELECT run, state FROM tenant_guard.account_run ORDER BY account_id"
        ),
        ["r|done", "r|failed"]
    );
}
