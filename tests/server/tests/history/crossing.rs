//! Commands that cross what other sessions do: what is recorded is what was done, whatever names mean by then
//! and whoever writes before the command is committed.

use std::thread;

use postgres::{Client, Error};
use tenant_guard_tests::{Database, await_lines, expect_error, lines};

use super::commands::{COMMAND, known, looked, snapshot, with_rows};
use crate::capture::run;

/// Runs `second` in a session of its own while the transaction of `first` is open, and lets that end once the
/// second one waits for a lock, or is done where it does not have to wait.
#[track_caller]
fn crossing(db: &Database, first: &str, second: &str, waits: bool) {
    let done = crossed(db, first, second, waits);
    assert!(done.is_ok(), "{second}: {done:?}");
}

fn crossed(db: &Database, first: &str, second: &str, waits: bool) -> Result<(), Error> {
    let mut holding = db.superuser();
    run(&mut holding, &format!("BEGIN; {first}"));
    thread::scope(|scope| {
        let other = scope.spawn(|| db.superuser().batch_execute(second));
        if waits {
            until_waiting(db);
            run(&mut holding, "COMMIT");
            return other.join().expect("it does not panic");
        }
        let done = other.join().expect("it does not panic");
        run(&mut holding, "COMMIT");
        done
    })
}

fn until_waiting(db: &Database) {
    await_lines(
        &mut db.superuser(),
        "SELECT DISTINCT wait_event_type FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'",
        &["Lock"],
    );
}

fn parts() -> (Database, Client) {
    with_rows(
        "CREATE TABLE s.t (id int PRIMARY KEY, v text) PARTITION BY LIST (id);
         CREATE TABLE s.p1 PARTITION OF s.t FOR VALUES IN (1, 11);
         CREATE TABLE s.p2 PARTITION OF s.t FOR VALUES IN (2)",
        "(1, 'a'), (2, 'b')",
    )
}

const EVENTS: &str =
    "SELECT relation || ' ' || (data::json ->> 'detached') FROM tenant_guard.audit_log
    WHERE action = 'ddl' AND data::json ->> 'detached' IS NOT NULL ORDER BY xid, ordinal";

/// The name in the command came to mean another table while it waited for its lock.
#[test]
fn detached_partition_is_the_one_that_left_and_not_the_one_named_at_first() {
    let (db, mut client) = parts();
    run(
        &mut client,
        "CREATE SCHEMA other; CREATE TABLE other.p1 (id int)",
    );
    crossing(
        &db,
        "LOCK TABLE s.t IN ACCESS SHARE MODE; ALTER TABLE other.p1 RENAME TO x",
        "SET search_path = other, s; ALTER TABLE s.t DETACH PARTITION p1",
        true,
    );
    assert_eq!(lines(&mut client, EVENTS), [r#"s.t ["s.p1"]"#]);
    known(&mut client, "s.t");
}

#[test]
fn role_that_may_not_detach_leaves_no_event_of_it() {
    let (db, mut client) = parts();
    let mallory = db.role("mallory");
    run(
        &mut client,
        &format!("GRANT USAGE ON SCHEMA s TO {mallory}; GRANT SELECT ON s.t TO {mallory}"),
    );
    let mut session = db.connect_as(&mallory);
    for how in ["", " CONCURRENTLY"] {
        let detach = format!("ALTER TABLE s.t DETACH PARTITION s.p1{how}");
        expect_error(session.batch_execute(&detach), "42501", "must be owner");
    }
    assert_eq!(lines(&mut client, EVENTS), [""; 0]);
    known(&mut client, "s.t");
}

/// Writers that the first transaction of the command waits for are before it.
#[test]
fn rows_changed_while_a_concurrent_detach_waits_go_with_the_partition() {
    let (db, mut client) = parts();
    let mut holding = db.superuser();
    run(
        &mut holding,
        "BEGIN; LOCK TABLE s.t IN SHARE UPDATE EXCLUSIVE MODE",
    );
    thread::scope(|scope| {
        let detaching = scope.spawn(|| {
            run(
                &mut db.superuser(),
                "ALTER TABLE s.t DETACH PARTITION s.p1 CONCURRENTLY",
            );
        });
        until_waiting(&db);
        run(
            &mut client,
            "UPDATE s.t SET v = 'u'; INSERT INTO s.t VALUES (11, 'c')",
        );
        known(&mut client, "s.t");
        run(&mut holding, "COMMIT");
        detaching.join().expect("it is detached");
    });
    known(&mut client, "s.t");
}

/// Between its two transactions, and where the second one never comes, the partition is gone; whoever
/// began before may still write into it.
#[test]
fn concurrent_detach_is_followed_from_its_first_commit_on() {
    let (db, mut client) = parts();
    let mut before = db.superuser();
    run(
        &mut before,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM s.t",
    );
    let mut detaching = db.superuser();
    let pid = lines(&mut detaching, "SELECT pg_backend_pid()").concat();
    thread::scope(|scope| {
        let detached = scope.spawn(move || {
            let detach = "ALTER TABLE s.t DETACH PARTITION s.p1 CONCURRENTLY";
            expect_error(detaching.batch_execute(detach), "57014", "canceling");
        });
        until_waiting(&db);
        known(&mut client, "s.t");
        run(&mut before, "INSERT INTO s.t VALUES (11, 'late')");
        run(&mut client, &format!("SELECT pg_cancel_backend({pid})"));
        detached.join().expect("it was cancelled");
    });
    run(&mut before, "COMMIT");
    known(&mut client, "s.t");
    run(
        &mut client,
        "ALTER TABLE s.t DETACH PARTITION s.p1 FINALIZE",
    );
    known(&mut client, "s.t");
    run(
        &mut client,
        "TRUNCATE s.p1; ALTER TABLE s.t ATTACH PARTITION s.p1 FOR VALUES IN (1, 11);
         INSERT INTO s.t VALUES (11, 'again')",
    );
    known(&mut client, "s.t");
}

#[test]
fn writers_wait_for_the_new_name_of_their_schema() {
    let (db, mut client) = with_rows(
        "CREATE TABLE s.t (id int PRIMARY KEY, v text); CREATE TABLE s.k (id int PRIMARY KEY, v text);
         SELECT tenant_guard.audit('s.k'); INSERT INTO s.k VALUES (1, 'k')",
        "(1, 'a')",
    );
    for (second, code) in [
        ("INSERT INTO s.t VALUES (2, 'b')", "42P01"),
        ("ALTER TABLE s.k RENAME TO u", "3F000"),
    ] {
        // It waits, and then there is no such schema.
        let failed = crossed(&db, "ALTER SCHEMA s RENAME TO s2", second, true);
        expect_error(failed, code, "does not exist");
        known(&mut client, "s2.t");
        known(&mut client, "s2.k");
        run(&mut client, "ALTER SCHEMA s2 RENAME TO s");
    }
    // What was written before it is committed comes first.
    crossing(
        &db,
        "INSERT INTO s.t VALUES (3, 'c')",
        "ALTER SCHEMA s RENAME TO s2",
        true,
    );
    known(&mut client, "s2.t");
}

/// Nobody writes down a value by the name that it loses.
#[test]
fn rows_are_not_known_by_labels_that_a_type_is_losing() {
    let (db, mut client) = with_rows(
        "CREATE TYPE s.mood AS ENUM ('a', 'z'); CREATE TYPE s.pair AS (x int, y int);
         CREATE DOMAIN s.moods AS s.mood[];
         CREATE TABLE s.t (id int PRIMARY KEY, m s.moods, p s.pair)",
        "(1, '{a}', '(1,2)')",
    );
    let baseline = "SELECT tenant_guard.record_baseline('s.t')";
    for command in [
        "ALTER TYPE s.mood RENAME VALUE 'a' TO 'b'",
        "ALTER TYPE s.pair DROP ATTRIBUTE y",
    ] {
        crossing(&db, command, baseline, true);
        known(&mut client, "s.t");
    }
    crossing(
        &db,
        "ALTER TYPE s.mood RENAME VALUE 'b' TO 'c'",
        "TRUNCATE s.t",
        true,
    );
    run(&mut client, "INSERT INTO s.t VALUES (2, '{c}', '(3)')");
    known(&mut client, "s.t");
    // One that is audited meanwhile.
    crossing(
        &db,
        "ALTER TYPE s.mood RENAME VALUE 'c' TO 'd'",
        "CREATE TABLE s.new (id int PRIMARY KEY, m s.moods); SELECT tenant_guard.audit('s.new')",
        true,
    );
    run(&mut client, "INSERT INTO s.new VALUES (1, '{d}')");
    known(&mut client, "s.new");
    let at = snapshot(&mut client);
    assert_eq!(looked(&mut client, "s.t", &at), Err(COMMAND.into()));
    // And a column that comes with a value.
    run(
        &mut client,
        "CREATE TABLE s.more (id int PRIMARY KEY); SELECT tenant_guard.audit('s.more');
         INSERT INTO s.more VALUES (1)",
    );
    crossing(
        &db,
        "ALTER TYPE s.mood RENAME VALUE 'd' TO 'e'",
        "ALTER TABLE s.more ADD COLUMN m s.mood DEFAULT 'z'",
        true,
    );
    known(&mut client, "s.more");
}

#[test]
fn other_peoples_tables_are_not_locked_by_what_happens_to_their_schema() {
    let (db, mut client) = with_rows(
        "CREATE TABLE s.t (id int PRIMARY KEY); CREATE TABLE s.plain (id int)",
        "(1)",
    );
    crossing(
        &db,
        "ALTER SCHEMA s RENAME TO s2",
        "INSERT INTO s.plain VALUES (1)",
        false,
    );
    known(&mut client, "s2.t");
}
