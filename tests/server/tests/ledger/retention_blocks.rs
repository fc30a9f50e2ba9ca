//! Whole blocks taken from the log, and a ledger that verifies across what is gone.

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, Database, Issuer, expect_error, lines};

use super::offline::{Scratch, export, program};
use super::proofs::one;
use super::retention::{let_go, member};
use super::tamper::{switch_guard_off, verify};
use super::{add, checkpoint, database, findings_against, seal};
use crate::capture::run;

/// Codes, accounts and blocks of what is found, in the database, in parts and offline.
pub(super) fn found(client: &mut Client) -> Vec<String> {
    let found = verify(client).into_iter().map(|found| {
        let block = found
            .block
            .map(|block| format!(" {block}"))
            .unwrap_or_default();
        format!(
            "{}{block} {}",
            found.code,
            found.account.unwrap_or_default()
        )
    });
    found.collect()
}

pub(super) fn prune(client: &mut Client, checkpoint: &str) -> Vec<String> {
    lines(
        client,
        &format!("SELECT * FROM tenant_guard.prune_blocks($${checkpoint}$$)"),
    )
}

/// Three blocks of items of three accounts, the checkpoint of each, and a rule that keeps nothing.
pub(super) fn ledger() -> (Database, Client, Vec<String>) {
    let db = database();
    let mut client = db.superuser();
    let mut checkpoints = Vec::new();
    for accounts in [["a", "b", "a"], ["a", "c", "c"], ["b", "a", "b"]] {
        for account in accounts {
            let key = format!(
                "{}-{}",
                checkpoints.len(),
                lines(&mut client, "SELECT count(*) FROM item")[0]
            );
            add(&mut client, &key, account);
        }
        seal(&mut client);
        checkpoints.push(checkpoint(&mut client));
    }
    run(
        &mut client,
        "SET tenant_guard.retention_floor = 0;
         SELECT tenant_guard.keep_events('0 s', 'a test')",
    );
    assert_eq!(let_go(&mut client), ["events|<null>"]);
    (db, client, checkpoints)
}

#[test]
fn events_of_the_first_blocks_go_and_everything_still_verifies() {
    let (db, mut client, checkpoints) = ledger();
    let third = "SELECT event_id FROM tenant_guard.audit_event WHERE relation IS NOT NULL
                 ORDER BY xid, ordinal";
    let events = lines(&mut client, third);
    let receipt = |client: &mut Client, event: &str| {
        one(client, &format!("SELECT tenant_guard.receipt('{event}')"))
    };
    let old = receipt(&mut client, &events[0]);
    let mut admin = member(&db, "admin", "tenant_guard_admin");
    assert_eq!(prune(&mut admin, &checkpoints[1]), ["2|6"]);
    assert_eq!(found(&mut client), [""; 0], "before it is sealed");
    assert_eq!(
        lines(
            &mut client,
            "SELECT account_id, data FROM tenant_guard.audit_log WHERE action = 'prune_blocks'"
        ),
        ["|{\"block\":2,\"events\":6}"]
    );
    assert_eq!(
        lines(
            &mut client,
            "SELECT account_id, size, block FROM tenant_guard.ledger_pruned ORDER BY 1"
        ),
        ["a|3|2", "b|1|1", "c|2|2"]
    );
    let left = "SELECT count(*) FILTER (WHERE relation IS NOT NULL),
        (SELECT count(*) FROM tenant_guard.audit_context) FROM tenant_guard.audit_log";
    // Three items, the rule, what it let go and the removal; and each in a transaction of its own.
    assert_eq!(lines(&mut client, left), ["3|6"]);
    assert_eq!(prune(&mut admin, &checkpoints[1]), [""; 0]);
    seal(&mut client);
    assert_eq!(found(&mut client), [""; 0]);
    for checkpoint in &checkpoints {
        assert_eq!(findings_against(&mut client, checkpoint), [""; 0]);
        let since = format!("SELECT * FROM tenant_guard.verify_ledger(since => $${checkpoint}$$)");
        assert_eq!(lines(&mut client, &since), [""; 0]);
    }
    for account in ["a", "b", "c", ""] {
        let of_account =
            format!("SELECT * FROM tenant_guard.verify_ledger(account => '{account}')");
        assert_eq!(lines(&mut client, &of_account), [""; 0]);
        let bundle = Scratch::new(&export(&mut client, &format!("'{account}'")));
        let (code, text) = program(&["bundle".as_ref(), bundle.0.as_os_str()]);
        assert_eq!(code, tenant_guard_verify::exit::INTACT, "{text}");
    }
    // Receipts of what is gone are somebody's, and what is left gets new ones.
    let new = receipt(&mut client, &events[6]);
    for text in [old, new] {
        assert!(tenant_guard_core::receipt::verify(&text).is_ok(), "{text}");
    }
    let gone = format!("SELECT tenant_guard.receipt('{}')", events[0]);
    expect_error(client.batch_execute(&gone), "42704", "does not exist");
    // And on it goes.
    let newest = checkpoint(&mut client);
    let_go(&mut client);
    // As $(...) of a shell leaves it.
    assert_eq!(prune(&mut admin, newest.trim_end()).len(), 1);
    assert_eq!(found(&mut client), [""; 0]);
    add(&mut client, "last", "a");
    seal(&mut client);
    assert_eq!(found(&mut client), [""; 0]);
    assert_eq!(findings_against(&mut client, &checkpoints[0]), [""; 0]);
}

#[test]
fn events_go_where_they_are_old_enough_and_not_without_a_rule() {
    let (_db, mut client, checkpoints) = ledger();
    run(
        &mut client,
        "SELECT tenant_guard.keep_events('1 day', 'law')",
    );
    assert_eq!(prune(&mut client, &checkpoints[2]), [""; 0]);
    seal(&mut client);
    assert_eq!(prune(&mut client, &checkpoints[2]), [""; 0]);
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    seal(&mut client);
    let checkpoint = checkpoint(&mut client);
    assert_eq!(prune(&mut client, &checkpoint), [""; 0]);
}

#[test]
fn a_checkpoint_of_another_ledger_or_none_is_refused() {
    let (_db, mut client, checkpoints) = ledger();
    let (_other, mut other, _) = ledger();
    let foreign = checkpoint(&mut other);
    let tampered = checkpoints[1].replacen("/1\n", "/2\n", 1);
    for (text, message) in [
        (
            foreign.as_str(),
            "checkpoint does not fit: it is not one of this ledger",
        ),
        (
            tampered.as_str(),
            "checkpoint does not fit: it is not one of this ledger",
        ),
        (
            "",
            "checkpoint does not fit: it is not one of a tenant_guard ledger",
        ),
    ] {
        let call = format!("SELECT * FROM tenant_guard.prune_blocks($${text}$$)");
        expect_error(client.batch_execute(&call), "22023", message);
    }
    assert_eq!(
        lines(
            &mut client,
            "SELECT count(*) FROM tenant_guard.ledger_pruned"
        ),
        ["0"]
    );
}

#[test]
fn who_is_no_admin_removes_no_events() {
    let (db, mut client, checkpoints) = ledger();
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut client);
    let role = db.role("owner");
    run(&mut client, &format!("ALTER TABLE item OWNER TO {role}"));
    let owner = db.connect_as(&role);
    let auditor = member(&db, "auditor", "tenant_guard_auditor");
    for mut session in [owner, auditor] {
        let call = format!("SELECT tenant_guard.prune_blocks($${}$$)", checkpoints[0]);
        let mut transaction = session.transaction().expect("a transaction");
        issuer.sign_in(&mut transaction, ACCOUNT_A);
        let refused = transaction.batch_execute(&call);
        expect_error(refused, "42501", "permission denied for function");
    }
}

#[test]
fn a_removal_of_events_that_is_rolled_back_leaves_nothing_half_done() {
    let (_db, mut client, checkpoints) = ledger();
    let call = format!("SELECT tenant_guard.prune_blocks($${}$$)", checkpoints[1]);
    run(&mut client, &format!("BEGIN; {call}; ROLLBACK"));
    assert_eq!(found(&mut client), [""; 0]);
    assert_eq!(prune(&mut client, &checkpoints[1]), ["2|6"]);
    run(&mut client, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    let message = "prune_blocks() must be called in a READ COMMITTED transaction";
    expect_error(client.batch_execute(&call), "25001", message);
    run(&mut client, "ROLLBACK");
}

#[test]
fn a_damaged_block_is_not_removed() {
    let (_db, mut client, checkpoints) = ledger();
    switch_guard_off(&mut client, "audit_log");
    run(
        &mut client,
        "DELETE FROM tenant_guard.audit_log WHERE (xid, ordinal) =
            (SELECT xid, ordinal FROM tenant_guard.audit_log ORDER BY 1, 2 LIMIT 1)",
    );
    let call = format!("SELECT tenant_guard.prune_blocks($${}$$)", checkpoints[1]);
    let refused = client.batch_execute(&call);
    expect_error(
        refused,
        "XX001",
        "the tree of an account in the ledger is damaged",
    );
}

#[test]
fn events_that_are_removed_behind_the_guards_are_found() {
    let (_db, mut client, checkpoints) = ledger();
    assert_eq!(prune(&mut client, &checkpoints[0]), ["1|3"]);
    seal(&mut client);
    for table in ["audit_log", "audit_context", "ledger_pruned"] {
        switch_guard_off(&mut client, table);
    }
    let mut tried = |statements: &str| {
        run(&mut client, &format!("BEGIN; {statements}"));
        let mut said = found(&mut client);
        run(&mut client, "ROLLBACK");
        // Leaves are ordered by what hides the names of their accounts.
        said.sort();
        said
    };
    let block = |number: i32| {
        format!(
            "SELECT xid FROM tenant_guard.audit_log WHERE xid IN (SELECT l.xid
                FROM tenant_guard.audit_log AS l, tenant_guard.ledger_block AS b
                WHERE b.block = {number}
                    AND pg_visible_in_snapshot(l.xid::text::xid8, b.snapshot::pg_snapshot))"
        )
    };
    // The next block, in the same way.
    assert_eq!(
        tried(&format!(
            "CREATE TEMP TABLE gone AS {};
             DELETE FROM tenant_guard.audit_log WHERE xid IN (SELECT xid FROM gone);
             DELETE FROM tenant_guard.audit_context WHERE xid IN (SELECT xid FROM gone)",
            block(2)
        )),
        ["event_set_changed 2 a", "event_set_changed 2 c"]
    );
    // What was kept.
    assert_eq!(
        tried("DELETE FROM tenant_guard.ledger_pruned WHERE account_id = 'a'"),
        ["pruned_altered 1 a"]
    );
    assert_eq!(
        tried("UPDATE tenant_guard.ledger_pruned SET state = set_byte(state, 0, get_byte(state, 0) # 1)
               WHERE account_id = 'b'"),
        ["pruned_altered 1 b"]
    );
    assert_eq!(
        tried("UPDATE tenant_guard.ledger_pruned SET size = size + 1 WHERE account_id = 'a'"),
        ["pruned_altered 1 a"]
    );
    assert_eq!(
        tried("INSERT INTO tenant_guard.ledger_pruned VALUES (1, 0, 'nobody', '')"),
        ["pruned_altered 1 nobody"]
    );
    // As if the next block had been removed by the rule, for one account.
    assert_eq!(
        tried("UPDATE tenant_guard.ledger_pruned SET block = 2 WHERE account_id = 'a'"),
        [
            "event_set_changed 2 a",
            "event_set_changed 2 c",
            "pruned_altered 2 a",
            "pruned_altered 2 c",
        ]
    );
}

/// A second server takes over events, so that a block holds those of two incarnations.
#[test]
fn adopted_events_go_with_the_block_that_took_them_over() {
    let (db, mut client, _) = ledger();
    add(&mut client, "left", "a");
    let dump = db.pg_dump(&["--format=custom"]);
    let restored = Database::empty();
    restored.pg_restore(&[], &dump);
    let mut client = restored.superuser();
    add(&mut client, "here", "a");
    assert_eq!(seal(&mut client).len(), 1);
    let newest = checkpoint(&mut client);
    run(&mut client, "SET tenant_guard.retention_floor = 0");
    assert_eq!(let_go(&mut client), ["events|<null>"]);
    assert_eq!(prune(&mut client, &newest).len(), 1);
    assert_eq!(
        lines(
            &mut client,
            "SELECT DISTINCT action FROM tenant_guard.audit_log ORDER BY 1"
        ),
        ["let_go", "prune_blocks"]
    );
    assert_eq!(found(&mut client), [""; 0]);
    seal(&mut client);
    assert_eq!(found(&mut client), [""; 0]);
}

#[test]
fn events_go_up_to_the_first_block_with_one_that_is_held() {
    let (_db, mut client, checkpoints) = ledger();
    let hold = one(
        &mut client,
        "SELECT tenant_guard.place_hold('c', NULL, NULL, 'a lawsuit')::text",
    );
    assert_eq!(prune(&mut client, &checkpoints[2]), ["1|3"]);
    assert_eq!(prune(&mut client, &checkpoints[2]), [""; 0]);
    run(
        &mut client,
        &format!("SELECT tenant_guard.release_hold({hold}, 'settled')"),
    );
    assert_eq!(prune(&mut client, &checkpoints[2]), ["3|6"]);
    seal(&mut client);
    assert_eq!(found(&mut client), [""; 0]);
}

/// An erasure outlives the events that it names.
#[test]
fn what_was_erased_may_be_removed_too() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE person (id int PRIMARY KEY, account_id text, email text)",
    );
    run(
        &mut client,
        "SELECT tenant_guard.annotate('person', personal => '{email}');
         SELECT tenant_guard.audit('person');
         INSERT INTO person VALUES (1, 'a', 'one@example.org'), (2, 'a', 'two@example.org')",
    );
    seal(&mut client);
    let erased = checkpoint(&mut client);
    let event = "SELECT event_id, account_id FROM tenant_guard.audit_event
                 WHERE personal IS NOT NULL ORDER BY ordinal LIMIT 1";
    let row = lines(&mut client, event)[0].clone();
    let (event, account) = row.split_once('|').expect("two columns");
    let account = if account == "<null>" { "" } else { account };
    run(
        &mut client,
        &format!("SELECT tenant_guard.erase_personal('{account}', '{{{event}}}', 'GDPR 17')"),
    );
    seal(&mut client);
    assert_eq!(found(&mut client), [""; 0]);
    run(
        &mut client,
        "SET tenant_guard.retention_floor = 0;
         SELECT tenant_guard.set_retention(NULL, '0 s', 'a test');
         SELECT tenant_guard.keep_events('0 s', 'a test')",
    );
    assert_eq!(let_go(&mut client), ["payload|<null>", "events|<null>"]);
    run(&mut client, "SELECT tenant_guard.prune_payloads()");
    assert_eq!(found(&mut client), [""; 0]);
    assert_eq!(prune(&mut client, &erased).len(), 1);
    assert_eq!(found(&mut client), [""; 0]);
    seal(&mut client);
    assert_eq!(found(&mut client), [""; 0]);
}
