//! Retention of the log: what rules let go is gone, what they keep stays, and verification says
//! nothing of the one and all of the other.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, GenericClient};
use tenant_guard_tests::{ACCOUNT_A, Database, Issuer, expect_error, lines};

use super::offline::{Scratch, export, program};
use super::proofs::one;
use super::tamper::{switch_guard_off, verify};
use super::{add, checkpoint, database, findings, findings_against, seal};
use crate::capture::run;

/// Codes of what is found, in the database, in parts and offline.
pub(super) fn codes(client: &mut impl GenericClient) -> Vec<String> {
    let found = verify(client);
    found.into_iter().map(|found| found.code).collect()
}

/// Removes data until there is no more to go through; of how many events.
pub(super) fn prune(client: &mut Client) -> i64 {
    let mut removed = 0;
    loop {
        let row = client.query_one("SELECT * FROM tenant_guard.prune_payloads()", &[]);
        let row = row.unwrap_or_else(|error| panic!("prune_payloads: {error:?}"));
        removed += row.get::<_, i64>(0);
        if !row.get::<_, bool>(1) {
            return removed;
        }
    }
}

/// A rule for everything that keeps nothing, where a superuser allows it.
pub(super) fn keep_nothing(client: &mut Client) {
    run(
        client,
        "SET tenant_guard.retention_floor = 0;
         SELECT tenant_guard.set_retention(NULL, '0 s', 'a test')",
    );
}

/// Has the rules let go all that is sealed, and a block state it.
pub(super) fn let_go(client: &mut Client) -> Vec<String> {
    let gone = "SELECT what, relation FROM tenant_guard.let_go()";
    let gone = lines(client, gone);
    seal(client);
    gone
}

/// Three sealed items of two accounts.
pub(super) fn items() -> (Database, Client) {
    let db = database();
    let mut client = db.superuser();
    for (key, account) in [("one", "a"), ("two", "b"), ("three", "a")] {
        add(&mut client, key, account);
    }
    assert_eq!(seal(&mut client), ["1|3|2"]);
    (db, client)
}

/// A session of a new ordinary role that is a member of `group`.
pub(super) fn member(db: &Database, label: &str, group: &str) -> Client {
    let role = db.role(label);
    run(&mut db.superuser(), &format!("GRANT {group} TO {role}"));
    db.connect_as(&role)
}

#[test]
fn data_older_than_its_rule_goes_and_everything_still_verifies() {
    let (db, mut client) = items();
    let before = checkpoint(&mut client);
    let event = "SELECT event_id FROM tenant_guard.audit_event ORDER BY xid, ordinal LIMIT 1";
    let event = one(&mut client, event);
    let receipt = format!("SELECT tenant_guard.receipt('{event}')");
    let old = one(&mut client, &receipt);
    let mut admin = member(&db, "admin", "tenant_guard_admin");
    keep_nothing(&mut client);
    let hashes = "SELECT encode(coalesce(data_hash, sha256(convert_to(data, 'UTF8'))), 'hex')
        FROM tenant_guard.audit_log WHERE kind = 'row' ORDER BY xid, ordinal";
    let known = lines(&mut client, hashes);
    assert_eq!(let_go(&mut client), ["payload|<null>"]);
    assert_eq!(prune(&mut admin), 3);
    assert_eq!(
        lines(
            &mut client,
            "SELECT count(*), count(data), count(data_hash) FROM tenant_guard.audit_log
             WHERE kind = 'row'"
        ),
        ["3|0|3"]
    );
    assert_eq!(lines(&mut client, hashes), known);
    assert_eq!(codes(&mut client), [""; 0]);
    assert_eq!(prune(&mut admin), 0);
    assert_eq!(
        lines(
            &mut client,
            "SELECT account_id, relation, data::jsonb - 'before' FROM tenant_guard.audit_log
             WHERE kind = 'system' AND action = 'prune_payloads' ORDER BY ordinal"
        ),
        ["|<null>|{\"block\": 1, \"events\": 3}"]
    );
    seal(&mut client);
    assert_eq!(codes(&mut client), [""; 0]);
    assert_eq!(findings_against(&mut client, &before), [""; 0]);
    for account in ["a", "b", ""] {
        let of_account =
            format!("SELECT * FROM tenant_guard.verify_ledger(account => '{account}')");
        assert_eq!(lines(&mut client, &of_account), [""; 0]);
        let bundle = Scratch::new(&export(&mut client, &format!("'{account}'")));
        let (code, text) = program(&["bundle".as_ref(), bundle.0.as_os_str()]);
        assert_eq!(code, tenant_guard_verify::exit::INTACT, "{text}");
        assert!(text.contains("data is kept for 0 days at least"), "{text}");
        let (code, text) = program(&[
            "bundle".as_ref(),
            bundle.0.as_os_str(),
            "--keep-days".as_ref(),
            "1".as_ref(),
        ]);
        assert_eq!(code, tenant_guard_verify::exit::FINDINGS, "{text}");
        assert!(text.contains("retention_broken"), "{text}");
    }
    let since = format!("SELECT * FROM tenant_guard.verify_ledger(since => $${before}$$)");
    assert_eq!(lines(&mut client, &since), [""; 0]);
    // Receipts of before and of after.
    let new = one(&mut client, &receipt);
    for text in [old, new] {
        assert!(tenant_guard_core::receipt::verify(&text).is_ok(), "{text}");
    }
}

#[test]
fn without_a_rule_nothing_is_let_go_or_removed_and_nothing_said() {
    let (_db, mut client) = items();
    assert_eq!(let_go(&mut client), [""; 0]);
    assert_eq!(prune(&mut client), 0);
    let said = "SELECT count(*) FROM tenant_guard.audit_log WHERE kind = 'system'";
    assert_eq!(lines(&mut client, said), ["0"]);
}

/// What no block states is kept: not even the function removes it.
#[test]
fn what_was_let_go_stays_until_a_block_states_it() {
    let (_db, mut client) = items();
    keep_nothing(&mut client);
    seal(&mut client);
    run(&mut client, "SELECT tenant_guard.let_go()");
    assert_eq!(prune(&mut client), 0);
    seal(&mut client);
    assert_eq!(prune(&mut client), 3);
    assert_eq!(codes(&mut client), [""; 0]);
}

#[test]
fn rule_made_longer_after_something_was_let_go_keeps_it() {
    for sealed_before in [true, false] {
        let (_db, mut client) = items();
        keep_nothing(&mut client);
        run(&mut client, "SELECT tenant_guard.let_go()");
        if sealed_before {
            seal(&mut client);
        }
        run(
            &mut client,
            "SELECT tenant_guard.set_retention(NULL, '1 day', 'law')",
        );
        assert_eq!(prune(&mut client), 0, "{sealed_before}");
        seal(&mut client);
        assert_eq!(prune(&mut client), 0, "{sealed_before}");
        assert_eq!(codes(&mut client), [""; 0], "{sealed_before}");
    }
}

#[test]
fn what_is_younger_not_sealed_or_the_extensions_own_stays() {
    let (_db, mut client) = items();
    run(
        &mut client,
        "SELECT tenant_guard.set_retention('item', '30 days', 'law')",
    );
    keep_nothing(&mut client);
    seal(&mut client);
    add(&mut client, "four", "a");
    assert_eq!(let_go(&mut client), ["payload|<null>"]);
    assert_eq!(prune(&mut client), 0);
    assert_eq!(
        lines(
            &mut client,
            "SELECT count(*) FROM tenant_guard.audit_log WHERE data IS NULL"
        ),
        ["0"]
    );
    assert_eq!(codes(&mut client), [""; 0]);
}

/// One statement goes through several blocks; one call ends where it was told to.
#[test]
fn removal_goes_on_where_it_ended() {
    let db = database();
    let mut client = db.superuser();
    for round in 0..5 {
        add(&mut client, &format!("{round}"), "a");
        add(&mut client, &format!("{round} too"), "b");
        seal(&mut client);
        run(
            &mut client,
            "SELECT * FROM tenant_guard.seal(heartbeat => true)",
        );
    }
    keep_nothing(&mut client);
    let_go(&mut client);
    let mut removed = Vec::new();
    loop {
        let call = "SELECT * FROM tenant_guard.prune_payloads(3)";
        let row = client.query_one(call, &[]).expect("it is removed");
        removed.push(row.get::<_, i64>(0));
        assert_eq!(codes(&mut client), [""; 0]);
        if !row.get::<_, bool>(1) {
            break;
        }
    }
    let sum: i64 = removed.iter().sum();
    assert_eq!((sum, removed.len() > 2), (10, true), "{removed:?}");
}

#[test]
fn a_rule_that_would_keep_less_is_refused() {
    let (_db, mut client) = items();
    let rule = |relation: &str, period: &str| {
        format!("SELECT tenant_guard.set_retention({relation}, '{period}', 'law')")
    };
    run(&mut client, &rule("'item'", "30 days"));
    run(&mut client, &rule("'item'", "31 days"));
    run(&mut client, &rule("'item'", "31 days"));
    run(&mut client, &rule("NULL", "90 days"));
    let lowered = "data cannot be kept for a shorter time than now";
    run(&mut client, "CREATE TABLE other ()");
    for (relation, period) in [
        ("'item'", "30 days"),
        ("NULL", "89 days"),
        ("'other'", "89 days"),
    ] {
        let refused = client.batch_execute(&rule(relation, period));
        expect_error(refused, "22023", lowered);
    }
    let outlives = "data cannot be kept longer than the events that hold it";
    let keep = |period: &str| format!("SELECT tenant_guard.keep_events('{period}', 'law')");
    expect_error(client.batch_execute(&keep("89 days")), "22023", outlives);
    run(&mut client, &keep("100 days"));
    let lowered = "events cannot be kept for a shorter time than now";
    expect_error(client.batch_execute(&keep("99 days")), "22023", lowered);
    let refused = client.batch_execute(&rule("'other'", "101 days"));
    expect_error(refused, "22023", outlives);
    assert_eq!(
        lines(
            &mut client,
            "SELECT number, relation, keep / 86400000000, before FROM tenant_guard.ledger_retention
             ORDER BY 1"
        ),
        [
            "1|public.item|31|<null>",
            "2||90|<null>",
            "3|<null>|100|<null>",
        ]
    );
    assert_eq!(
        lines(
            &mut client,
            "SELECT relation, data FROM tenant_guard.audit_log
             WHERE action = 'set_retention' ORDER BY xid, ordinal"
        ),
        [
            "public.item|{\"payload\":2592000000000,\"reason\":\"law\"}",
            "public.item|{\"payload\":2678400000000,\"reason\":\"law\"}",
            "<null>|{\"payload\":7776000000000,\"reason\":\"law\"}",
            "<null>|{\"events\":8640000000000,\"reason\":\"law\"}",
        ]
    );
    seal(&mut client);
    assert_eq!(codes(&mut client), [""; 0]);
    assert_eq!(
        lines(
            &mut client,
            "SELECT change, entry FROM tenant_guard.capture_history() WHERE part = 'retention'
             ORDER BY entry::text"
        ),
        [
            "added|{\"events\": 8640000000000}",
            "added|{\"payload\": 2678400000000, \"relation\": \"public.item\"}",
            "added|{\"payload\": 7776000000000}",
        ]
    );
}

/// Whoever holds admin sets the first rule: it must not be one that keeps nothing.
#[test]
fn admin_who_would_keep_less_than_a_superuser_allows_is_refused() {
    let (db, mut client) = items();
    let mut admin = member(&db, "admin", "tenant_guard_admin");
    for call in [
        "set_retention(NULL, '0 s', 'x')",
        "set_retention('item', '29 days 23:59:59', 'x')",
    ] {
        let refused = admin.batch_execute(&format!("SELECT tenant_guard.{call}"));
        let message = "payload must not be below tenant_guard.retention_floor";
        expect_error(refused, "22023", message);
    }
    let refused = admin.batch_execute("SELECT tenant_guard.keep_events('29 days', 'x')");
    let message = "period must not be below tenant_guard.retention_floor";
    expect_error(refused, "22023", message);
    let refused = admin.batch_execute("SET tenant_guard.retention_floor = 0");
    expect_error(refused, "42501", "permission denied to set parameter");
    // A rule of when the floor was lower lets nothing younger go than the floor now says.
    keep_nothing(&mut client);
    run(&mut client, "RESET tenant_guard.retention_floor");
    seal(&mut client);
    assert_eq!(
        lines(&mut admin, "SELECT * FROM tenant_guard.let_go()"),
        [""; 0]
    );
}

#[test]
fn a_rule_that_is_none_is_refused() {
    let (_db, mut client) = items();
    run(
        &mut client,
        "CREATE TABLE part (n int) PARTITION BY LIST (n);
         CREATE TABLE part_1 PARTITION OF part DEFAULT",
    );
    for (call, code, message) in [
        (
            "set_retention('item', NULL, 'law')",
            "22004",
            "payload must not be null",
        ),
        (
            "set_retention('item', '30 days', NULL)",
            "22004",
            "reason must not be null",
        ),
        (
            "set_retention('item', '30 days', ' ')",
            "22023",
            "reason must not be empty",
        ),
        (
            "set_retention('item', '1 month', 'law')",
            "22023",
            "payload must be a non-negative",
        ),
        (
            "set_retention('item', '-1 day', 'law')",
            "22023",
            "payload must be a non-negative",
        ),
        (
            "set_retention('item', '36501 days', 'law')",
            "22023",
            "payload does not fit: it must be at most 36500 days",
        ),
        (
            "set_retention('part_1', '30 days', 'law')",
            "42809",
            "relation public.part_1 is a partition",
        ),
        (
            "keep_events(NULL, 'law')",
            "22004",
            "period must not be null",
        ),
        (
            "prune_payloads(0)",
            "22023",
            "most does not fit: it must be at least 1",
        ),
    ] {
        let call = format!("SELECT tenant_guard.{call}");
        expect_error(client.batch_execute(&call), code, message);
    }
}

#[test]
fn who_is_no_admin_neither_rules_nor_removes() {
    let (db, mut client) = items();
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut client);
    let role = db.role("owner");
    run(&mut client, &format!("ALTER TABLE item OWNER TO {role}"));
    let owner = db.connect_as(&role);
    let auditor = member(&db, "auditor", "tenant_guard_auditor");
    for mut session in [owner, auditor] {
        for call in [
            "set_retention('item', '30 days', 'law')",
            "keep_events('30 days', 'law')",
            "let_go()",
            "prune_payloads()",
        ] {
            let mut transaction = session.transaction().expect("a transaction");
            issuer.sign_in(&mut transaction, ACCOUNT_A);
            let call = format!("SELECT tenant_guard.{call}");
            let refused = transaction.batch_execute(&call);
            expect_error(refused, "42501", "permission denied for function");
        }
        let progress = session.batch_execute("SELECT FROM tenant_guard.retention_progress");
        expect_error(progress, "42501", "permission denied for table");
    }
}

#[test]
fn removal_under_an_older_snapshot_is_refused() {
    let (_db, mut client) = items();
    keep_nothing(&mut client);
    let_go(&mut client);
    run(&mut client, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    let refused = client.batch_execute("SELECT tenant_guard.prune_payloads()");
    let message = "prune_payloads() must be called in a READ COMMITTED transaction";
    expect_error(refused, "25001", message);
    run(&mut client, "ROLLBACK");
}

#[test]
fn a_removal_that_is_rolled_back_leaves_nothing_half_done() {
    let (_db, mut client) = items();
    keep_nothing(&mut client);
    let_go(&mut client);
    let all = "SELECT * FROM tenant_guard.audit_log ORDER BY xid, ordinal";
    let before = lines(&mut client, all);
    run(
        &mut client,
        "BEGIN; SELECT tenant_guard.prune_payloads(); ROLLBACK",
    );
    assert_eq!(lines(&mut client, all), before);
    assert_eq!(prune(&mut client), 3);
    assert_eq!(codes(&mut client), [""; 0]);
}

#[test]
fn data_that_is_removed_behind_the_guards_is_found() {
    let (_db, mut client) = items();
    keep_nothing(&mut client);
    let_go(&mut client);
    assert_eq!(prune(&mut client), 3);
    add(&mut client, "four", "b");
    seal(&mut client);
    switch_guard_off(&mut client, "audit_log");
    run(
        &mut client,
        "UPDATE tenant_guard.audit_log
         SET data = NULL, data_hash = sha256(convert_to(data, 'UTF8')) WHERE row_key ~ 'four'",
    );
    let found = verify(&mut client);
    let found: Vec<_> = found
        .iter()
        .map(|f| (f.code.as_str(), f.account.as_deref(), f.detail.as_str()))
        .collect();
    let detail = "its data is gone, and what a rule let go ends before it";
    assert_eq!(found, [("data_missing", Some("b"), detail)]);
}

/// The table of rules is guarded; past its guard, what blocks stated before still counts.
#[test]
fn rules_rewritten_behind_the_guards_are_found_and_let_nothing_go_early() {
    let (_db, mut client) = items();
    run(
        &mut client,
        "SELECT tenant_guard.set_retention(NULL, '90 days', 'law')",
    );
    seal(&mut client);
    let write = "UPDATE tenant_guard.ledger_retention SET keep = 0, before = 9e15";
    expect_error(client.batch_execute(write), "55000", "is append-only");
    switch_guard_off(&mut client, "ledger_retention");
    // A lower one beside it is nothing: the longest counts.
    run(
        &mut client,
        "INSERT INTO tenant_guard.ledger_retention VALUES (2, '', 0, 9e15)",
    );
    run(
        &mut client,
        "SELECT * FROM tenant_guard.seal(heartbeat => true)",
    );
    assert_eq!(prune(&mut client), 0);
    assert_eq!(codes(&mut client), [""; 0]);
    // In its place it is what a block states, and that says less than the one before.
    run(
        &mut client,
        "DELETE FROM tenant_guard.ledger_retention WHERE number = 1",
    );
    run(
        &mut client,
        "UPDATE tenant_guard.ledger_retention SET before = 1",
    );
    run(
        &mut client,
        "SELECT * FROM tenant_guard.seal(heartbeat => true)",
    );
    assert_eq!(codes(&mut client), ["retention_broken"]);
    run(&mut client, "DELETE FROM tenant_guard.ledger_retention");
    run(
        &mut client,
        "SELECT * FROM tenant_guard.seal(heartbeat => true)",
    );
    assert_eq!(codes(&mut client), ["retention_broken", "retention_broken"]);
}

/// Whoever sees the log sees either all of a removal or nothing of it.
#[test]
fn removal_beside_writers_and_sealing_is_whole_for_everybody() {
    let db = database();
    let mut client = db.superuser();
    keep_nothing(&mut client);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..2 {
            let (mut session, over) = (db.superuser(), &over);
            scope.spawn(move || {
                for number in 0.. {
                    let key = format!("{writer}-{number}");
                    add(&mut session, &key, ["a", "b"][number % 2]);
                    if over.load(Relaxed) {
                        break;
                    }
                }
            });
        }
        let (mut sealer, over) = (db.superuser(), &over);
        scope.spawn(move || {
            while !over.load(Relaxed) {
                seal(&mut sealer);
            }
        });
        let mut removed = 0;
        let mut auditor = db.superuser();
        while removed < 200 && !over.load(Relaxed) {
            run(&mut client, "SELECT tenant_guard.let_go()");
            removed += prune(&mut client);
            let found = findings(&mut auditor);
            if !found.is_empty() {
                over.store(true, Relaxed);
            }
            assert_eq!(found, [""; 0]);
        }
        over.store(true, Relaxed);
    });
    seal(&mut client);
    assert_eq!(codes(&mut client), [""; 0]);
}

/// An event of a transaction that is still open when its month is let go is younger than that.
#[test]
fn event_of_a_transaction_that_is_open_meanwhile_keeps_its_data() {
    let (db, mut client) = items();
    keep_nothing(&mut client);
    let mut writer = db.superuser();
    run(&mut writer, "BEGIN; INSERT INTO item VALUES ('open', 'a')");
    let_go(&mut client);
    assert_eq!(prune(&mut client), 3);
    run(&mut writer, "COMMIT");
    seal(&mut client);
    assert_eq!(prune(&mut client), 0);
    let kept = "SELECT count(*) FROM tenant_guard.audit_log
                WHERE kind = 'row' AND data IS NOT NULL";
    assert_eq!(lines(&mut client, kept), ["1"]);
    assert_eq!(codes(&mut client), [""; 0]);
}

/// The rules stand in a dump, and what they let go.
#[test]
fn rules_and_removals_survive_a_dump() {
    let (db, mut client) = items();
    keep_nothing(&mut client);
    let_go(&mut client);
    assert_eq!(prune(&mut client), 3);
    seal(&mut client);
    let dump = db.pg_dump(&["--format=custom"]);
    let restored = Database::empty();
    restored.pg_restore(&[], &dump);
    let mut client = restored.superuser();
    let rules = "SELECT relation, keep, before IS NULL FROM tenant_guard.ledger_retention
                 ORDER BY number";
    assert_eq!(lines(&mut client, rules), ["|0|f"]);
    assert_eq!(codes(&mut client), [""; 0]);
    add(&mut client, "new", "a");
    seal(&mut client);
    assert_eq!(codes(&mut client), [""; 0]);
}

#[test]
fn what_is_held_stays_until_it_is_released() {
    let (_db, mut client) = items();
    keep_nothing(&mut client);
    let hold = one(
        &mut client,
        "SELECT tenant_guard.place_hold('a', 'public.item', NULL, 'a lawsuit')::text",
    );
    let_go(&mut client);
    assert_eq!(prune(&mut client), 1);
    assert_eq!(prune(&mut client), 0);
    assert_eq!(codes(&mut client), [""; 0]);
    // A block behind it is gone through meanwhile, and what is held in it waits as well.
    add(&mut client, "four", "b");
    add(&mut client, "five", "a");
    seal(&mut client);
    let_go(&mut client);
    assert_eq!(prune(&mut client), 1);
    run(
        &mut client,
        &format!("SELECT tenant_guard.release_hold({hold}, 'settled')"),
    );
    assert_eq!(prune(&mut client), 3);
    assert_eq!(prune(&mut client), 0);
    seal(&mut client);
    assert_eq!(codes(&mut client), [""; 0]);
}

/// A hold is kept from the moment it is placed on: placing it waits for the removal that runs, and
/// for no longer.
#[test]
fn hold_that_is_placed_beside_a_removal_waits_for_its_end_alone() {
    let (db, mut client) = items();
    keep_nothing(&mut client);
    let_go(&mut client);
    let mut remover = db.superuser();
    run(&mut remover, "BEGIN; SELECT tenant_guard.prune_payloads(1)");
    let placed = AtomicBool::new(false);
    thread::scope(|scope| {
        let (mut holder, placed) = (db.superuser(), &placed);
        scope.spawn(move || {
            run(
                &mut holder,
                "SELECT tenant_guard.place_hold('a', 'public.item', NULL, 'a lawsuit')",
            );
            placed.store(true, Relaxed);
        });
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'object'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let since = Instant::now();
        while lines(&mut client, waits) != ["1"] {
            assert!(since.elapsed() < Duration::from_secs(30), "nobody waits");
        }
        assert!(!placed.load(Relaxed));
        run(&mut remover, "COMMIT");
    });
    assert!(placed.load(Relaxed));
}

/// Looking back does not take data that is gone for data that never was.
#[test]
fn history_of_pruned_rows_is_refused_and_not_made_up() {
    let (_db, mut client) = items();
    run(&mut client, "SELECT tenant_guard.record_baseline('item')");
    add(&mut client, "four", "a");
    seal(&mut client);
    keep_nothing(&mut client);
    let_go(&mut client);
    prune(&mut client);
    let history =
        "SELECT action, data FROM tenant_guard.row_history('public.item', '{\"key\":\"four\"}')";
    assert_eq!(lines(&mut client, history), ["insert|<null>"]);
    let state = "SELECT code, regexp_replace(detail, 'event [0-9a-f]+-[^:]+', 'event E')
                 FROM tenant_guard.verify_state('item')";
    assert_eq!(
        lines(&mut client, state),
        ["state_unknown|since event E: its data was let go by a rule of retention"]
    );
    let as_of = client.query("SELECT tenant_guard.as_of('public.item', now())", &[]);
    let error = as_of.expect_err("it is not known any more");
    let error = error.as_db_error().expect("the server's");
    assert_eq!(error.code().code(), "55000", "{error}");
    let detail = error.detail().expect("it says why");
    assert!(
        detail.contains("its data was let go by a rule of retention"),
        "{detail}"
    );
    // From a baseline on it is known again.
    run(&mut client, "SELECT tenant_guard.record_baseline('item')");
    assert_eq!(lines(&mut client, state), [""; 0]);
    // Without the events nothing says how it began.
    seal(&mut client);
    run(
        &mut client,
        "SELECT tenant_guard.keep_events('0 s', 'a test')",
    );
    let_go(&mut client);
    let newest = checkpoint(&mut client);
    let prune = format!("SELECT * FROM tenant_guard.prune_blocks($${newest}$$)");
    assert_eq!(lines(&mut client, &prune).len(), 1);
    assert_eq!(
        lines(&mut client, state),
        ["state_unknown|no event says which rows there were at first"]
    );
}
