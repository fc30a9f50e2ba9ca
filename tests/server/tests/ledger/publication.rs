//! Publication after a standby's flush: what is said of the ledger is on two servers.

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use tenant_guard_tests::{Cluster, Database, expect_error, lines};

use super::{add, audit_items, checkpoint, database, findings_against, seal};
use crate::capture::run;

const STATE: &str = "SELECT blocks, published_block, publication FROM tenant_guard.ledger_status()";
const WAIT: &str = "SELECT tenant_guard.wait_sealed(timeout => '100 ms')";
const WAIT_LONG: &str = "SELECT tenant_guard.wait_sealed(timeout => '60 s')";
const CHECKPOINT: &str = "SELECT tenant_guard.checkpoint()";
const HINT: &str = "A standby has to flush it first: publication in tenant_guard.ledger_status() \
                    says what is awaited.";

/// Id of the event of an item.
const EVENT: &str = "SELECT format('%s-%s-%s', lpad(to_hex(incarnation), 16, '0'), xid, ordinal)
    FROM tenant_guard.audit_log WHERE row_key::json ->> 'key' = ";

/// A primary that publishes what a standby has flushed, and a standby that follows it.
struct Pair {
    primary: Arc<Cluster>,
    db: Database,
    standby: Arc<Cluster>,
}

impl Pair {
    fn new() -> Self {
        let flush = "tenant_guard.publish_after=standby flush";
        let primary = Cluster::start(&[flush]);
        let db = primary.database();
        let mut client = db.superuser();
        run(&mut client, "SELECT tenant_guard.init_ledger()");
        audit_items(&mut client);
        // Who tests a standby that does not answer must not wait for it at each commit.
        run(
            &mut client,
            &format!(
                "ALTER DATABASE {} SET synchronous_commit = local",
                db.name()
            ),
        );
        let standby = follow(&primary, "near");
        let pair = Self {
            primary,
            db,
            standby,
        };
        await_line(&mut pair.db.superuser(), STREAMING, "1");
        pair
    }
}

const STREAMING: &str = "SELECT count(*) FROM pg_stat_replication
                         WHERE state = 'streaming' AND replay_lsn IS NOT NULL";

/// A new standby of a server.
fn follow(primary: &Arc<Cluster>, name: &str) -> Arc<Cluster> {
    let conninfo = format!(
        "primary_conninfo=host={} user=postgres application_name={name}",
        primary.directory().display()
    );
    Cluster::of_backup(&primary.backup(name), "standby", &[&conninfo])
}

/// Stops or continues a standby's receiver.
fn signal(standby: &Arc<Cluster>, db: &Database, signal: &str) {
    let mut client = standby.attach(db.name()).superuser();
    let pid = lines(&mut client, "SELECT pid FROM pg_stat_wal_receiver");
    kill(signal, &pid[0]);
}

fn kill(signal: &str, pid: &str) {
    let status = Command::new("kill").args([signal, pid]).status();
    assert!(status.expect("kill is there").success());
}

/// Expects the refusal of what speaks of too new a block, with its hint.
#[track_caller]
fn expect_unpublished(client: &mut Client, statement: &str, message: &str) {
    let error = client.batch_execute(statement).expect_err(statement);
    let error = error.as_db_error().expect("the server refuses");
    assert_eq!(
        (error.code().code(), error.message(), error.hint()),
        ("55000", message, Some(HINT)),
        "{statement}"
    );
}

/// Returns once a query gives this line.
#[track_caller]
fn await_line(client: &mut Client, query: &str, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while lines(client, query) != [expected] {
        assert!(
            Instant::now() < deadline,
            "{query} never gives {expected}, but {:?}",
            lines(client, query)
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Number of leaves a checkpoint speaks of.
fn size(checkpoint: &str) -> i64 {
    let line = checkpoint.lines().nth(1).expect("it has a size");
    line.parse().expect("a number")
}

#[test]
fn without_a_standby_nothing_is_published() {
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    assert_eq!(seal(&mut client), ["1|1|1"]);
    let before = checkpoint(&mut client);
    assert_eq!(lines(&mut client, STATE), ["1|1|at commit"]);
    run(
        &mut client,
        "SET tenant_guard.publish_after = 'standby flush'",
    );
    assert_eq!(
        lines(&mut client, STATE),
        ["1|0|no standby that counts is connected"]
    );
    let id = lines(&mut client, &format!("{EVENT} 'one'")).remove(0);
    for statement in [
        CHECKPOINT.to_owned(),
        "SELECT tenant_guard.signed_checkpoint()".to_owned(),
        format!("SELECT tenant_guard.receipt('{id}')"),
        format!("SELECT tenant_guard.inclusion_proof('{id}')"),
        "SELECT tenant_guard.consistency_proof(1, 1)".to_owned(),
    ] {
        let message = "no block of the ledger is published yet";
        expect_unpublished(&mut client, &statement, message);
    }
    assert_eq!(lines(&mut client, WAIT), ["f"]);
    // Verification is no publication: it says nothing of the tree.
    assert_eq!(findings_against(&mut client, &before), [""; 0]);
    run(&mut client, "SET tenant_guard.publish_after = 'commit'");
    assert_eq!(checkpoint(&mut client), before);
}

/// Nothing is wrong with an empty ledger.
#[test]
fn ledger_without_blocks_says_what_it_always_said() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "SET tenant_guard.publish_after = 'standby flush'",
    );
    assert_eq!(lines(&mut client, STATE), ["0|0|up to date"]);
    expect_error(
        client.batch_execute(CHECKPOINT),
        "55000",
        "the ledger has no sealed block",
    );
    assert_eq!(lines(&mut client, WAIT), ["t"]);
    run(&mut client, "SELECT * FROM tenant_guard.export_ledger()");
}

#[test]
fn only_superusers_choose_when_blocks_are_published() {
    let db = database();
    let mut session = db.connect_as(&db.role("app"));
    // The library defines the settings when it is loaded.
    let _ = lines(&mut session, "SELECT tenant_guard.is_authenticated()");
    expect_error(
        session.batch_execute("SET tenant_guard.publish_after = 'commit'"),
        "42501",
        "permission denied to set parameter \"tenant_guard.publish_after\"",
    );
}

#[test]
fn block_is_spoken_of_once_the_standby_has_flushed_it() {
    let pair = Pair::new();
    let mut client = pair.db.superuser();
    add(&mut client, "one", "a");
    seal(&mut client);
    assert_eq!(lines(&mut client, WAIT_LONG), ["t"]);
    let published = checkpoint(&mut client);
    assert_eq!(lines(&mut client, STATE), ["1|1|up to date"]);

    signal(&pair.standby, &pair.db, "-STOP");
    add(&mut client, "two", "a");
    assert_eq!(seal(&mut client), ["2|1|1"]);
    let [state] = lines(&mut client, STATE).try_into().unwrap();
    assert!(
        state.starts_with("2|1|waits for a standby to flush "),
        "{state}"
    );
    // What was published stays so, and nothing is said of what came since.
    assert_eq!(checkpoint(&mut client), published);
    let [one, two] =
        ["one", "two"].map(|key| lines(&mut client, &format!("{EVENT} '{key}'")).remove(0));
    let sizes = format!("SELECT tree_size FROM tenant_guard.inclusion_proof('{one}')");
    assert_eq!(lines(&mut client, &sizes), [size(&published).to_string()]);
    let receipt = lines(
        &mut client,
        &format!("SELECT tenant_guard.receipt('{one}')"),
    )
    .join("\n");
    assert!(receipt.contains(published.lines().nth(2).unwrap()));
    for statement in ["receipt", "inclusion_proof"] {
        let statement = format!("SELECT tenant_guard.{statement}('{two}')");
        let message = "the block of the event is not published yet";
        expect_unpublished(&mut client, &statement, message);
    }
    for account in ["NULL", "'a'"] {
        let proof = format!(
            "SELECT tenant_guard.consistency_proof(1, {}, {account})",
            if account == "NULL" {
                size(&published) + 1
            } else {
                2
            }
        );
        expect_error(client.batch_execute(&proof), "22023", "new_size");
    }
    assert_eq!(lines(&mut client, WAIT), ["f"]);

    signal(&pair.standby, &pair.db, "-CONT");
    assert_eq!(lines(&mut client, WAIT_LONG), ["t"]);
    assert_eq!(lines(&mut client, STATE), ["2|2|up to date"]);
    let later = checkpoint(&mut client);
    assert!(size(&later) > size(&published));
    for account in ["NULL", "'a'"] {
        let proof = format!(
            "SELECT cardinality(tenant_guard.consistency_proof(1, {}, {account})) > 0",
            if account == "NULL" { size(&later) } else { 2 }
        );
        assert_eq!(lines(&mut client, &proof), ["t"]);
    }
    run(
        &mut client,
        &format!("SELECT tenant_guard.receipt('{two}')"),
    );
}

/// An export waits for the newest block it holds, since states of accounts are of that block.
#[test]
fn export_waits_for_the_standby() {
    let pair = Pair::new();
    let mut client = pair.db.superuser();
    add(&mut client, "one", "a");
    seal(&mut client);
    assert_eq!(lines(&mut client, WAIT_LONG), ["t"]);
    signal(&pair.standby, &pair.db, "-STOP");
    add(&mut client, "two", "a");
    seal(&mut client);
    let files = "SELECT count(*) > 0 FROM tenant_guard.export_ledger()";
    expect_error(
        client.query(files, &[]),
        "55000",
        "the newest block of the ledger is not published yet",
    );
    thread::scope(|scope| {
        let exporting = scope.spawn(|| lines(&mut pair.db.superuser(), files));
        let waiting = "SELECT 1 FROM pg_stat_activity
                       WHERE query LIKE '%export\\_ledger%' AND wait_event = 'Extension'";
        await_line(&mut client, waiting, "1");
        signal(&pair.standby, &pair.db, "-CONT");
        assert_eq!(exporting.join().unwrap(), ["t"]);
    });
}

/// Where the server knows of flushes by its memory alone, a restart forgets them.
#[test]
fn restarted_server_waits_until_a_standby_confirms_again() {
    let pair = Pair::new();
    let mut client = pair.db.superuser();
    add(&mut client, "one", "a");
    seal(&mut client);
    assert_eq!(lines(&mut client, WAIT_LONG), ["t"]);
    let published = checkpoint(&mut client);
    drop(client);
    drop(pair.standby);
    pair.primary.restart();
    let mut client = pair.db.superuser();
    assert_eq!(
        lines(&mut client, STATE),
        ["1|0|no standby that counts is connected"]
    );
    expect_error(
        client.batch_execute(CHECKPOINT),
        "55000",
        "no block of the ledger is published yet",
    );
    let _second = follow(&pair.primary, "far");
    await_line(&mut client, STATE, "1|1|up to date");
    assert_eq!(checkpoint(&mut client), published);
}

/// Programs that keep the log's files, and subscribers, are no servers to go on at.
#[test]
fn receivers_of_files_and_of_rows_do_not_count() {
    let flush = "tenant_guard.publish_after=standby flush";
    let cluster = Cluster::start(&[flush, "wal_level=logical"]);
    let db = cluster.database();
    let mut client = db.superuser();
    run(&mut client, "SELECT tenant_guard.init_ledger()");
    audit_items(&mut client);
    run(
        &mut client,
        "SELECT pg_create_logical_replication_slot('rows', 'pgoutput');
             CREATE PUBLICATION everything FOR TABLE item",
    );
    let files = cluster.directory().join("files");
    let rows = cluster.directory().join("rows");
    std::fs::create_dir(&files).unwrap();
    let mut programs = [
        cluster
            .program("pg_receivewal")
            .args(["--synchronous", "-D"])
            .arg(&files)
            .spawn()
            .expect("pg_receivewal is there"),
        cluster
            .program("pg_recvlogical")
            .args([
                "-d",
                db.name(),
                "--slot",
                "rows",
                "--start",
                "-o",
                "proto_version=1",
            ])
            .args([
                "-o",
                "publication_names=everything",
                "-F",
                "1",
                "-s",
                "1",
                "-f",
            ])
            .arg(&rows)
            .spawn()
            .expect("pg_recvlogical is there"),
    ];
    add(&mut client, "one", "a");
    seal(&mut client);
    let position = lines(&mut client, "SELECT pg_current_wal_flush_lsn()").remove(0);
    let flushed =
        format!("SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= '{position}'");
    await_line(&mut client, &flushed, "2");
    assert_eq!(
        lines(&mut client, STATE),
        ["1|0|no standby that counts is connected"]
    );
    for program in &mut programs {
        program.kill().expect("it runs");
        program.wait().expect("it is our child");
    }
}

/// With synchronous standbys those count, and no other.
#[test]
fn synchronous_standbys_alone_count_where_they_are_named() {
    let pair = Pair::new();
    let mut client = pair.db.superuser();
    let name = |client: &mut Client, names: &str| {
        let line = format!("synchronous_standby_names = '{names}'\n");
        pair.primary.configure(&line);
        run(client, "SELECT pg_reload_conf()");
        await_line(client, "SHOW synchronous_standby_names", names);
    };
    name(&mut client, "ANY 1 (far)");
    let asynchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async'";
    await_line(&mut client, asynchronous, "1");
    add(&mut client, "one", "a");
    seal(&mut client);
    let position = lines(&mut client, "SELECT pg_current_wal_flush_lsn()").remove(0);
    let flushed = format!(
        "SELECT flush_lsn >= '{position}' FROM pg_stat_replication WHERE sync_state = 'async'"
    );
    await_line(&mut client, &flushed, "t");
    assert_eq!(
        lines(&mut client, STATE),
        ["1|0|no standby that counts is connected"]
    );
    let _second = follow(&pair.primary, "far");
    await_line(&mut client, STATE, "1|1|up to date");
    // Of two that must have it one is not enough.
    for names in ["2 (near, far)", "ANY 2 (near, far)"] {
        name(&mut client, names);
        let both =
            "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')";
        await_line(&mut client, both, "2");
        assert_eq!(lines(&mut client, WAIT_LONG), ["t"]);
        signal(&pair.standby, &pair.db, "-STOP");
        add(&mut client, names, "a");
        seal(&mut client);
        assert_eq!(lines(&mut client, WAIT), ["f"]);
        signal(&pair.standby, &pair.db, "-CONT");
        assert_eq!(lines(&mut client, WAIT_LONG), ["t"]);
    }
    // Nobody drops the database while a standby that is gone is waited for.
    name(&mut client, "");
}

#[test]
fn failover_contradicts_nothing_that_was_published() {
    let pair = Pair::new();
    let mut client = pair.db.superuser();
    let mut published = Vec::new();
    for number in 0..5 {
        add(&mut client, &format!("{number}"), "a");
        seal(&mut client);
        // Whatever can be had is had.
        if let Ok(row) = client.query_one(CHECKPOINT, &[]) {
            published.push(row.get::<_, String>(0));
        }
    }
    assert_eq!(lines(&mut client, WAIT_LONG), ["t"]);
    published.push(checkpoint(&mut client));
    let sender = lines(&mut client, "SELECT pid FROM pg_stat_replication").remove(0);
    kill("-STOP", &sender);
    add(&mut client, "lost", "a");
    assert_eq!(seal(&mut client), ["6|1|1"]);
    published.push(checkpoint(&mut client));
    run(&mut client, "SET tenant_guard.publish_after = 'commit'");
    let unpublished = checkpoint(&mut client);
    pair.primary.kill();
    kill("-9", &sender);

    let copy = pair.standby.attach(pair.db.name());
    let mut client = copy.superuser();
    // It has what was flushed there, and may have yet to replay it.
    await_line(&mut client, CHECKPOINT, published.last().unwrap());
    run(&mut client, "SELECT pg_promote()");
    await_line(&mut client, "SELECT pg_is_in_recovery()", "f");
    add(&mut client, "after", "a");
    assert_eq!(seal(&mut client), ["6|1|1"]);
    for checkpoint in &published {
        assert_eq!(findings_against(&mut client, checkpoint), [""; 0]);
    }
    // What was not published would have been contradicted.
    assert_eq!(
        findings_against(&mut client, &unpublished),
        ["checkpoint_mismatch"]
    );
    // The new primary publishes after it has a standby of its own.
    run(
        &mut client,
        "SET tenant_guard.publish_after = 'standby flush'",
    );
    assert_eq!(
        lines(&mut client, STATE),
        ["6|0|no standby that counts is connected"]
    );
    let _next = follow(&pair.standby, "next");
    await_line(&mut client, STATE, "6|6|up to date");
    published.push(checkpoint(&mut client));
    assert_eq!(
        findings_against(&mut client, published.last().unwrap()),
        [""; 0]
    );
}
