//! Rows as they stood equal a dump that was taken at that moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Cluster, Database, await_lines, lines};

use super::{Shop, same_as_table};
use crate::capture::run;

/// A small generator of its own: what failed once fails again.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }
}

/// One transaction of random changes: savepoints, rollbacks, changes of keys, rows that come back.
fn change(client: &mut Client, dice: &mut Dice) {
    let account = [ACCOUNT_A, ACCOUNT_B][dice.below(2) as usize];
    let mut statements = vec!["BEGIN".to_owned()];
    for step in 0..1 + dice.below(5) {
        let (id, other) = (dice.below(30), dice.below(30));
        let value = dice.below(1000);
        if dice.below(4) == 0 {
            statements.push(format!("SAVEPOINT s{step}"));
        }
        statements.push(match dice.below(7) {
            0 | 1 => format!(
                "INSERT INTO shop.item (id, account_id, name, amount) \
                 VALUES ({id}, '{account}', 'n{value}', {value}.{step}0) ON CONFLICT DO NOTHING"
            ),
            2 | 3 => format!("UPDATE shop.item SET name = 'u{value}' WHERE id IN ({id}, {other})"),
            4 => format!("DELETE FROM shop.item WHERE id = {id}"),
            5 => format!(
                "UPDATE shop.item SET id = {other} WHERE id = {id} \
                 AND NOT EXISTS (SELECT FROM shop.item WHERE id = {other})"
            ),
            _ => format!(
                "UPDATE shop.item SET account_id = '{account}', amount = NULL WHERE id = {id}"
            ),
        });
        if dice.below(8) == 0
            && statements
                .iter()
                .any(|s| *s == format!("SAVEPOINT s{step}"))
        {
            statements.push(format!("ROLLBACK TO s{step}"));
        }
    }
    let end = if dice.below(6) == 0 {
        "ROLLBACK"
    } else {
        "COMMIT"
    };
    statements.push(end.to_owned());
    // Sessions wait for each other, and may wait in vain or meet on one key: then all is undone.
    if client.batch_execute(&statements.join(";")).is_err() {
        let _ = client.batch_execute("ROLLBACK");
    }
}

/// Sessions that change rows at random until told to stop.
fn beside_writers(shop: &Shop, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 1..4 {
            let (stop, mut client) = (&stop, shop.db.superuser());
            scope.spawn(move || {
                // Who waits too long is undone, before anybody would look for a deadlock.
                run(&mut client, "SET lock_timeout = '20ms'");
                let mut dice = Dice(seed);
                while !stop.load(Ordering::Relaxed) {
                    change(&mut client, &mut dice);
                }
            });
        }
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        work();
    });
}

/// What a dump taken now holds: a snapshot, and the rows it sees.
struct Dump {
    snapshot: String,
    rows: Vec<String>,
    of_a: Vec<String>,
    client: Client,
}

impl Dump {
    fn take(shop: &Shop) -> Self {
        let mut client = shop.db.superuser();
        run(&mut client, "BEGIN ISOLATION LEVEL REPEATABLE READ");
        let snapshot = lines(&mut client, "SELECT pg_current_snapshot()").concat();
        let all = "SELECT to_jsonb(t)::text FROM shop.item AS t";
        let rows = lines(&mut client, &format!("{all} ORDER BY 1"));
        let of_a = format!("{all} WHERE account_id = '{ACCOUNT_A}' ORDER BY 1");
        let of_a = lines(&mut client, &of_a);
        Self {
            snapshot,
            rows,
            of_a,
            client,
        }
    }

    fn folded(&self, client: &mut Client, account: &str) -> Vec<String> {
        let query = format!(
            "SELECT (r::jsonb - 'at' || jsonb_build_object('at', (r ->> 'at')::timestamptz))::text
             FROM tenant_guard.as_of_snapshot('shop.item', '{}', {account}) AS r ORDER BY 1",
            self.snapshot
        );
        lines(client, &query)
    }
}

#[test]
fn rows_as_of_a_snapshot_are_those_of_a_dump_taken_under_it() {
    let shop = Shop::new();
    let mut dumps = Vec::new();
    beside_writers(&shop, || {
        for round in 0..25 {
            dumps.push(Dump::take(&shop));
            if round % 5 == 4 {
                run(&mut shop.db.superuser(), "SELECT tenant_guard.seal()");
            }
            // Between two dumps something is committed.
            let mut watcher = shop.db.superuser();
            let events = "SELECT count(*) FROM tenant_guard.audit_log";
            let before = lines(&mut watcher, events).concat();
            let more = format!("SELECT count(*) > {before} FROM tenant_guard.audit_log");
            await_lines(&mut watcher, &more, &["t"]);
        }
    });
    let mut auditor = shop.auditor();
    let mut seen = 0;
    for dump in &dumps {
        assert_eq!(dump.folded(&mut auditor, "NULL"), dump.rows);
        let account = format!("'{ACCOUNT_A}'");
        assert_eq!(dump.folded(&mut auditor, &account), dump.of_a);
        seen += dump.rows.len();
    }
    assert!(seen > 100, "{seen} rows");
    let sound = "SELECT * FROM tenant_guard.verify_state('shop.item')";
    assert_eq!(lines(&mut auditor, sound), [""; 0]);
    drop(dumps.into_iter().map(|dump| dump.client));
}

/// The transaction that began first changed the row last.
#[test]
fn order_of_changes_is_not_that_of_transaction_ids() {
    let shop = Shop::with_items();
    let (mut first, mut second) = (shop.db.superuser(), shop.db.superuser());
    run(
        &mut first,
        "BEGIN; UPDATE shop.item SET name = 'first' WHERE id = 3",
    );
    run(
        &mut second,
        "UPDATE shop.item SET name = 'second', amount = 8 WHERE id = 1",
    );
    run(
        &mut first,
        "UPDATE shop.item SET name = 'third' WHERE id = 1; COMMIT",
    );
    let snapshot = lines(&mut first, "SELECT pg_current_snapshot()").concat();
    same_as_table(&mut first, "shop.item", &snapshot);
    let history = r#"SELECT data::json -> 'new' ->> 'name'
        FROM tenant_guard.row_history('shop.item', '{"id": 1}') WHERE action = 'update'"#;
    assert_eq!(lines(&mut shop.auditor(), history), ["second", "third"]);
}

/// A time between blocks, a time of a block, and times before and after everything.
#[test]
fn rows_as_of_a_time_are_those_of_the_transactions_that_were_over() {
    let shop = Shop::new();
    let mut client = shop.db.superuser();
    let now = |client: &mut Client| lines(client, "SELECT clock_timestamp()").concat();
    let mut moments = vec![(now(&mut client), 0)];
    for id in 1..=6 {
        shop.write(
            ACCOUNT_A,
            &format!("INSERT INTO shop.item (id) VALUES ({id})"),
        );
        if id % 2 == 0 {
            run(&mut client, "SELECT tenant_guard.seal()");
        }
        moments.push((now(&mut client), id));
    }
    // Events of before the moment, committed after it: they are in no block of then.
    let mut late = shop.db.superuser();
    run(
        &mut late,
        &format!("BEGIN; INSERT INTO shop.item (id, account_id) VALUES (7, '{ACCOUNT_A}')"),
    );
    moments.push((now(&mut client), 6));
    run(&mut client, "SELECT tenant_guard.seal(true)");
    run(&mut client, "SELECT tenant_guard.seal(true)");
    run(&mut late, "COMMIT");
    run(&mut client, "SELECT tenant_guard.seal()");
    moments.push(("infinity".to_owned(), 7));
    let mut auditor = shop.auditor();
    for (at, expected) in &moments {
        let query = format!("SELECT count(*) FROM tenant_guard.as_of('shop.item', '{at}')");
        assert_eq!(lines(&mut auditor, &query), [expected.to_string()], "{at}");
    }
    let before = "SELECT tenant_guard.as_of('shop.item', '-infinity')";
    let before = auditor.batch_execute(before);
    tenant_guard_tests::expect_error(
        before,
        "55000",
        "the state of relation shop.item is not known",
    );
}

/// What was changed before a moment and committed after it happened after it, where the server keeps the time
/// of the commit; else the last event has to do.
#[test]
fn time_of_the_commit_decides_where_it_is_kept() {
    let kept = Cluster::start(&["track_commit_timestamp=on"]).database();
    for (db, expected) in [(kept, ["0", "1"]), (Database::new(), ["1", "1"])] {
        let (mut client, mut late) = (db.superuser(), db.superuser());
        run(
            &mut client,
            "CREATE TABLE late (id int PRIMARY KEY); SELECT tenant_guard.audit('late')",
        );
        run(&mut late, "BEGIN; INSERT INTO late VALUES (1)");
        let mut moments = lines(&mut client, "SELECT clock_timestamp()");
        run(&mut late, "COMMIT");
        moments.extend(lines(&mut client, "SELECT clock_timestamp()"));
        for (at, expected) in moments.iter().zip(expected) {
            let query = format!("SELECT count(*) FROM tenant_guard.as_of('public.late', '{at}')");
            assert_eq!(lines(&mut client, &query), [expected]);
        }
    }
}

#[test]
fn identity_looks_back_at_its_own_rows() {
    let shop = Shop::with_items();
    let names = "SELECT r ->> 'name' FROM tenant_guard.as_of('shop.item', now()) AS r ORDER BY 1";
    let seen = |account| shop.within(account, &["manager"], |session| lines(session, names));
    assert_eq!(seen(ACCOUNT_A), ["abe", "ann"]);
    assert_eq!(seen(ACCOUNT_B), ["bob"]);
    // Digits are those that were stored, and a row that came from another account is whole.
    let moved = format!("UPDATE shop.item SET account_id = '{ACCOUNT_B}' WHERE id = 1");
    run(&mut shop.db.superuser(), &moved);
    assert_eq!(seen(ACCOUNT_A), ["abe"]);
    assert_eq!(seen(ACCOUNT_B), ["ann", "bob"]);
    let row =
        "SELECT r FROM tenant_guard.as_of('shop.item', now()) AS r WHERE r ->> 'name' = 'ann'";
    assert_eq!(
        shop.within(ACCOUNT_B, &["manager"], |session| lines(session, row)),
        [format!(
            r#"{{"id":1,"account_id":"{ACCOUNT_B}","name":"ann","amount":1.50,"at":"2024-02-29 11:00:00.5+00","tags":null}}"#
        )]
    );
}
