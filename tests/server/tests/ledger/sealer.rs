//! The background worker: who starts it, when it leaves, what it stands.

use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use tenant_guard_tests::{Cluster, Database, await_lines, expect_error, lines};

use super::{add, audit_items, database, findings, seal};
use crate::capture::{capture, run, switch_guards_off};

const UNSEALED: &str = "SELECT unsealed_events FROM tenant_guard.ledger_status()";
const STATE: &str = "SELECT sealer FROM tenant_guard.ledger_status()";
const BLOCKS: &str = "SELECT block, events, accounts FROM tenant_guard.ledger_block ORDER BY block";

/// Has the database sealed in the background, twenty times a second.
fn switch_on(db: &Database) {
    set(db, "tenant_guard.seal_interval = '50ms'");
}

/// Sets something for sessions and workers of the database that begin from here on.
#[track_caller]
fn set(db: &Database, setting: &str) {
    let statement = format!("ALTER DATABASE {} SET {setting}", db.name());
    run(&mut db.superuser(), &statement);
}

/// A database with the audited table `item` that is sealed in the background.
fn sealed_database() -> Database {
    let db = database();
    switch_on(&db);
    db
}

/// Sealers of a database, as a session of any database sees them.
fn sealers(db: &Database, observer: &mut Client) -> Vec<String> {
    let query = format!(
        "SELECT pid FROM pg_stat_activity
         WHERE backend_type = 'tenant_guard sealer' AND datname = '{}'",
        db.name()
    );
    lines(observer, &query)
}

/// Returns once the database has no sealer.
#[track_caller]
fn await_no_sealer(db: &Database, observer: &mut Client) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !sealers(db, observer).is_empty() {
        assert!(Instant::now() < deadline, "the sealer does not leave");
        thread::sleep(Duration::from_millis(10));
    }
}

fn observer(db: &Database) -> Client {
    db.cluster()
        .config("postgres", "postgres")
        .connect(postgres::NoTls)
        .expect("the cluster accepts sessions")
}

#[test]
fn commit_starts_the_sealer_of_its_database() {
    let db = sealed_database();
    let mut client = db.superuser();
    assert_eq!(lines(&mut client, STATE), ["idle"]);
    add(&mut client, "one", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    assert_eq!(lines(&mut client, BLOCKS), ["1|1|1"]);
    let state = "SELECT sealer, last_round BETWEEN now() - interval '1 min' AND clock_timestamp(),
                        (SELECT array_agg(pid) FROM pg_stat_activity
                         WHERE backend_type = 'tenant_guard sealer' AND datid = (
                            SELECT oid FROM pg_database WHERE datname = current_database()))
                            = ARRAY[sealer_pid]
                 FROM tenant_guard.ledger_status()";
    // A block is there before its round is over.
    await_lines(&mut client, state, &["running|t|t"]);
    // The same process goes on.
    let [pid] = sealers(&db, &mut client).try_into().unwrap();
    run(&mut client, "UPDATE item SET n = 1");
    await_lines(&mut client, UNSEALED, &["0"]);
    assert_eq!(sealers(&db, &mut client), [pid]);
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn sealer_that_is_kept_waiting_names_whom_it_waits_for() {
    let db = sealed_database();
    let (mut client, mut holder) = (db.superuser(), db.superuser());
    add(&mut client, "one", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    let pid = lines(&mut holder, "SELECT pg_backend_pid()").remove(0);
    run(
        &mut holder,
        "BEGIN; LOCK TABLE tenant_guard.ledger_leaf IN EXCLUSIVE MODE",
    );
    add(&mut client, "two", "a");
    await_lines(&mut client, STATE, &[&format!("waiting for process {pid}")]);
    run(&mut holder, "COMMIT");
    await_lines(&mut client, UNSEALED, &["0"]);
    await_lines(&mut client, STATE, &["running"]);
}

#[test]
fn rolled_back_events_start_nothing() {
    let db = sealed_database();
    let mut client = db.superuser();
    run(
        &mut client,
        "BEGIN; INSERT INTO item VALUES ('one', 'a'); ROLLBACK",
    );
    run(&mut client, "SELECT 1");
    assert_eq!(lines(&mut client, STATE), ["idle"]);
    assert_eq!(sealers(&db, &mut client), [""; 0]);
}

#[test]
fn interval_of_zero_starts_no_worker() {
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    assert_eq!(lines(&mut client, STATE), ["off"]);
    assert_eq!(sealers(&db, &mut client), [""; 0]);
    assert_eq!(seal(&mut client), ["1|1|1"]);
}

#[test]
fn idle_sealer_leaves_and_the_next_commit_starts_another() {
    let db = sealed_database();
    set(&db, "tenant_guard.sealer_idle = '200ms'");
    let mut client = db.superuser();
    for key in ["one", "two"] {
        add(&mut client, key, "a");
        await_lines(&mut client, UNSEALED, &["0"]);
        await_lines(&mut client, STATE, &["idle"]);
        await_no_sealer(&db, &mut client);
    }
    assert_eq!(lines(&mut client, BLOCKS), ["1|1|1", "2|1|1"]);
}

/// What needs a database nobody is connected to waits five seconds, so the sealer must be gone
/// by then however long its interval and its idle time are.
#[test]
fn deserted_database_can_be_renamed_copied_and_dropped() {
    let db = database();
    set(&db, "tenant_guard.seal_interval = '1min'");
    set(&db, "tenant_guard.sealer_idle = '1min'");
    let mut observer = observer(&db);
    let name = db.name();
    for (number, command) in [
        format!("CREATE DATABASE {name}_copy TEMPLATE {name}"),
        format!("DROP DATABASE {name}_copy"),
        format!("ALTER DATABASE {name} RENAME TO {name}_new"),
        format!("ALTER DATABASE {name}_new RENAME TO {name}"),
        format!("DROP DATABASE {name}"),
    ]
    .iter()
    .enumerate()
    {
        if number % 2 == 0 {
            let mut client = db.superuser();
            add(&mut client, &number.to_string(), "a");
            let deadline = Instant::now() + Duration::from_secs(30);
            while sealers(&db, &mut observer).is_empty() {
                assert!(Instant::now() < deadline, "the sealer does not start");
                thread::sleep(Duration::from_millis(1));
            }
        }
        run(&mut observer, command);
    }
}

#[test]
fn forced_drop_leaves_no_worker_behind() {
    let db = sealed_database();
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    let mut observer = observer(&db);
    let deadline = Instant::now() + Duration::from_secs(30);
    while sealers(&db, &mut observer).is_empty() {
        assert!(Instant::now() < deadline, "the sealer does not start");
        thread::sleep(Duration::from_millis(1));
    }
    let oid = format!(
        "SELECT oid FROM pg_database WHERE datname = '{}'",
        db.name()
    );
    let oid = lines(&mut observer, &oid).remove(0);
    run(
        &mut observer,
        &format!("DROP DATABASE {} WITH (FORCE)", db.name()),
    );
    let of_nobody = format!("SELECT pid FROM pg_stat_activity WHERE datid = {oid}");
    for _ in 0..20 {
        assert_eq!(lines(&mut observer, &of_nobody), [""; 0]);
        thread::sleep(Duration::from_millis(100));
    }
    let complaint = format!("database {oid} does not exist");
    assert!(!db.server_log().contains(&complaint));
}

#[test]
fn terminated_sealer_is_followed_by_another() {
    let db = sealed_database();
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    let [first] = sealers(&db, &mut client).try_into().unwrap();
    run(
        &mut client,
        &format!("SELECT pg_terminate_backend({first})"),
    );
    // Its process is gone from the list before it says itself that it leaves.
    await_lines(&mut client, STATE, &["idle"]);
    add(&mut client, "two", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    assert_ne!(sealers(&db, &mut client), [first]);
    assert_eq!(findings(&mut client), [""; 0]);
}

/// The owner, who may do it without being superuser, would widen the window in which changes of
/// those who are connected leave no trace.
#[test]
fn database_owner_who_disallows_connections_does_not_stop_the_sealer() {
    let db = sealed_database();
    let (mut client, mut other) = (db.superuser(), observer(&db));
    let allow = |allowed: bool| format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", db.name());
    run(&mut other, &allow(false));
    add(&mut client, "one", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    run(&mut other, &allow(true));
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn sealer_that_cannot_begin_is_not_started_by_each_commit() {
    let db = sealed_database();
    let (mut client, mut other) = (db.superuser(), observer(&db));
    let limit = |limit: i32| {
        format!(
            "UPDATE pg_database SET datconnlimit = {limit} WHERE datname = '{}'",
            db.name()
        )
    };
    // What an interrupted DROP DATABASE leaves: nobody may enter any more.
    run(&mut other, &limit(-2));
    for key in 0..200 {
        add(&mut client, &key.to_string(), "a");
    }
    let state = "cannot run: its process ended before it sealed, see the server's log";
    await_lines(&mut client, STATE, &[state]);
    let complaint = format!("cannot connect to invalid database \"{}\"", db.name());
    let complaints = db.server_log().matches(&complaint).count();
    assert!((1..=5).contains(&complaints), "{complaints} complaints");
    run(&mut other, &limit(-1));
    let deadline = Instant::now() + Duration::from_secs(60);
    for key in 200.. {
        if lines(&mut client, STATE) == ["running"] {
            break;
        }
        assert!(Instant::now() < deadline, "no sealer is started again");
        add(&mut client, &key.to_string(), "a");
        thread::sleep(Duration::from_millis(100));
    }
    await_lines(&mut client, UNSEALED, &["0"]);
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn cancelled_sealer_goes_on() {
    let db = sealed_database();
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    let [pid] = sealers(&db, &mut client).try_into().unwrap();
    run(&mut client, &format!("SELECT pg_cancel_backend({pid})"));
    add(&mut client, "two", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    assert_eq!(sealers(&db, &mut client), [pid]);
}

#[test]
fn sealer_takes_no_last_worker_slot() {
    // One slot is the logical replication launcher's.
    let cluster = Cluster::start(&["max_worker_processes=3"]);
    let [first, second] = [cluster.database(), cluster.database()];
    for db in [&first, &second] {
        run(&mut db.superuser(), "SELECT tenant_guard.init_ledger()");
        audit_items(&mut db.superuser());
        switch_on(db);
    }
    let (mut one, mut two) = (first.superuser(), second.superuser());
    add(&mut one, "one", "a");
    await_lines(&mut one, UNSEALED, &["0"]);
    add(&mut two, "one", "a");
    let no_slot = "cannot run: no worker slot is free";
    assert_eq!(lines(&mut two, STATE), [no_slot]);
    assert_eq!(lines(&mut two, UNSEALED), ["1"]);
    // The first has nothing to do and makes room; nobody is told, so the next commit finds it.
    await_no_sealer(&first, &mut one);
    let deadline = Instant::now() + Duration::from_secs(30);
    for key in 0.. {
        add(&mut two, &key.to_string(), "a");
        if lines(&mut two, STATE) != [no_slot] {
            break;
        }
        assert!(Instant::now() < deadline, "the slot is not found");
        thread::sleep(Duration::from_millis(100));
    }
    await_lines(&mut two, UNSEALED, &["0"]);
    assert_eq!(findings(&mut two), [""; 0]);
}

#[test]
fn sealer_is_superusers_process_and_holds_back_no_vacuum() {
    let db = sealed_database();
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    let idle = format!(
        "SELECT usename, backend_xmin, backend_xid, state FROM pg_stat_activity
         WHERE backend_type = 'tenant_guard sealer' AND datname = '{}'",
        db.name()
    );
    await_lines(&mut client, &idle, &["postgres|<null>|<null>|idle"]);
}

#[test]
fn settings_of_the_database_do_not_stop_the_sealer() {
    let db = sealed_database();
    let mut superuser = db.superuser();
    // The first version that has it.
    let transactions_end = db.version() >= 17;
    let timeout = transactions_end.then_some("transaction_timeout = '10ms'");
    for setting in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "statement_timeout = '1ms'",
        "search_path = 'nowhere'",
        "synchronous_commit = off",
        "session_replication_role = 'replica'",
        // What the owner of the database may set without being superuser.
        "role = 'tenant_guard_auditor'",
        "session_authorization = 'tenant_guard_auditor'",
        "row_security = off",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "client_encoding = 'SQL_ASCII'",
    ]
    .into_iter()
    .chain(timeout)
    {
        let statement = format!("ALTER DATABASE {} SET {setting}", db.name());
        run(&mut superuser, &statement);
    }
    let own = if transactions_end {
        " -c transaction_timeout=0"
    } else {
        ""
    };
    let mut client = db
        .config("postgres")
        .options(&format!(
            "-c statement_timeout=0 -c default_transaction_read_only=off \
             -c default_transaction_isolation=read\\ committed -c search_path=public \
             -c session_authorization=postgres -c role=none -c client_encoding=UTF8{own}",
        ))
        .connect(postgres::NoTls)
        .unwrap();
    add(&mut client, "one", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn failing_round_is_logged_once_and_tried_again() {
    let cluster = Cluster::start(&["tenant_guard.seal_interval=50ms"]);
    let db = cluster.database();
    let mut client = db.superuser();
    run(&mut client, "SELECT tenant_guard.init_ledger()");
    audit_items(&mut client);
    add(&mut client, "one", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    switch_guards_off(&mut client);
    run(
        &mut client,
        "ALTER TABLE tenant_guard.ledger_account DISABLE TRIGGER tenant_guard_guard;
         CREATE TEMP TABLE kept AS SELECT * FROM tenant_guard.ledger_account;
         UPDATE tenant_guard.ledger_account SET state = '\\x00'",
    );
    await_lines(&mut client, UNSEALED, &["0"]);
    add(&mut client, "two", "a");
    let failing = "failing: XX001 the tree of an account in the ledger is damaged";
    await_lines(&mut client, STATE, &[failing]);
    thread::sleep(Duration::from_millis(3500));
    assert_eq!(lines(&mut client, STATE), [failing]);
    let logged = |text: &str| db.server_log().matches(text).count();
    assert_eq!(logged("sealing failed and is tried again: XX001"), 1);
    run(
        &mut client,
        "UPDATE tenant_guard.ledger_account AS a SET state = k.state
         FROM kept AS k WHERE k.account_id = a.account_id",
    );
    await_lines(&mut client, UNSEALED, &["0"]);
    await_lines(&mut client, STATE, &["running"]);
    // What the round says comes after what it does.
    add(&mut client, "three", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    assert_eq!(logged("tenant_guard sealer: sealing again"), 1);
    // The trigger's being off is what the guards' event says.
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn sealing_by_hand_that_is_not_committed_only_delays_the_sealer() {
    let db = sealed_database();
    let (mut client, mut hand) = (db.superuser(), db.superuser());
    add(&mut client, "one", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    run(&mut hand, "BEGIN; SELECT tenant_guard.seal(true)");
    add(&mut client, "two", "a");
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(lines(&mut client, UNSEALED), ["1"]);
    assert_eq!(lines(&mut client, STATE), ["running"]);
    run(&mut hand, "ROLLBACK");
    await_lines(&mut client, UNSEALED, &["0"]);
    assert_eq!(lines(&mut client, BLOCKS), ["1|1|1", "2|1|1"]);
}

#[test]
fn sealer_leaves_with_the_extension_and_comes_back_with_it() {
    let db = sealed_database();
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    switch_guards_off(&mut client);
    // The next round finds the extension gone.
    run(
        &mut client,
        "INSERT INTO item VALUES ('two', 'a'); DROP EXTENSION tenant_guard CASCADE",
    );
    await_no_sealer(&db, &mut client);
    run(&mut client, "CREATE EXTENSION tenant_guard");
    capture(&mut client, "item", "account_id", "");
    add(&mut client, "three", "a");
    await_lines(&mut client, UNSEALED, &["0"]);
    assert_eq!(
        lines(
            &mut client,
            "SELECT sum(events) FROM tenant_guard.ledger_block"
        ),
        ["3"]
    );
    assert_eq!(findings(&mut client), [""; 0]);
}

/// Who commits a prepared transaction knows nothing of the events in it.
#[test]
fn prepared_transaction_is_sealed_by_the_sealer_that_waits_for_it() {
    let db = sealed_database();
    set(&db, "tenant_guard.sealer_idle = '0'");
    let mut client = db.superuser();
    let name = db.name();
    run(
        &mut client,
        &format!("BEGIN; INSERT INTO item VALUES ('one', 'a'); PREPARE TRANSACTION '{name}'"),
    );
    await_lines(&mut client, STATE, &["running"]);
    drop(client);
    let mut stranger = observer(&db);
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(sealers(&db, &mut stranger).len(), 1);
    let mut client = db.superuser();
    run(&mut client, &format!("COMMIT PREPARED '{name}'"));
    await_lines(&mut client, UNSEALED, &["0"]);
    assert_eq!(lines(&mut client, BLOCKS), ["1|1|1"]);
    drop(client);
    await_no_sealer(&db, &mut stranger);
}

#[test]
#[ignore = "takes fifty thousand savepoints"]
fn fifty_thousand_savepoints_are_sealed_exactly_once() {
    const SAVEPOINTS: usize = 50_000;
    let db = sealed_database();
    let (mut client, mut beside) = (db.superuser(), db.superuser());
    let mut statements = String::from("BEGIN;");
    for number in 0..SAVEPOINTS {
        let end = if number % 2 == 0 {
            "RELEASE"
        } else {
            "ROLLBACK TO"
        };
        statements.push_str(&format!(
            "SAVEPOINT s; INSERT INTO item VALUES ('{number}', 'a'); {end} s;"
        ));
        if number % 1_000 == 999 {
            assert!(client.batch_execute(&statements).is_ok(), "{number}");
            statements.clear();
            add(&mut beside, &format!("beside {number}"), "b");
        }
    }
    run(&mut client, "COMMIT");
    await_lines(&mut client, UNSEALED, &["0"]);
    let sealed = "SELECT sum(events) FROM tenant_guard.ledger_block";
    assert_eq!(
        lines(&mut client, sealed),
        [(SAVEPOINTS / 2 + SAVEPOINTS / 1_000).to_string()]
    );
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn heartbeat_is_a_block_without_events() {
    let db = database();
    let mut client = db.superuser();
    let beat = "SELECT * FROM tenant_guard.seal(heartbeat => true)";
    assert_eq!(lines(&mut client, beat), ["1|0|0"]);
    assert_eq!(seal(&mut client), [""; 0]);
    add(&mut client, "one", "a");
    assert_eq!(lines(&mut client, beat), ["2|1|1"]);
    assert_eq!(lines(&mut client, beat), ["3|0|0"]);
    let leaves = "SELECT count(*) FROM tenant_guard.ledger_leaf WHERE block = 3";
    assert_eq!(lines(&mut client, leaves), ["1"]);
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn running_sealer_beats_where_nothing_happens() {
    let db = sealed_database();
    set(&db, "tenant_guard.heartbeat_interval = '100ms'");
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    let beats = "SELECT count(*) >= 3, max(events) FROM tenant_guard.ledger_block";
    await_lines(&mut client, beats, &["t|1"]);
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn preloaded_launcher_keeps_an_idle_database_beating_and_seals_what_a_crash_left() {
    let cluster = Cluster::start(&[]);
    let db = cluster.database();
    let mut client = db.superuser();
    run(&mut client, "SELECT tenant_guard.init_ledger()");
    audit_items(&mut client);
    add(&mut client, "one", "a");
    drop(client);
    let settings = format!(
        "shared_preload_libraries = 'tenant_guard'
         tenant_guard.databases = 'nowhere, {}'
         tenant_guard.seal_interval = '50ms'
         tenant_guard.heartbeat_interval = '200ms'\n",
        db.name()
    );
    cluster.configure(&settings);
    cluster.restart();
    let mut client = db.superuser();
    let beats = "SELECT count(*) >= 3, max(events) FROM tenant_guard.ledger_block";
    await_lines(&mut client, beats, &["t|1"]);
    assert_eq!(findings(&mut client), [""; 0]);
    // It stands in nobody's way.
    drop(client);
    let mut observer = observer(&db);
    run(&mut observer, &format!("DROP DATABASE {}", db.name()));
}

#[test]
fn ordinary_roles_cannot_turn_sealing_off() {
    let db = database();
    let mut app = db.connect_as(&db.role("app"));
    // The library defines the settings when it is loaded.
    let _ = lines(&mut app, "SELECT tenant_guard.is_authenticated()");
    for setting in ["seal_interval", "sealer_idle", "heartbeat_interval"] {
        let set = format!("SET tenant_guard.{setting} = 0");
        expect_error(app.batch_execute(&set), "42501", "permission denied");
    }
}
