//! Locks of protect and its kin beside an application that keeps writing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;
use tenant_guard_tests::{ACCOUNT_A, Cluster, Database, expect_error, lines};

use super::Shop;

/// Tables `shop.a` and `shop.b`, each with one row of account A for every client.
fn tables(names: &[&str]) -> Shop {
    let ddl: String = names
        .iter()
        .map(|name| {
            format!(
                "CREATE TABLE shop.{name} (client int PRIMARY KEY, account_id uuid, n int NOT NULL);
                 INSERT INTO shop.{name} SELECT c, '{ACCOUNT_A}', 0 FROM generate_series(0, 9) AS c;"
            )
        })
        .collect();
    Shop::with(&ddl)
}

/// Waits until the database answers `true`.
#[track_caller]
fn until(db: &Database, condition: &str) {
    let mut superuser = db.superuser();
    let started = Instant::now();
    while lines(&mut superuser, &format!("SELECT {condition}")) != ["t"] {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "never came true: {condition}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a session tries to lock a table and does not get it.
#[track_caller]
pub(super) fn until_locking(db: &Database) {
    until(
        db,
        "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
             AND query LIKE '%tenant_guard.%' AND pid <> pg_backend_pid()
             AND wait_event_type IN ('Lock', 'Extension'))",
    );
}

#[test]
fn application_that_holds_one_table_and_wants_the_other_is_not_the_victim() {
    let shop = tables(&["a", "b"]);
    let mut app = shop.app();
    let mut open = app.transaction().unwrap();
    open.batch_execute("UPDATE shop.b SET n = n + 1 WHERE client = 0")
        .unwrap();
    thread::scope(|scope| {
        let protecting = scope.spawn(|| {
            shop.owner()
                .batch_execute("SELECT tenant_guard.protect_schema('shop')")
        });
        until_locking(&shop.db);
        // Whatever is held between two of these, none of them may fail, or wait for long: half of
        // deadlock_timeout at most, and the machine may stall once.
        let (started, mut slow) = (Instant::now(), 0);
        while started.elapsed() < Duration::from_secs(3) {
            let statement = Instant::now();
            open.batch_execute("UPDATE shop.a SET n = n + 1 WHERE client = 0")
                .unwrap();
            slow += u32::from(statement.elapsed() > Duration::from_millis(900));
        }
        assert!(slow <= 1, "{slow} statements waited for long");
        open.commit().unwrap();
        protecting.join().unwrap().unwrap();
    });
    let protected = "SELECT relation FROM tenant_guard.protected_relation ORDER BY 1";
    assert_eq!(
        lines(&mut shop.db.superuser(), protected),
        ["shop.a", "shop.b"]
    );
}

/// The transaction of the migration holds `shop.a` for good, so the application has to wait for
/// its end; but it is the migration that ends.
#[test]
fn migration_that_holds_a_table_already_gives_up_before_the_application_dies() {
    let shop = tables(&["a", "b"]);
    let mut app = shop.app();
    let mut open = app.transaction().unwrap();
    open.batch_execute("UPDATE shop.b SET n = n + 1 WHERE client = 0")
        .unwrap();
    thread::scope(|scope| {
        let protecting = scope.spawn(|| {
            shop.owner().batch_execute(
                "BEGIN; SET LOCAL lock_timeout = '4s';
                 SELECT tenant_guard.protect('shop.a'); SELECT tenant_guard.protect('shop.b'); COMMIT",
            )
        });
        until_locking(&shop.db);
        // Waits for longer than deadlock_timeout, in which nobody finds a deadlock.
        open.batch_execute("UPDATE shop.a SET n = n + 1 WHERE client = 0")
            .unwrap();
        open.commit().unwrap();
        expect_error(
            protecting.join().unwrap(),
            "55P03",
            "could not obtain lock on relation shop.b within 4000 ms",
        );
    });
}

#[test]
fn lock_not_had_in_time_is_55p03_and_changes_nothing() {
    let shop = tables(&["a", "b"]);
    let before = shop.dump();
    let mut app = shop.app();
    let mut open = app.transaction().unwrap();
    open.batch_execute("UPDATE shop.b SET n = n + 1 WHERE client = 0")
        .unwrap();
    let mut owner = shop.owner();
    owner.batch_execute("SET lock_timeout = '300ms'").unwrap();
    for call in ["protect('shop.b')", "protect_schema('shop')"] {
        let started = Instant::now();
        expect_error(
            owner.batch_execute(&format!("SELECT tenant_guard.{call}")),
            "55P03",
            "could not obtain lock on relation shop.b within 300 ms",
        );
        assert!(started.elapsed() < Duration::from_secs(10));
        let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'
             AND relation IN ('shop.a'::regclass, 'shop.b'::regclass)";
        assert_eq!(lines(&mut shop.db.superuser(), held), ["0"]);
    }
    // The setting of the caller is what it was.
    assert_eq!(lines(&mut owner, "SHOW lock_timeout"), ["300ms"]);
    assert_eq!(shop.dump(), before);
    open.rollback().unwrap();
    owner
        .batch_execute("SELECT tenant_guard.protect_schema('shop')")
        .unwrap();
}

#[test]
fn error_names_the_process_in_the_way() {
    let shop = tables(&["a"]);
    let mut app = shop.app();
    let mut open = app.transaction().unwrap();
    open.batch_execute("SELECT FROM shop.a").unwrap();
    let pid = lines(&mut open, "SELECT pg_backend_pid()");
    let error = shop
        .owner()
        .batch_execute("SET lock_timeout = '20ms'; SELECT tenant_guard.protect('shop.a')")
        .unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "55P03");
    assert_eq!(
        error.detail(),
        Some(format!("Locked by process {}.", pid[0]).as_str())
    );
    assert!(error.hint().unwrap().contains("Nothing was changed"));
}

/// What a subtransaction of a procedure does with the locks is the caller's to say.
#[test]
fn caught_failure_leaves_the_transaction_usable() {
    let shop = tables(&["a", "b"]);
    let mut app = shop.app();
    let mut open = app.transaction().unwrap();
    open.batch_execute("SELECT FROM shop.b").unwrap();
    let mut owner = shop.owner();
    owner
        .batch_execute(
            "SET lock_timeout = '50ms';
             DO $$ BEGIN
                 BEGIN
                     PERFORM tenant_guard.protect('shop.b');
                 EXCEPTION WHEN lock_not_available THEN
                     PERFORM tenant_guard.protect('shop.a');
                 END;
             END $$",
        )
        .unwrap();
    open.commit().unwrap();
    owner
        .batch_execute("SELECT tenant_guard.protect('shop.b')")
        .unwrap();
    assert!(
        shop.check("code")
            .iter()
            .all(|code| !code.contains("unprotected"))
    );
}

#[test]
fn cancel_ends_the_waiting_at_any_moment() {
    let shop = tables(&["a", "b"]);
    let before = shop.dump();
    let mut app = shop.app();
    let mut open = app.transaction().unwrap();
    open.batch_execute("SELECT FROM shop.b").unwrap();
    let mut owner = shop.owner();
    let pid = lines(&mut owner, "SELECT pg_backend_pid()").remove(0);
    let mut superuser = shop.db.superuser();
    for milliseconds in [1, 30, 90, 200, 450, 800] {
        thread::scope(|scope| {
            let protecting =
                scope.spawn(|| owner.batch_execute("SELECT tenant_guard.protect_schema('shop')"));
            until_locking(&shop.db);
            thread::sleep(Duration::from_millis(milliseconds));
            let started = Instant::now();
            // Not a cancel request: that sends the signal twice, and the second one may come late
            // and end the next statement.
            lines(&mut superuser, &format!("SELECT pg_cancel_backend({pid})"));
            expect_error(
                protecting.join().unwrap(),
                "57014",
                "canceling statement due to user request",
            );
            assert!(started.elapsed() < Duration::from_secs(10));
        });
        assert_eq!(lines(&mut owner, "SELECT 1"), ["1"]);
    }
    open.commit().unwrap();
    assert_eq!(shop.dump(), before);
}

#[test]
fn statement_timeout_holds_while_waiting() {
    let shop = tables(&["a"]);
    let mut app = shop.app();
    let mut open = app.transaction().unwrap();
    open.batch_execute("SELECT FROM shop.a").unwrap();
    expect_error(
        shop.owner().batch_execute(
            "SET statement_timeout = '200ms'; SELECT tenant_guard.protect('shop.a')",
        ),
        "57014",
        "canceling statement due to statement timeout",
    );
    open.commit().unwrap();
}

/// Runs `protect('shop.t')` while another transaction of the owner holds the table, does
/// `meanwhile` in it and commits.
fn protect_while(shop: &Shop, meanwhile: &str) -> Result<(), postgres::Error> {
    let mut other = shop.owner();
    let mut open = other.transaction().unwrap();
    open.batch_execute("LOCK TABLE shop.t IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    thread::scope(|scope| {
        let protecting = scope.spawn(|| {
            let relation = lines(
                &mut shop.db.superuser(),
                "SELECT oid FROM pg_class WHERE relname = 't'",
            );
            shop.owner()
                .batch_execute(&format!("SELECT tenant_guard.protect({})", relation[0]))
        });
        until_locking(&shop.db);
        open.batch_execute(meanwhile).unwrap();
        open.commit().unwrap();
        protecting.join().unwrap()
    })
}

#[test]
fn what_changed_while_the_lock_was_awaited_is_read_anew() {
    let ddl = "CREATE TABLE shop.t (id int PRIMARY KEY, account_id uuid)";
    let protected = "SELECT relation FROM tenant_guard.protection_member ORDER BY relation::text";

    let shop = Shop::with(ddl);
    protect_while(
        &shop,
        "CREATE TABLE shop.child () INHERITS (shop.t);
         CREATE TABLE shop.grandchild () INHERITS (shop.child)",
    )
    .unwrap();
    assert_eq!(
        lines(&mut shop.db.superuser(), protected),
        ["shop.child", "shop.grandchild", "shop.t"]
    );

    let shop = Shop::with(ddl);
    protect_while(&shop, "ALTER TABLE shop.t RENAME TO renamed").unwrap();
    assert_eq!(lines(&mut shop.db.superuser(), protected), ["shop.renamed"]);

    let shop = Shop::with(ddl);
    let dropped = protect_while(&shop, "DROP TABLE shop.t");
    expect_error(dropped, "42P01", "does not exist");

    let shop = Shop::with(ddl);
    let other = protect_while(&shop, "ALTER TABLE shop.t DROP COLUMN account_id");
    expect_error(other, "42703", "column \"account_id\" of relation shop.t");
}

#[test]
fn readers_and_writers_go_on_while_the_registry_is_held() {
    let shop = tables(&["a", "b"]);
    let mut first = shop.owner();
    let mut open = first.transaction().unwrap();
    open.batch_execute("SELECT tenant_guard.protect('shop.a')")
        .unwrap();
    let mut second = shop.owner();
    expect_error(
        second.batch_execute("SET lock_timeout = '200ms'; SELECT tenant_guard.protect('shop.b')"),
        "55P03",
        "could not obtain lock on relation tenant_guard.protection within 200 ms",
    );
    let mut app = shop.app();
    app.batch_execute(
        "SET lock_timeout = '1ms'; SELECT FROM shop.b; UPDATE shop.b SET n = 1 WHERE client = 0",
    )
    .unwrap();
    open.commit().unwrap();
    second
        .batch_execute("SELECT tenant_guard.protect('shop.b')")
        .unwrap();
}

/// Nobody who waits in a queue for less than deadlock_timeout makes autovacuum give way, so it is
/// asked to.
#[test]
fn autovacuum_gives_way() {
    let cluster = Cluster::start(&["autovacuum_naptime=1s", "deadlock_timeout=200ms"]);
    let db = cluster.database();
    // Before PostgreSQL 15 a session that has nothing to do keeps its latest counts to itself.
    db.superuser()
        .batch_execute(
            "CREATE TABLE t (account_id uuid, filler text)
                 WITH (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,
                     autovacuum_vacuum_insert_threshold = 10, autovacuum_vacuum_insert_scale_factor = 0);
             INSERT INTO t SELECT gen_random_uuid(), repeat('x', 1000) FROM generate_series(1, 20000)",
        )
        .unwrap();
    until(
        &db,
        "EXISTS (SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
             WHERE a.backend_type = 'autovacuum worker' AND l.relation = 't'::regclass)",
    );
    db.superuser()
        .batch_execute("SET lock_timeout = '20s'; SELECT tenant_guard.protect('t')")
        .unwrap();
    assert!(db.server_log().contains("canceling autovacuum task"));
}

const STORM: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Clients that update tables in a random order, three a transaction, while the owner protects and
/// unprotects all of them. Each client has rows of its own, so only our locks are between them.
fn storm(clients: usize, time: Duration) {
    let shop = tables(&STORM);
    let (stop, transactions) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut had, mut not_had) = (0, 0);
    thread::scope(|scope| {
        for client in 0..clients {
            let (shop, stop, transactions) = (&shop, &stop, &transactions);
            scope.spawn(move || {
                let mut session = shop.app();
                let mut random = 88_172_645_463_325_252 ^ client as u64;
                while !stop.load(Relaxed) {
                    update_three(shop, &mut session, client, &mut random);
                    transactions.fetch_add(1, Relaxed);
                }
            });
        }
        let mut owner = shop.owner();
        owner.batch_execute("SET lock_timeout = '5s'").unwrap();
        // Each in a transaction of its own: what is held from one call to the next stands in the
        // way of those whose locks the next one needs.
        let mut changes = vec!["protect_schema('shop')".to_owned()];
        changes.extend(STORM.map(|table| format!("unprotect('shop.{table}')")));
        let started = Instant::now();
        for change in changes.iter().cycle() {
            if started.elapsed() > time {
                break;
            }
            match owner.batch_execute(&format!("SELECT tenant_guard.{change}")) {
                Ok(()) => had += 1,
                Err(error) if error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => {
                }
                refused => {
                    expect_error(refused, "55P03", "could not obtain lock on relation shop.");
                    not_had += 1;
                }
            }
        }
        stop.store(true, Relaxed);
    });
    let transactions = transactions.into_inner();
    println!("{transactions} transactions, {had} changes of protection, {not_had} given up");
    assert!(transactions > 100 && had > 0);
    assert_eq!(shop.db.deadlocks(), [""; 0]);
}

fn update_three(shop: &Shop, session: &mut Client, client: usize, random: &mut u64) {
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    for _ in 0..3 {
        // xorshift64: any spread will do.
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let table = STORM[(*random % STORM.len() as u64) as usize];
        let update = format!(
            "UPDATE shop.{table} SET n = n + 1 WHERE client = {client} AND account_id = '{ACCOUNT_A}'"
        );
        assert_eq!(transaction.execute(&update, &[]).unwrap(), 1);
    }
    transaction.commit().unwrap();
}

#[test]
fn storm_of_writers_meets_no_deadlock() {
    storm(4, Duration::from_secs(5));
}

#[test]
#[ignore = "writes for two minutes"]
fn long_storm_of_writers_meets_no_deadlock() {
    storm(8, Duration::from_secs(120));
}
