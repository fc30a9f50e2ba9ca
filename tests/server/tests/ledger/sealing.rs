//! Sealing one round at a time: when it is refused, what it counts, what it reads.

use std::thread;

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, await_lines, expect_error, lines};

use super::{add, checkpoint, database, findings, findings_against, seal};
use crate::capture::{run, switch_guards_off};

const SEAL: &str = "SELECT tenant_guard.seal()";
const BLOCKS: &str = "SELECT block, events, accounts FROM tenant_guard.ledger_block ORDER BY block";

#[test]
fn blocks_count_their_events_and_accounts_and_have_no_gap() {
    let db = database();
    let mut client = db.superuser();
    assert_eq!(seal(&mut client), [""; 0]);
    add(&mut client, "one", ACCOUNT_A);
    add(&mut client, "two", ACCOUNT_B);
    run(&mut client, "UPDATE item SET n = 1");
    assert_eq!(seal(&mut client), ["1|4|2"]);
    assert_eq!(seal(&mut client), [""; 0]);
    run(&mut client, "BEGIN; UPDATE item SET n = 2; ROLLBACK");
    assert_eq!(seal(&mut client), [""; 0]);
    add(&mut client, "three", ACCOUNT_B);
    // A round that is rolled back leaves neither a block nor a gap.
    run(&mut client, "BEGIN; SELECT tenant_guard.seal(); ROLLBACK");
    assert_eq!(seal(&mut client), ["2|1|1"]);
    run(
        &mut client,
        "INSERT INTO item VALUES ('four', NULL); TRUNCATE item",
    );
    assert_eq!(seal(&mut client), ["3|2|1"]);
    assert_eq!(lines(&mut client, BLOCKS), ["1|4|2", "2|1|1", "3|2|1"]);
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn sealing_without_a_ledger_does_nothing() {
    let db = Database::new();
    let mut client = db.superuser();
    assert_eq!(seal(&mut client), [""; 0]);
    assert_eq!(findings(&mut client), [""; 0]);
    expect_error(
        client.batch_execute("SELECT tenant_guard.checkpoint()"),
        "55000",
        "the ledger has no sealed block",
    );
}

#[test]
fn sealing_needs_a_transaction_that_wrote_nothing_and_reads_what_is_committed() {
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", ACCOUNT_A);
    for (begin, code) in [
        ("BEGIN; SELECT pg_current_xact_id()", "25001"),
        ("BEGIN; INSERT INTO item VALUES ('two', 'b')", "25001"),
        (
            "BEGIN; SAVEPOINT s; SELECT pg_current_xact_id(); ROLLBACK TO s",
            "25001",
        ),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", "25001"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "25001"),
        ("BEGIN READ ONLY", "25006"),
    ] {
        run(&mut client, begin);
        expect_error(client.batch_execute(SEAL), code, "");
        run(&mut client, "ROLLBACK");
    }
    assert_eq!(lines(&mut client, BLOCKS), [""; 0]);
    assert_eq!(seal(&mut client), ["1|1|1"]);
}

#[test]
fn what_the_sealing_transaction_writes_afterwards_is_sealed_next() {
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", ACCOUNT_A);
    run(
        &mut client,
        "BEGIN; SELECT tenant_guard.seal(); INSERT INTO item VALUES ('two', 'b')",
    );
    expect_error(client.batch_execute(SEAL), "25001", "written nothing");
    run(&mut client, "ROLLBACK");
    run(
        &mut client,
        "BEGIN; SELECT tenant_guard.seal(); INSERT INTO item VALUES ('two', 'b'); COMMIT",
    );
    assert_eq!(seal(&mut client), ["2|1|1"]);
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn sealing_nothing_keeps_nobody_from_sealing() {
    let db = database();
    let (mut idle, mut client) = (db.superuser(), db.superuser());
    run(&mut idle, "BEGIN; SELECT tenant_guard.seal()");
    run(&mut client, "SET lock_timeout = '5s'");
    add(&mut client, "one", ACCOUNT_A);
    assert_eq!(seal(&mut client), ["1|1|1"]);
    run(&mut idle, "COMMIT");
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn event_committed_while_the_statement_waited_is_sealed() {
    let db = database();
    let (mut first, mut second, mut writer) = (db.superuser(), db.superuser(), db.superuser());
    add(&mut writer, "one", ACCOUNT_A);
    run(&mut first, "BEGIN; SELECT tenant_guard.seal()");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| seal(&mut second));
        wait_for_a_waiting_sealer(&db);
        // The waiting statement's own snapshot is older than this event.
        add(&mut writer, "two", ACCOUNT_A);
        assert!(
            !waiting.is_finished(),
            "a second sealer waits for the first"
        );
        run(&mut first, "COMMIT");
        assert_eq!(waiting.join().unwrap(), ["2|1|1"]);
    });
    assert_eq!(seal(&mut first), [""; 0]);
    assert_eq!(findings(&mut first), [""; 0]);
}

/// Returns once a session of the database waits for the sealer's lock.
fn wait_for_a_waiting_sealer(db: &Database) {
    let mut observer = db.superuser();
    let waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'object'
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    await_lines(&mut observer, waiting, &["t"]);
}

#[test]
fn sealer_that_cannot_have_its_lock_changes_nothing() {
    let db = database();
    let (mut first, mut second) = (db.superuser(), db.superuser());
    add(&mut first, "one", ACCOUNT_A);
    run(&mut first, "BEGIN; SELECT tenant_guard.seal()");
    run(&mut second, "SET lock_timeout = '50ms'");
    expect_error(second.batch_execute(SEAL), "55P03", "");
    // Neither writers nor readers wait for a sealer.
    add(&mut second, "two", ACCOUNT_A);
    assert_eq!(findings(&mut second), [""; 0]);
    run(&mut first, "ROLLBACK");
    assert_eq!(lines(&mut first, BLOCKS), [""; 0]);
    assert_eq!(seal(&mut second), ["1|2|1"]);
}

#[test]
fn status_counts_what_is_sealed_and_what_waits() {
    let db = database();
    let mut client = db.superuser();
    let status = "SELECT blocks, events, sealed_events, unsealed_events,
                         oldest_unsealed BETWEEN now() - interval '1 min' AND clock_timestamp(),
                         last_root FROM tenant_guard.ledger_status()";
    assert_eq!(lines(&mut client, status), ["0|0|0|0|<null>|<null>"]);
    add(&mut client, "one", ACCOUNT_A);
    assert_eq!(lines(&mut client, status), ["0|1|0|1|t|<null>"]);
    seal(&mut client);
    let root =
        "SELECT encode(root, 'hex') FROM tenant_guard.ledger_block ORDER BY block DESC LIMIT 1";
    let root = lines(&mut client, root).remove(0);
    assert_eq!(
        lines(&mut client, status),
        [format!("1|1|1|0|<null>|{root}")]
    );
    add(&mut client, "two", ACCOUNT_A);
    add(&mut client, "three", ACCOUNT_B);
    assert_eq!(lines(&mut client, status), [format!("1|3|1|2|t|{root}")]);
}

#[test]
fn checkpoint_states_origin_size_and_root() {
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", ACCOUNT_A);
    seal(&mut client);
    add(&mut client, "two", ACCOUNT_B);
    seal(&mut client);
    let independent = "
        SELECT format(E'tenant_guard/%s/%s\\n%s\\n%s\\n',
            lpad(to_hex(incarnation), 16, '0'), epoch,
            (SELECT count(*) FROM tenant_guard.ledger_leaf l WHERE l.epoch = b.epoch),
            encode(root, 'base64'))
        FROM tenant_guard.ledger_block b ORDER BY block DESC LIMIT 1";
    assert_eq!(checkpoint(&mut client), lines(&mut client, independent)[0]);
}

#[test]
fn ledger_is_held_against_earlier_checkpoints() {
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", ACCOUNT_A);
    seal(&mut client);
    let first = checkpoint(&mut client);
    add(&mut client, "two", ACCOUNT_B);
    seal(&mut client);
    let second = checkpoint(&mut client);
    assert_ne!(first, second);
    for earlier in [&first, &second] {
        let note = format!("{earlier}\n\u{2014} witness.example AAAAAAAA\n");
        assert_eq!(findings_against(&mut client, earlier), [""; 0]);
        assert_eq!(findings_against(&mut client, &note), [""; 0]);
    }

    let stranger = database();
    let mut other = stranger.superuser();
    add(&mut other, "one", ACCOUNT_A);
    seal(&mut other);
    let foreign = checkpoint(&mut other);
    assert_eq!(
        findings_against(&mut client, &foreign),
        ["checkpoint_mismatch"]
    );
    let (origin, _) = first.split_once('\n').unwrap();
    let (_, tree) = second.split_once('\n').unwrap();
    assert_eq!(
        findings_against(&mut client, &format!("{origin}\n{tree}")),
        [""; 0]
    );
    // As $(...) of a shell leaves it.
    assert_eq!(findings_against(&mut client, first.trim_end()), [""; 0]);
    let forged = first.replacen("\n3\n", "\n5\n", 1);
    assert_ne!(forged, first);
    assert_eq!(
        findings_against(&mut client, &forged),
        ["checkpoint_mismatch"]
    );
    let between = first.replacen("\n3\n", "\n4\n", 1);
    assert_eq!(
        findings_against(&mut client, &between),
        ["checkpoint_mismatch"]
    );
    let later = first.replacen("\n3\n", "\n6\n", 1);
    assert_eq!(
        findings_against(&mut client, &later),
        ["checkpoint_truncated"]
    );

    for garbage in [
        "",
        "x",
        "tenant_guard/1/1\n1\nAAAA\n",
        first.trim_end_matches("=\n"),
        &first.replace('/', ""),
    ] {
        expect_error(
            client.query(
                "SELECT tenant_guard.verify_ledger(against => $1)",
                &[&garbage],
            ),
            "22023",
            "against is not a checkpoint of a tenant_guard ledger",
        );
    }
}

#[test]
fn verification_of_one_account_looks_at_its_events() {
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", ACCOUNT_A);
    add(&mut client, "two", ACCOUNT_B);
    run(&mut client, "INSERT INTO item VALUES ('three', NULL)");
    seal(&mut client);
    switch_guards_off(&mut client);
    run(
        &mut client,
        &format!(
            "ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard;
             UPDATE tenant_guard.audit_log SET action = 'delete' WHERE account_id = '{ACCOUNT_B}'"
        ),
    );
    for (account, found) in [(ACCOUNT_A, 0), (ACCOUNT_B, 1), ("", 0), ("nobody", 0)] {
        let query = format!("SELECT code FROM tenant_guard.verify_ledger('{account}')");
        assert_eq!(
            lines(&mut client, &query),
            vec!["event_altered"; found],
            "{account}"
        );
    }
    let upper = ACCOUNT_B.to_uppercase();
    let query = format!("SELECT account_id FROM tenant_guard.verify_ledger('{upper}')");
    assert_eq!(lines(&mut client, &query), [ACCOUNT_B]);
}

/// A reader that starts at the oldest open transaction visits all that came since in every round.
#[test]
fn old_open_transaction_does_not_make_rounds_read_what_came_since() {
    const EVENTS: i64 = 100_000;
    let db = database();
    let (mut old, mut client) = (db.superuser(), db.superuser());
    run(&mut old, "BEGIN; INSERT INTO item VALUES ('old', 'a')");
    run(
        &mut client,
        &format!("INSERT INTO item SELECT 'k' || i, 'a' FROM generate_series(1, {EVENTS}) i"),
    );
    assert_eq!(seal(&mut client), [format!("1|{EVENTS}|1")]);
    // With statistics and without, and with an old transaction that is over by now.
    for (round, prepare) in [
        ("2", "INSERT INTO item VALUES ('2', 'a')"),
        ("3", "ANALYZE; INSERT INTO item VALUES ('3', 'a')"),
    ] {
        for statement in prepare.split("; ") {
            run(&mut client, statement);
        }
        check_round(&db, &format!("{round}|1|1"));
    }
    run(&mut old, "COMMIT");
    check_round(&db, "4|1|1");
    assert_eq!(findings(&mut client), [""; 0]);
}

/// Seals in a session of its own and looks at what that read of the log and its index.
#[track_caller]
fn check_round(db: &Database, expected: &str) {
    let mut sealer = db.superuser();
    run(&mut sealer, "BEGIN");
    assert_eq!(seal(&mut sealer), [expected]);
    let read = "SELECT sum(pg_stat_get_xact_blocks_fetched(oid)),
                       sum(pg_stat_get_xact_tuples_returned(oid))
                FROM pg_class WHERE relname ~ '^audit_log' AND relkind IN ('r', 'i')
                    AND relnamespace = 'tenant_guard'::regnamespace";
    let read = sealer.query_one(
        &format!("SELECT a::bigint, b::bigint FROM ({read}) AS r (a, b)"),
        &[],
    );
    let (blocks, tuples): (i64, i64) = read.map(|row| (row.get(0), row.get(1))).unwrap();
    assert!(
        (1..=40).contains(&blocks) && tuples <= 10,
        "round {expected} read {blocks} blocks and {tuples} tuples"
    );
    run(&mut sealer, "COMMIT");
}
