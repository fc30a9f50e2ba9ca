//! Sealing beside writers. What the writers know they committed is the truth that log, blocks and
//! trees are held against.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use tenant_guard_tests::{Cluster, Database, expect_error, lines};

use super::{add, audit_items, database, findings, seal};
use crate::capture::run;

const WRITERS: usize = 16;

/// Blocks that the held transactions outlast.
const HELD_OVER: i64 = 20;

/// How much is written, and by whom.
struct Load {
    /// The writers' accounts, in turn.
    accounts: usize,
    /// Writing ends with this many events,
    events: usize,
    /// or after this time, but not before the held transactions are over.
    time: Duration,
    /// Between two rounds of sealing.
    pause: Duration,
}

/// Minutes of load belong to the long tier; this is enough to meet every kind of transaction.
const SHORT: Load = Load {
    accounts: 1,
    events: usize::MAX,
    time: Duration::from_secs(3),
    pause: Duration::from_millis(20),
};

const LONG: Load = Load {
    events: 200_000,
    time: Duration::from_secs(60),
    pause: Duration::from_millis(100),
    ..SHORT
};

#[test]
fn writers_in_one_account_are_sealed_exactly_once() {
    check_load(&SHORT);
}

#[test]
fn writers_in_many_accounts_are_sealed_exactly_once() {
    check_load(&Load {
        accounts: 100,
        ..SHORT
    });
}

#[test]
#[ignore = "writes for a minute"]
fn many_events_in_one_account_are_sealed_exactly_once() {
    check_load(&LONG);
}

#[test]
#[ignore = "writes for a minute"]
fn many_events_in_many_accounts_are_sealed_exactly_once() {
    check_load(&Load {
        accounts: 1_000,
        ..LONG
    });
}

/// What the threads tell each other.
#[derive(Default)]
struct Progress {
    events: AtomicUsize,
    blocks: AtomicI64,
    writers_stop: AtomicBool,
    all_written: AtomicBool,
}

impl Progress {
    fn wait_for_block(&self, block: i64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.blocks.load(Relaxed) < block {
            assert!(Instant::now() < deadline, "block {block} is never sealed");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sets a flag however its scope is left, so that a failure ends the threads that wait for it.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn check_load(load: &Load) {
    let db = database();
    let progress = Progress::default();
    let (truth, sealed) = thread::scope(|scope| {
        let _stop = SetAtEnd(&progress.all_written);
        let sealer = scope.spawn(|| seal_until_written(&db, load, &progress));
        let verifier = scope.spawn(|| verify_until_written(&db, &progress));
        let truth = write_load(&db, load, &progress);
        progress.all_written.store(true, Relaxed);
        assert!(verifier.join().expect("verification does not fail") > 0);
        (truth, sealer.join().expect("sealing does not fail"))
    });
    check_against_truth(&mut db.superuser(), truth, sealed);
}

/// Runs the writers and the held transactions. Returns what they committed, in no order.
fn write_load(db: &Database, load: &Load, progress: &Progress) -> Vec<String> {
    let deadline = Instant::now() + load.time;
    thread::scope(|scope| {
        let _stop = SetAtEnd(&progress.writers_stop);
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let mut writer = Writer::new(db, number, load);
                scope.spawn(move || {
                    writer.write(progress);
                    writer.committed
                })
            })
            .collect();
        let held = Held::begin(db);
        progress.wait_for_block(progress.blocks.load(Relaxed) + HELD_OVER + 1);
        let mut truth = held.end();
        while Instant::now() < deadline && progress.events.load(Relaxed) < load.events {
            thread::sleep(Duration::from_millis(10));
        }
        progress.writers_stop.store(true, Relaxed);
        for writer in writers {
            truth.extend(writer.join().expect("a writer does not fail"));
        }
        truth
    })
}

/// Seals round after round, and in the end until nothing is left. Returns the rounds' rows.
fn seal_until_written(db: &Database, load: &Load, progress: &Progress) -> Vec<String> {
    let mut sealer = ordinary_admin(db);
    let mut rounds = Vec::new();
    loop {
        let last = progress.all_written.load(Relaxed);
        let round = seal(&mut sealer);
        if last && round.is_empty() {
            return rounds;
        }
        rounds.extend(round);
        progress.blocks.store(rounds.len() as i64, Relaxed);
        thread::sleep(load.pause);
    }
}

fn ordinary_admin(db: &Database) -> Client {
    let role = db.role("sealer");
    let grant = format!("GRANT tenant_guard_admin TO {role}");
    run(&mut db.superuser(), &grant);
    db.connect_as(&role)
}

/// Whatever moment it meets, the ledger is intact.
fn verify_until_written(db: &Database, progress: &Progress) -> usize {
    let mut client = db.superuser();
    let mut verified = 0;
    while !progress.all_written.load(Relaxed) {
        assert_eq!(findings(&mut client), [""; 0]);
        verified += 1;
        thread::sleep(Duration::from_millis(500));
    }
    verified
}

/// One session that writes transactions of all kinds and notes the events it committed, each as
/// `action account key`.
struct Writer {
    client: Client,
    number: usize,
    accounts: usize,
    made: usize,
    committed: Vec<String>,
}

impl Writer {
    fn new(db: &Database, number: usize, load: &Load) -> Self {
        Self {
            client: db.superuser(),
            number,
            accounts: load.accounts,
            made: 0,
            committed: Vec::new(),
        }
    }

    fn write(&mut self, progress: &Progress) {
        for turn in self.number.. {
            if progress.writers_stop.load(Relaxed) {
                return;
            }
            let before = self.committed.len();
            match turn % 64 {
                0 => self.nest_savepoints(),
                n if n % 8 == 1 => self.roll_back(),
                n if n % 8 == 2 => self.roll_back_a_savepoint(),
                n if n % 8 == 3 => self.fail(),
                n if n % 8 == 4 => self.change_one_item(),
                n if n % 8 == 5 => self.insert(20),
                _ => self.insert(1),
            }
            let events = self.committed.len() - before;
            progress.events.fetch_add(events, Relaxed);
        }
    }

    /// A new item: its account and key, and the statement that inserts it.
    fn item(&mut self) -> (String, String) {
        let account = format!("account {}", (self.number + 7 * self.made) % self.accounts);
        let key = format!("{}.{}", self.number, self.made);
        self.made += 1;
        let insert = format!("INSERT INTO item VALUES ('{key}', '{account}');");
        (format!("{account} {key}"), insert)
    }

    fn run(&mut self, statements: &str) {
        run(&mut self.client, statements);
    }

    fn insert(&mut self, count: usize) {
        let (items, inserts): (Vec<_>, Vec<_>) = (0..count).map(|_| self.item()).unzip();
        self.run(&format!("BEGIN; {} COMMIT", inserts.concat()));
        self.committed
            .extend(items.iter().map(|item| format!("insert {item}")));
    }

    fn change_one_item(&mut self) {
        let (item, insert) = self.item();
        let (_, key) = item.rsplit_once(' ').expect("it ends with the key");
        let key = key.to_owned();
        self.run(&insert);
        self.run(&format!("UPDATE item SET n = n + 1 WHERE key = '{key}'"));
        self.run(&format!("DELETE FROM item WHERE key = '{key}'"));
        for action in ["insert", "update", "delete"] {
            self.committed.push(format!("{action} {item}"));
        }
    }

    fn roll_back(&mut self) {
        let (_, insert) = self.item();
        self.run(&format!("BEGIN; {insert} ROLLBACK"));
    }

    fn fail(&mut self) {
        let (_, insert) = self.item();
        let twice = format!("BEGIN; {insert} {insert} COMMIT");
        expect_error(self.client.batch_execute(&twice), "23505", "");
        self.run("ROLLBACK");
    }

    fn roll_back_a_savepoint(&mut self) {
        let [(first, one), (_, two), (third, three)] = [self.item(), self.item(), self.item()];
        self.run(&format!(
            "BEGIN; {one} SAVEPOINT s; {two} ROLLBACK TO s; {three} COMMIT"
        ));
        for item in [first, third] {
            self.committed.push(format!("insert {item}"));
        }
    }

    /// One hundred savepoints inside each other, an item in each; more than a backend announces
    /// to other sessions' snapshots. The inner half is rolled back.
    fn nest_savepoints(&mut self) {
        let mut statements = String::from("BEGIN;");
        for depth in 0..100 {
            let (item, insert) = self.item();
            statements.push_str(&format!("SAVEPOINT s{depth}; {insert}"));
            if depth < 50 {
                self.committed.push(format!("insert {item}"));
            }
        }
        self.run(&format!("{statements} ROLLBACK TO s50; COMMIT"));
    }
}

/// Transactions that are open while many blocks are sealed.
struct Held {
    open: [Client; 2],
    prepared: [String; 2],
}

impl Held {
    fn begin(db: &Database) -> Self {
        let mut open = [db.superuser(), db.superuser()];
        for (number, client) in open.iter_mut().enumerate() {
            run(
                client,
                "BEGIN; SAVEPOINT s; INSERT INTO item VALUES ('no', 'x'); ROLLBACK TO s",
            );
            add(client, &format!("held {number} early"), "x");
        }
        let prepared = ["kept", "gone"].map(|end| format!("{} {end}", db.name()));
        for name in &prepared {
            run(
                &mut db.superuser(),
                &format!(
                    "BEGIN; INSERT INTO item VALUES ('{name}', 'x'); PREPARE TRANSACTION '{name}'"
                ),
            );
        }
        Self { open, prepared }
    }

    fn end(self) -> Vec<String> {
        let Self {
            mut open,
            prepared: [kept, gone],
        } = self;
        let mut truth = vec![format!("insert x {kept}")];
        for (number, client) in open.iter_mut().enumerate() {
            add(client, &format!("held {number} late"), "x");
            run(client, "COMMIT");
            truth.extend(["early", "late"].map(|when| format!("insert x held {number} {when}")));
        }
        let [client, _] = &mut open;
        run(client, &format!("COMMIT PREPARED '{kept}'"));
        run(client, &format!("ROLLBACK PREPARED '{gone}'"));
        truth
    }
}

/// Holds the log against what was committed, and the blocks against the log.
#[track_caller]
fn check_against_truth(client: &mut Client, mut truth: Vec<String>, sealed: Vec<String>) {
    let mut logged = lines(
        client,
        "SELECT action || ' ' || account_id || ' ' || (row_key::json ->> 'key')
         FROM tenant_guard.audit_log",
    );
    truth.sort_unstable();
    logged.sort_unstable();
    let events = truth.len();
    assert!(
        truth == logged,
        "{events} committed, {} logged",
        logged.len()
    );
    let blocks = "SELECT block, events, accounts FROM tenant_guard.ledger_block ORDER BY block";
    assert_eq!(lines(client, blocks), sealed);
    let numbers = "SELECT count(*), min(block), max(block), sum(events)
                   FROM tenant_guard.ledger_block";
    let count = sealed.len();
    assert!(count as i64 > HELD_OVER);
    assert_eq!(
        lines(client, numbers),
        [format!("{count}|1|{count}|{events}")]
    );
    assert_eq!(lines(client, BLOCKS_THAT_DIFFER), [""; 0]);
    assert_eq!(lines(client, ACCOUNTS_THAT_DIFFER), [""; 0]);
    assert_eq!(findings(client), [""; 0]);
    println!("{events} events in {count} blocks");
}

/// PostgreSQL's own judgement of every transaction by the snapshot of every block: each must be
/// seen from one block on, and as many events begin to be seen in a block as it says it holds.
pub(super) const BLOCKS_THAT_DIFFER: &str = "
    WITH transaction AS (
        SELECT xid, count(*) AS events FROM tenant_guard.audit_log GROUP BY xid
    ), snapshot AS MATERIALIZED (
        SELECT block, snapshot::pg_snapshot FROM tenant_guard.ledger_block
    ), seen AS (
        SELECT xid, events, min(block) AS first, count(block) AS times
        FROM transaction LEFT JOIN snapshot
            ON pg_visible_in_snapshot(xid::text::xid8, snapshot)
        GROUP BY xid, events
    ), counted AS (
        SELECT first AS block, sum(events) AS events,
               bool_and(times = (SELECT max(block) FROM snapshot) - first + 1) AS for_good
        FROM seen GROUP BY first
    )
    SELECT block, b.events, c.events, for_good
    FROM tenant_guard.ledger_block AS b FULL JOIN counted AS c USING (block)
    WHERE b.events IS DISTINCT FROM c.events OR NOT for_good";

/// The same for accounts: what their leaves add up to and what their trees hold.
pub(super) const ACCOUNTS_THAT_DIFFER: &str = "
    SELECT account_id, logged.events, leaves.events, leaves.size, a.size
    FROM (SELECT account_id, count(*) AS events
          FROM tenant_guard.audit_log GROUP BY account_id) AS logged
    FULL JOIN (SELECT account_id, sum(events) AS events, max(account_size) AS size
               FROM tenant_guard.ledger_leaf WHERE account_id IS NOT NULL
               GROUP BY account_id) AS leaves USING (account_id)
    FULL JOIN tenant_guard.ledger_account AS a USING (account_id)
    WHERE (logged.events = leaves.events AND leaves.events = leaves.size AND leaves.size = a.size)
          IS NOT TRUE";

#[test]
fn prepared_transaction_is_sealed_when_it_commits_even_after_a_restart() {
    let cluster = Cluster::start(&[]);
    let db = cluster.database();
    let mut client = db.superuser();
    run(&mut client, "SELECT tenant_guard.init_ledger()");
    audit_items(&mut client);
    run(
        &mut client,
        "BEGIN; INSERT INTO item VALUES ('late', 'a'); PREPARE TRANSACTION 'late'",
    );
    add(&mut client, "one", "a");
    assert_eq!(seal(&mut client), ["1|1|1"]);
    cluster.restart();
    let mut client = db.superuser();
    assert_eq!(seal(&mut client), [""; 0]);
    add(&mut client, "two", "a");
    assert_eq!(seal(&mut client), ["2|1|1"]);
    run(&mut client, "COMMIT PREPARED 'late'");
    assert_eq!(seal(&mut client), ["3|1|1"]);
    assert_eq!(findings(&mut client), [""; 0]);
}
