//! What looking back may take of the server, and of other sessions.

use std::thread;

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, await_lines, expect_error, lines};

use super::{Shop, sign_in};
use crate::capture::run;

const TOO_MUCH: &str = "looking back takes more memory than tenant_guard.history_memory";

/// Rust ends the process where memory runs out, and with it every session of the server.
#[test]
fn people_of_an_account_do_not_take_the_servers_memory() {
    let shop = Shop::bare();
    shop.run(
        "CREATE TABLE shop.big (id int PRIMARY KEY, account_id uuid, t text);
         SELECT tenant_guard.protect('shop.big')",
    );
    shop.write(
        ACCOUNT_A,
        &format!("INSERT INTO shop.big SELECT g, '{ACCOUNT_A}', repeat('x', 20000) FROM generate_series(1, 100) AS g"),
    );
    let count = "SELECT count(*) FROM tenant_guard.as_of('shop.big', now())";
    let fold = |session: &mut postgres::Transaction<'_>| session.query_one(count, &[]);
    let rows = shop.within(ACCOUNT_A, &["manager"], fold).unwrap();
    assert_eq!(rows.get::<_, i64>(0), 100);
    let mut superuser = shop.db.superuser();
    run(
        &mut superuser,
        &format!(
            "ALTER ROLE {} SET tenant_guard.history_memory = '1MB';
             ALTER ROLE {} SET tenant_guard.history_memory = '1MB'",
            shop.app, shop.auditor
        ),
    );
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    sign_in(&mut transaction, &shop.token(ACCOUNT_A, &["manager"]));
    expect_error(fold(&mut transaction), "53200", TOO_MUCH);
    transaction.rollback().unwrap();
    // What was held is let go, and the session goes on.
    assert_eq!(lines(&mut session, "SELECT 1"), ["1"]);
    let raised = session.batch_execute("SET tenant_guard.history_memory = '1GB'");
    expect_error(raised, "42501", "tenant_guard.history_memory");
    let verify = "SELECT * FROM tenant_guard.verify_state('shop.big')";
    let mut auditor = shop.auditor();
    expect_error(auditor.batch_execute(verify), "53200", TOO_MUCH);
    assert_eq!(lines(&mut auditor, "SELECT 1"), ["1"]);
}

/// One event is worked on in copies, so it is refused before.
#[test]
fn single_long_event_is_held_against_the_limit() {
    let shop = Shop::bare();
    shop.run(
        "CREATE TABLE shop.big (id int PRIMARY KEY, account_id uuid, t text);
         SELECT tenant_guard.protect('shop.big')",
    );
    shop.write(
        ACCOUNT_A,
        &format!("INSERT INTO shop.big VALUES (1, '{ACCOUNT_A}', repeat('x', 1000000))"),
    );
    let mut superuser = shop.db.superuser();
    run(&mut superuser, "SET tenant_guard.history_memory = '512kB'");
    for call in [
        "as_of('shop.big', now())",
        "row_history('shop.big', '{\"id\": 1}')",
    ] {
        let call = format!("SELECT * FROM tenant_guard.{call}");
        expect_error(superuser.batch_execute(&call), "53200", TOO_MUCH);
    }
    run(&mut superuser, "RESET tenant_guard.history_memory");
    assert_eq!(
        lines(
            &mut superuser,
            "SELECT count(*) FROM tenant_guard.as_of('shop.big', now())"
        ),
        ["1"]
    );
}

/// Each change of a row without a key is one of its key.
#[test]
fn row_without_a_key_that_flips_thousands_of_times_keeps_no_server_busy() {
    let shop = Shop::bare();
    shop.run(
        "CREATE TABLE shop.flag (account_id uuid, up boolean);
         SELECT tenant_guard.protect('shop.flag')",
    );
    shop.write(
        ACCOUNT_A,
        &format!(
            "INSERT INTO shop.flag VALUES ('{ACCOUNT_A}', true);
             DO $$BEGIN FOR i IN 1..6000 LOOP UPDATE shop.flag SET up = NOT up; END LOOP; END$$"
        ),
    );
    let history = format!(
        "SELECT count(*) FROM tenant_guard.row_history('shop.flag',
             '{{\"account_id\": \"{ACCOUNT_A}\", \"up\": true}}')"
    );
    let look = |timeout: &str| {
        shop.within(ACCOUNT_A, &["manager"], |session| {
            let mut savepoint = session.transaction().unwrap();
            run(
                &mut savepoint,
                &format!("SET LOCAL statement_timeout = '{timeout}'"),
            );
            let found = savepoint.query_one(&history, &[]);
            found.map(|row| row.get::<_, i64>(0))
        })
    };
    expect_error(look("20ms"), "57014", "statement timeout");
    assert_eq!(look("20s").unwrap(), 6001);
}

#[test]
fn changes_that_are_not_committed_did_not_happen_yet() {
    let shop = Shop::with_items();
    let seen = shop.within(ACCOUNT_A, &["manager"], |session| {
        run(
            session,
            &format!(
                "UPDATE shop.item SET name = 'mallory' WHERE id = 1;
                 SAVEPOINT s; DELETE FROM shop.item WHERE id = 2; RELEASE s;
                 INSERT INTO shop.item (id, account_id) VALUES (9, '{ACCOUNT_A}')"
            ),
        );
        [
            "as_of('shop.item', 'infinity')",
            "as_of('shop.item', clock_timestamp())",
            "as_of_snapshot('shop.item', pg_current_snapshot())",
        ]
        .map(|call| {
            let names =
                format!("SELECT r ->> 'id', r ->> 'name' FROM tenant_guard.{call} AS r ORDER BY 1");
            lines(session, &names)
        })
    });
    for seen in seen {
        assert_eq!(seen, ["1|ann", "2|abe"]);
    }
}

/// Whoever waits for one table with the locks of others in hand keeps all their writers waiting, too.
#[test]
fn baseline_that_waits_for_one_partition_keeps_no_writer_of_another_waiting() {
    let shop = Shop::bare();
    shop.run(
        "CREATE TABLE shop.part (id int, account_id uuid, PRIMARY KEY (id)) PARTITION BY LIST (id);
         CREATE TABLE shop.low PARTITION OF shop.part FOR VALUES IN (1);
         CREATE TABLE shop.high PARTITION OF shop.part FOR VALUES IN (2);
         SELECT tenant_guard.protect('shop.part')",
    );
    let mut blocker = shop.db.superuser();
    run(
        &mut blocker,
        "BEGIN; LOCK TABLE ONLY shop.high IN ROW EXCLUSIVE MODE",
    );
    let mut owner = shop.owner();
    run(&mut owner, "SET lock_timeout = '20s'");
    let pid = lines(&mut owner, "SELECT pg_backend_pid()").concat();
    thread::scope(|scope| {
        let baseline = scope.spawn(move || {
            let written = owner.query_one("SELECT tenant_guard.record_baseline('shop.part')", &[]);
            written.map(|row| row.get::<_, i64>(0))
        });
        wait_until_waiting(&mut shop.db.superuser(), &pid);
        let mut writer = shop.db.superuser();
        for _ in 0..20 {
            run(
                &mut writer,
                &format!(
                    "SET statement_timeout = '10s'; DELETE FROM shop.low;
                     INSERT INTO shop.low VALUES (1, '{ACCOUNT_A}')"
                ),
            );
        }
        run(&mut blocker, "COMMIT");
        assert_eq!(baseline.join().unwrap().unwrap(), 1);
    });
    // Beyond lock_timeout the table is named, and nothing was written.
    run(
        &mut blocker,
        "BEGIN; LOCK TABLE ONLY shop.high IN ROW EXCLUSIVE MODE",
    );
    let mut owner = shop.owner();
    run(&mut owner, "SET lock_timeout = '100ms'");
    expect_error(
        owner.batch_execute("SELECT tenant_guard.record_baseline('shop.part')"),
        "55P03",
        "shop.high",
    );
}

/// Until the session has been seen with a query under way beside the lock that it has not got.
fn wait_until_waiting(client: &mut Client, pid: &str) {
    let asked = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE pid = {pid} AND state = 'active' AND query ~ 'record_baseline'"
    );
    await_lines(client, &asked, &["1"]);
}
