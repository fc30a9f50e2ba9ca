//! kill -9 of a backend, of the sealer and of the whole server, beside writers. What the writers
//! were told is committed is the truth: each such event is there, sealed once. What was under way
//! when they were cut off counts if its rows are there.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use postgres::Client;
use tenant_guard_tests::{Cluster, Database, lines};

use super::concurrent::{ACCOUNTS_THAT_DIFFER, BLOCKS_THAT_DIFFER};
use super::{audit_items, findings, findings_against};
use crate::capture::run;

const WRITERS: usize = 8;

#[test]
fn killed_processes_lose_and_double_no_event() {
    check_kills(6);
}

#[test]
#[ignore = "kills fifty times"]
fn fifty_kills_lose_and_double_no_event() {
    check_kills(50);
}

/// What a writer knows of its items.
#[derive(Default)]
struct Known {
    acknowledged: BTreeSet<String>,
    /// The server was gone before it answered COMMIT.
    unknown: BTreeSet<String>,
}

fn check_kills(kills: usize) {
    let cluster = Cluster::start(&["tenant_guard.seal_interval=20ms", "max_worker_processes=8"]);
    let db = cluster.database();
    let mut client = db.superuser();
    run(&mut client, "SELECT tenant_guard.init_ledger()");
    audit_items(&mut client);
    drop(client);

    let stop = AtomicBool::new(false);
    let known = Mutex::new(Known::default());
    let mut checkpoints = Vec::new();
    thread::scope(|scope| {
        for number in 0..WRITERS {
            let (db, stop, known) = (&db, &stop, &known);
            scope.spawn(move || write_until(db, number, stop, known));
        }
        let mut killer = Killer::new(&db);
        for round in 0..kills {
            checkpoints.extend(killer.kill(round));
        }
        stop.store(true, Relaxed);
    });

    let mut client = connect(&db, &AtomicBool::new(false)).expect("the server is back");
    let wait = "SELECT tenant_guard.wait_sealed(timeout => '60 s')";
    assert_eq!(lines(&mut client, wait), ["t"]);
    let known = known.into_inner().unwrap();
    check(&mut client, &known, kills);
    for checkpoint in &checkpoints {
        assert_eq!(findings_against(&mut client, checkpoint), [""; 0]);
    }
    println!(
        "{} events acknowledged, {} cut off, {} checkpoints kept",
        known.acknowledged.len(),
        known.unknown.len(),
        checkpoints.len()
    );
}

#[track_caller]
fn check(client: &mut Client, known: &Known, kills: usize) {
    let logged = lines(
        client,
        "SELECT row_key::json ->> 'key' FROM tenant_guard.audit_log ORDER BY 1",
    );
    let set: BTreeSet<String> = logged.iter().cloned().collect();
    assert_eq!(set.len(), logged.len(), "an event is there twice");
    let stored: BTreeSet<String> = lines(client, "SELECT key FROM item").into_iter().collect();
    assert_eq!(set, stored, "rows and events differ");
    let lost: Vec<_> = known.acknowledged.difference(&set).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let told: BTreeSet<_> = known.acknowledged.union(&known.unknown).cloned().collect();
    let strange: Vec<_> = set.difference(&told).collect();
    assert!(strange.is_empty(), "nobody wrote {strange:?}");
    assert!(known.acknowledged.len() > 20 * kills, "hardly any load");

    let sealed = "SELECT sum(events), max(block) = count(*) FROM tenant_guard.ledger_block";
    assert_eq!(lines(client, sealed), [format!("{}|t", logged.len())]);
    assert_eq!(lines(client, BLOCKS_THAT_DIFFER), [""; 0]);
    assert_eq!(lines(client, ACCOUNTS_THAT_DIFFER), [""; 0]);
    assert_eq!(findings(client), [""; 0]);
}

/// A session, as soon as the server takes one; none once the test is over.
fn connect(db: &Database, stop: &AtomicBool) -> Option<Client> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !stop.load(Relaxed) {
        if let Ok(client) = db.config("postgres").connect(postgres::NoTls) {
            return Some(client);
        }
        assert!(Instant::now() < deadline, "the server does not come back");
        thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Writes transactions of one to five items, every fourth over a savepoint, and notes what came
/// of them.
fn write_until(db: &Database, number: usize, stop: &AtomicBool, known: &Mutex<Known>) {
    let mut made = 0;
    while let Some(mut client) = connect(db, stop) {
        while !stop.load(Relaxed) {
            let keys: Vec<_> = (0..=made % 5)
                .map(|n| format!("{number}.{made}.{n}"))
                .collect();
            let mut statements = String::from("BEGIN;");
            for key in &keys {
                let account = made % 3;
                statements.push_str(&format!(
                    "INSERT INTO item VALUES ('{key}', 'account {account}');"
                ));
            }
            if made % 4 == 0 {
                statements.push_str(
                    "SAVEPOINT s; INSERT INTO item VALUES ('never', 'x'); ROLLBACK TO s;",
                );
            }
            statements.push_str("COMMIT");
            made += 1;
            let result = client.batch_execute(&statements);
            let mut known = known.lock().unwrap();
            match result {
                Ok(()) => known.acknowledged.extend(keys),
                Err(_) => {
                    known.unknown.extend(keys);
                    break;
                }
            }
        }
    }
}

struct Killer<'a> {
    db: &'a Database,
    random: u64,
}

impl<'a> Killer<'a> {
    fn new(db: &'a Database) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let random = now.map_or(1, |now| now.as_nanos() as u64 | 1);
        println!("seed {random}");
        Self { db, random }
    }

    /// One of many numbers below `limit` (xorshift).
    fn random(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    /// Kills one process at a random moment; returns the checkpoint taken just before, if any.
    fn kill(&mut self, round: usize) -> Option<String> {
        let mut client = connect(self.db, &AtomicBool::new(false)).expect("nobody stops it");
        thread::sleep(Duration::from_millis(100 + self.random(400)));
        let checkpoint = client.query_one("SELECT tenant_guard.checkpoint()", &[]);
        let checkpoint = checkpoint.ok().map(|row| row.get(0));
        let victim = match round % 3 {
            0 => "backend_type = 'client backend' AND pid <> pg_backend_pid()",
            1 => "backend_type = 'tenant_guard sealer'",
            _ => {
                drop(client);
                self.kill_server();
                return checkpoint;
            }
        };
        let query =
            format!("SELECT pid FROM pg_stat_activity WHERE {victim} ORDER BY random() LIMIT 1");
        let deadline = Instant::now() + Duration::from_secs(30);
        let pid = loop {
            match lines(&mut client, &query).pop() {
                Some(pid) => break pid,
                None => assert!(Instant::now() < deadline, "there is no process to kill"),
            }
        };
        kill(&pid);
        // The server throws everybody out, this session too, before it starts again.
        while client.batch_execute("SELECT 1").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
        checkpoint
    }

    fn kill_server(&self) {
        let cluster = self.db.cluster();
        cluster.kill();
        cluster.restart_after_kill();
    }
}

fn kill(pid: &str) {
    let status = Command::new("kill").args(["-9", pid]).status();
    assert!(status.expect("kill is there").success());
}
