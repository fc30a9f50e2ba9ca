//! Rows as they stood equal a dump that was taken at that moment, for a load with updates, deletes, savepoints,
//! rollbacks and commands that change the tables themselves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;
use tenant_guard_tests::{Database, lines};

use super::commands::{live, looked, snapshot};
use super::moments::Dice;
use crate::capture::run;

const SETUP: &str = "SELECT tenant_guard.init_ledger(); CREATE SCHEMA s;
    CREATE TYPE s.mood AS ENUM ('l0', 'other');
    CREATE TABLE s.plain (id int PRIMARY KEY, v text, n numeric, m s.mood DEFAULT 'other');
    CREATE TABLE s.parts (id int PRIMARY KEY, v text, n numeric, m s.mood DEFAULT 'other')
        PARTITION BY RANGE (id);
    CREATE TABLE s.p0 PARTITION OF s.parts FOR VALUES FROM (0) TO (10);
    CREATE TABLE s.p1 PARTITION OF s.parts FOR VALUES FROM (10) TO (20);
    CREATE TABLE s.\"P 2\" PARTITION OF s.parts FOR VALUES FROM (20) TO (30);
    SELECT tenant_guard.audit('s.plain'), tenant_guard.audit('s.parts')";

/// One transaction of random changes of one table or both; whether nothing failed.
fn change(client: &mut Client, dice: &mut Dice) -> bool {
    let mut statements = vec!["BEGIN".to_owned()];
    for step in 0..1 + dice.below(6) {
        let table = ["s.plain", "s.parts"][dice.below(2) as usize];
        let (id, other, value) = (dice.below(30), dice.below(30), dice.below(1000));
        let nested = dice.below(3) == 0;
        if nested {
            statements.push(format!("SAVEPOINT s{step}"));
        }
        statements.push(match dice.below(8) {
            0..=2 => format!(
                "INSERT INTO {table} (id, v, n) VALUES ({id}, 'n{value}', {value}.{step}0) \
                 ON CONFLICT (id) DO UPDATE SET n = excluded.n"
            ),
            3 | 4 => format!("UPDATE {table} SET v = 'u{value}' WHERE id IN ({id}, {other})"),
            5 => format!("DELETE FROM {table} WHERE id IN ({id}, {other})"),
            6 => format!(
                "UPDATE {table} SET id = {other} WHERE id = {id} \
                 AND NOT EXISTS (SELECT FROM {table} WHERE id = {other})"
            ),
            _ => format!("UPDATE {table} SET n = n + 1, m = 'other' WHERE id = {id}"),
        });
        if nested && dice.below(2) == 0 {
            statements.push(format!("ROLLBACK TO s{step}"));
        }
    }
    statements.push(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"][dice.below(4) as usize].to_owned());
    let Err(error) = client.batch_execute(&statements.join(";")) else {
        return true;
    };
    // What a command took away, or another session holds, undoes the whole.
    let code = error.as_db_error().map(|error| error.code().clone());
    assert!(
        code.as_ref().is_some_and(|code| EXPECTED.contains(code)),
        "{error:?}"
    );
    run(client, "ROLLBACK");
    false
}

/// What a change may fail of: a lock of a command or another writer, a table that has another name for a while,
/// a row that another writer moved to another partition or that none takes, a key that is there.
const EXPECTED: [SqlState; 7] = [
    SqlState::LOCK_NOT_AVAILABLE,
    SqlState::T_R_DEADLOCK_DETECTED,
    SqlState::T_R_SERIALIZATION_FAILURE,
    SqlState::UNDEFINED_TABLE,
    SqlState::INVALID_SCHEMA_NAME,
    SqlState::CHECK_VIOLATION,
    SqlState::UNIQUE_VIOLATION,
];

/// What the sessions that change rows are at.
const WRITERS: &str = "SELECT state, wait_event_type, wait_event, pg_blocking_pids(pid), query
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// How long writers may take to commit something.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the documented rules say of looking back at a table.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Answers,
    /// Until a row has no value of before the column `n` had another type.
    MayRefuse,
    Refuses,
}

/// A table as the commands left it.
struct Table {
    name: &'static str,
    /// The name it has for a while.
    away: bool,
    added: Vec<String>,
    detached: bool,
    /// Whether the partition that is detached has rows, which nobody changes.
    holds_rows: bool,
    rule: Rule,
}

impl Table {
    fn named(&self) -> String {
        let suffix = if self.away { "_away" } else { "" };
        format!("s.{}{suffix}", self.name)
    }
}

/// What becomes of a table where a command is committed.
type Then = Box<dyn FnOnce(&mut Table)>;

struct Load {
    tables: [Table; 2],
    serial: usize,
    dice: Dice,
}

impl Load {
    /// A random command on a table, and what becomes of the table if it is committed.
    fn command(&mut self, which: usize) -> (String, Then) {
        self.serial += 1;
        let (serial, dice) = (self.serial, &mut self.dice);
        let table = &self.tables[which];
        let name = table.named();
        if table.away {
            let back = format!("ALTER TABLE {name} RENAME TO {}", table.name);
            return (back, Box::new(|table| table.away = false));
        }
        let baseline = format!("SELECT tenant_guard.record_baseline('{name}')");
        if table.rule != Rule::Answers && dice.below(2) == 0 {
            return (baseline, Box::new(|table| table.rule = Rule::Answers));
        }
        let column = table.added.last().cloned();
        // With both away nothing could be written.
        let other_stays = !self.tables[1 - which].away;
        // A partition that is to come back has the columns it left with.
        let which = match dice.below(15) {
            0..=3 | 6 if table.detached => 9,
            which => which,
        };
        match (which, column) {
            (1, Some(column)) => (
                format!("ALTER TABLE {name} DROP COLUMN {column}"),
                Box::new(|table| drop(table.added.pop())),
            ),
            (2 | 3, Some(column)) => (
                format!("ALTER TABLE {name} RENAME {column} TO x{serial}"),
                Box::new(move |table| {
                    *table.added.last_mut().expect("it is there") = format!("x{serial}")
                }),
            ),
            (0..=3, _) => (
                format!("ALTER TABLE {name} ADD COLUMN x{serial} text DEFAULT 'd{serial}'"),
                Box::new(move |table| table.added.push(format!("x{serial}"))),
            ),
            (4, _) if other_stays => (
                format!("ALTER TABLE {name} RENAME TO {}_away", table.name),
                Box::new(|table| table.away = true),
            ),
            (5, _) => (format!("CREATE INDEX ON {name} (n)"), Box::new(|_| ())),
            (6, _) => (
                format!(
                    "ALTER TABLE {name} ALTER n TYPE numeric(30, {})",
                    serial % 9
                ),
                Box::new(|table| {
                    if table.rule == Rule::Answers {
                        table.rule = Rule::MayRefuse;
                    }
                }),
            ),
            (7, _) => (
                format!("TRUNCATE {name}"),
                Box::new(|table| table.rule = Rule::Answers),
            ),
            (8..=10, _) if table.name == "parts" && !table.detached => (
                format!("ALTER TABLE {name} DETACH PARTITION s.\"P 2\""),
                Box::new(|table| table.detached = true),
            ),
            (8..=10, _) if table.name == "parts" => {
                let emptied = dice.below(3) > 0;
                let first = if emptied { "TRUNCATE s.\"P 2\"; " } else { "" };
                (
                    format!(
                        "{first}ALTER TABLE {name} ATTACH PARTITION s.\"P 2\" FOR VALUES FROM (20) TO (30)"
                    ),
                    Box::new(move |table| {
                        table.detached = false;
                        if table.holds_rows && !emptied {
                            table.rule = Rule::Refuses;
                        }
                    }),
                )
            }
            (12 | 13, _) if table.name == "parts" && !table.detached => (
                format!("ALTER TABLE {name} DETACH PARTITION s.\"P 2\" CONCURRENTLY"),
                Box::new(|table| table.detached = true),
            ),
            (11, _) if table.name == "parts" => ("TRUNCATE s.p1".to_owned(), Box::new(|_| ())),
            _ => (baseline, Box::new(|table| table.rule = Rule::Answers)),
        }
    }
}

struct Dump {
    which: usize,
    snapshot: String,
    rows: Vec<String>,
    rule: Rule,
}

/// Takes the lock first, as pg_dump does, so that the table is the one of the snapshot.
fn dump(client: &mut Client, load: &Load, which: usize) -> Dump {
    let name = load.tables[which].named();
    run(client, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    run(client, &format!("LOCK TABLE {name} IN ACCESS SHARE MODE"));
    let snapshot = snapshot(client);
    let rows = live(client, &name);
    run(client, "COMMIT");
    Dump {
        which,
        snapshot,
        rows,
        rule: load.tables[which].rule,
    }
}

/// Whether the partition that comes and goes has rows.
fn holds_rows(client: &mut Client) -> bool {
    lines(client, "SELECT EXISTS (SELECT FROM s.\"P 2\")") == ["t"]
}

/// What came of looking back, counted.
fn loaded(seed: u64, rounds: usize) -> BTreeMap<String, usize> {
    let db = Database::new();
    let (mut altering, mut dumping) = (db.superuser(), db.superuser());
    run(&mut altering, SETUP);
    let table = |name| Table {
        name,
        away: false,
        added: Vec::new(),
        detached: false,
        holds_rows: false,
        rule: Rule::Answers,
    };
    let mut load = Load {
        tables: [table("plain"), table("parts")],
        serial: 0,
        dice: Dice(seed),
    };
    let mut dumps = Vec::new();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stopping = Stop(&stop);
        let mut writers = Vec::new();
        for writer in 1..4 {
            let (stop, mut client) = (&stop, db.superuser());
            writers.push(scope.spawn(move || {
                run(&mut client, "SET lock_timeout = '20ms'");
                let mut dice = Dice(seed * 10 + writer);
                let mut succeeded = 0;
                while !stop.load(Ordering::Relaxed) {
                    succeeded += usize::from(change(&mut client, &mut dice));
                }
                succeeded
            }));
        }
        let events = "SELECT count(*) FROM tenant_guard.audit_log";
        for _ in 0..rounds {
            let which = load.dice.below(2) as usize;
            load.tables[which].holds_rows = holds_rows(&mut altering);
            let (command, then) = load.command(which);
            let name = load.tables[which].named();
            if command.ends_with("CONCURRENTLY") {
                run(&mut altering, &command);
                then(&mut load.tables[which]);
                dumps.push(dump(&mut dumping, &load, which));
                continue;
            }
            // Locked by the command itself, or before it.
            let lock = match load.dice.below(2) {
                0 => String::new(),
                _ => format!("LOCK TABLE {name};"),
            };
            run(&mut altering, &format!("BEGIN; {lock} {command}"));
            // The other one, while this one is being changed.
            dumps.push(dump(&mut dumping, &load, 1 - which));
            if load.dice.below(6) == 0 {
                run(&mut altering, "ROLLBACK");
            } else {
                run(&mut altering, "COMMIT");
                then(&mut load.tables[which]);
            }
            dumps.push(dump(&mut dumping, &load, which));
            // Between two commands something is committed.
            let (before, since) = (lines(&mut dumping, events), Instant::now());
            while lines(&mut dumping, events) == before {
                assert!(
                    since.elapsed() < PATIENCE,
                    "seed {seed}: nothing is written by {:?}",
                    lines(&mut altering, WRITERS)
                );
                thread::yield_now();
            }
            dumps.push(dump(&mut dumping, &load, which));
        }
        drop(stopping);
        for writer in writers {
            let succeeded = writer
                .join()
                .expect("a writer fails of what is expected only");
            assert!(succeeded > rounds, "seed {seed}: {succeeded} of {rounds}");
        }
    });
    let mut counted = BTreeMap::new();
    for (n, dump) in dumps.iter().enumerate() {
        let name = load.tables[dump.which].named();
        let found = match looked(&mut dumping, &name, &dump.snapshot) {
            Ok(rows) => {
                assert!(
                    dump.rule != Rule::Refuses,
                    "seed {seed}, dump {n} of {name}"
                );
                assert_eq!(rows, dump.rows, "seed {seed}, dump {n} of {name}");
                "answered".to_owned()
            }
            Err(why) => {
                let expected = match dump.rule {
                    Rule::Answers => "no refusal",
                    Rule::MayRefuse => r#"column "n" got values that no event holds."#,
                    Rule::Refuses => "a command took or gave values that no event holds.",
                };
                assert_eq!(why, expected, "seed {seed}, dump {n} of {name}");
                why
            }
        };
        *counted.entry(found).or_insert(0) += 1;
    }
    for table in &load.tables {
        let name = table.named();
        let query = format!("SELECT code FROM tenant_guard.verify_state('{name}')");
        let found = lines(&mut dumping, &query);
        let unknown = |code: &String| code.ends_with("_unknown") && code != "row_unknown";
        let sound = match table.rule {
            Rule::Answers => found.is_empty(),
            _ => found.iter().all(unknown),
        };
        assert!(sound, "seed {seed}, {name}: {found:?}");
    }
    counted
}

#[track_caller]
fn mostly_answered(counted: &BTreeMap<String, usize>) {
    let answered = counted.get("answered").copied().unwrap_or_default();
    let all: usize = counted.values().sum();
    assert!(answered * 3 > all * 2, "{counted:?}");
}

#[test]
fn rows_equal_dumps_of_a_load_with_commands() {
    mostly_answered(&loaded(1, 25));
}

#[test]
#[ignore = "takes minutes"]
fn rows_equal_dumps_of_many_loads_with_commands() {
    let mut all = BTreeMap::new();
    for seed in 2..12 {
        for (found, count) in loaded(seed, 80) {
            *all.entry(found).or_insert(0) += count;
        }
    }
    mostly_answered(&all);
    assert_eq!(all.len(), 3, "both reasons are met: {all:?}");
    println!("{all:?}");
}
