//! Edits with a purpose, by somebody who knows the format: what each must be called, in the
//! database and offline.

use postgres::{Client, Transaction};

use super::forgery::hash_anew;
use super::tamper::{defenceless, verify};
use super::{checkpoint, findings_against, offline};
use crate::capture::run;

/// What is done, and the codes of what is found, each once.
struct Edit {
    name: &'static str,
    statements: &'static str,
    /// Selects events whose leaf hashes are made anew afterwards.
    hashed_anew: &'static str,
    codes: &'static [&'static str],
}

const fn edit(
    name: &'static str,
    statements: &'static str,
    hashed_anew: &'static str,
    codes: &'static [&'static str],
) -> Edit {
    Edit {
        name,
        statements,
        hashed_anew,
        codes,
    }
}

/// Where each sealed event stands: its block, its number there, and whether it is the last.
const PLACES: &str = "
    CREATE TABLE place AS
    SELECT xid, ordinal, block, account_id, context,
        row_number() OVER inside AS nth,
        row_number() OVER (PARTITION BY block ORDER BY xid DESC, ordinal DESC) = 1 AS last
    FROM (SELECT l.*, (SELECT min(b.block) FROM tenant_guard.ledger_block AS b
              WHERE pg_visible_in_snapshot(l.xid::text::xid8, b.snapshot::pg_snapshot)) AS block
          FROM tenant_guard.audit_log AS l) AS l
    WINDOW inside AS (PARTITION BY block ORDER BY xid, ordinal)";

const EDITS: &[Edit] = &[
    // A block once more.
    edit(
        "old block again under the next number",
        "INSERT INTO tenant_guard.ledger_block
             SELECT (jsonb_populate_record(b, '{\"block\": 5}')).*
             FROM tenant_guard.ledger_block AS b WHERE block = 2;
         INSERT INTO tenant_guard.ledger_leaf
             SELECT (jsonb_populate_record(l, '{\"block\": 5}')).*
             FROM tenant_guard.ledger_leaf AS l WHERE block = 2",
        "",
        &["account_altered", "block_altered", "leaf_altered"],
    ),
    edit(
        "old block again under its own number",
        "INSERT INTO tenant_guard.ledger_block SELECT * FROM tenant_guard.ledger_block WHERE block = 2",
        "",
        &["block_altered"],
    ),
    edit(
        "old block in the place of the newest",
        "DELETE FROM tenant_guard.ledger_block WHERE block = 4;
         INSERT INTO tenant_guard.ledger_block
             SELECT (jsonb_populate_record(b, '{\"block\": 4}')).*
             FROM tenant_guard.ledger_block AS b WHERE block = 2",
        "",
        &["block_altered", "event_set_changed", "leaf_altered"],
    ),
    edit(
        "old block with its leaves in the place of the newest",
        "DELETE FROM tenant_guard.ledger_block WHERE block = 4;
         DELETE FROM tenant_guard.ledger_leaf WHERE block = 4;
         INSERT INTO tenant_guard.ledger_block
             SELECT (jsonb_populate_record(b, '{\"block\": 4}')).*
             FROM tenant_guard.ledger_block AS b WHERE block = 2;
         INSERT INTO tenant_guard.ledger_leaf
             SELECT (jsonb_populate_record(l, '{\"block\": 4}')).*
             FROM tenant_guard.ledger_leaf AS l WHERE block = 2",
        "",
        &["account_altered", "block_altered", "leaf_altered"],
    ),
    edit(
        "events of an old block again, in the transactions of the next",
        "INSERT INTO tenant_guard.audit_log
             SELECT (jsonb_populate_record(l, jsonb_build_object('ordinal', l.ordinal + 1000,
                 'xid', (SELECT min(n.xid) FROM place AS n WHERE n.block = 3)))).*
             FROM tenant_guard.audit_log AS l JOIN place AS p USING (xid, ordinal)
             WHERE p.block = 2",
        "ordinal >= 1000",
        &["event_altered", "event_set_changed"],
    ),
    edit(
        "two blocks swapped",
        "UPDATE tenant_guard.ledger_block SET block = 5 - block WHERE block IN (2, 3)",
        "",
        &[
            "block_altered",
            "chain_broken",
            "event_set_changed",
            "leaf_altered",
        ],
    ),
    // Rows of old transactions.
    edit(
        "event added to the first sealed transaction",
        "INSERT INTO tenant_guard.audit_log
             SELECT (jsonb_populate_record(l, jsonb_build_object('ordinal', l.ordinal + 1000))).*
             FROM tenant_guard.audit_log AS l JOIN place AS p USING (xid, ordinal)
             WHERE p.block = 1 AND p.nth = 1",
        "ordinal >= 1000",
        &["event_set_changed"],
    ),
    edit(
        "event added to the last sealed transaction",
        "INSERT INTO tenant_guard.audit_log
             SELECT (jsonb_populate_record(l, jsonb_build_object('ordinal', l.ordinal + 1000))).*
             FROM tenant_guard.audit_log AS l JOIN place AS p USING (xid, ordinal)
             WHERE p.block = 4 AND p.last",
        "ordinal >= 1000",
        &["event_set_changed"],
    ),
    edit(
        "transaction added below all others",
        "INSERT INTO tenant_guard.audit_log
             SELECT (jsonb_populate_record(l, '{\"xid\": 3}')).*
             FROM tenant_guard.audit_log AS l JOIN place AS p USING (xid, ordinal)
             WHERE p.block = 1 AND p.nth = 1;
         INSERT INTO tenant_guard.audit_context
             SELECT (jsonb_populate_record(c, '{\"xid\": 3}')).*
             FROM tenant_guard.audit_context AS c JOIN place AS p USING (xid)
             WHERE p.block = 1 AND p.nth = 1",
        "l.xid = 3",
        &["context_altered", "event_set_changed"],
    ),
    edit(
        "transaction added that a sealed snapshot saw abort",
        "INSERT INTO tenant_guard.audit_log
             SELECT (jsonb_populate_record(l, jsonb_build_object('xid', p.xid - 1))).*
             FROM tenant_guard.audit_log AS l JOIN place AS p USING (xid, ordinal)
             WHERE p.block = 3 AND p.nth = 1;
         INSERT INTO tenant_guard.audit_context
             SELECT (jsonb_populate_record(c, jsonb_build_object('xid', p.xid - 1))).*
             FROM tenant_guard.audit_context AS c JOIN place AS p USING (xid)
             WHERE p.block = 3 AND p.nth = 1",
        "l.xid NOT IN (SELECT xid FROM place)",
        &["context_altered", "event_set_changed"],
    ),
    edit(
        "account added to an old block",
        "INSERT INTO tenant_guard.audit_log
             SELECT (jsonb_populate_record(l, jsonb_build_object(
                 'ordinal', l.ordinal + 1000, 'account_id', 'nobody'))).*
             FROM tenant_guard.audit_log AS l JOIN place AS p USING (xid, ordinal)
             WHERE p.block = 2 AND p.nth = 1",
        "ordinal >= 1000",
        &["event_set_changed"],
    ),
    // Order.
    edit(
        "two events of one transaction and account exchanged",
        "UPDATE tenant_guard.audit_log AS l SET ordinal = -1 - l.ordinal FROM place AS p
             WHERE (l.xid, l.ordinal) = (p.xid, p.ordinal) AND p.block = 2 AND p.nth IN (1, 2);
         UPDATE tenant_guard.audit_log AS l SET ordinal = (
                 SELECT min(o.ordinal) + max(o.ordinal) FROM place AS o
                 WHERE o.block = 2 AND o.nth IN (1, 2)) + 1 + l.ordinal
             WHERE ordinal < 0",
        "(l.xid, l.ordinal) IN (SELECT xid, ordinal FROM place WHERE block = 2 AND nth IN (1, 2))",
        &["event_set_changed"],
    ),
    edit(
        "two events of one transaction exchanged, hashes kept",
        "UPDATE tenant_guard.audit_log AS l SET ordinal = -1 - l.ordinal FROM place AS p
             WHERE (l.xid, l.ordinal) = (p.xid, p.ordinal) AND p.block = 2 AND p.nth IN (1, 2);
         UPDATE tenant_guard.audit_log AS l SET ordinal = (
                 SELECT min(o.ordinal) + max(o.ordinal) FROM place AS o
                 WHERE o.block = 2 AND o.nth IN (1, 2)) + 1 + l.ordinal
             WHERE ordinal < 0",
        "",
        &["event_altered", "event_set_changed"],
    ),
    edit(
        "event moved to an earlier block",
        "UPDATE tenant_guard.audit_log SET ordinal = 1000,
                 xid = (SELECT max(xid) FROM place WHERE block = 2)
             WHERE (xid, ordinal) = (SELECT xid, ordinal FROM place WHERE block = 3 AND last)",
        "ordinal = 1000",
        &["context_unreferenced", "event_set_changed"],
    ),
    edit(
        "event moved to what is not sealed",
        "UPDATE tenant_guard.audit_log SET xid = xid + 1000000
             WHERE (xid, ordinal) = (SELECT xid, ordinal FROM place WHERE block = 4 AND last);
         INSERT INTO tenant_guard.audit_context
             SELECT (jsonb_populate_record(c, jsonb_build_object('xid', c.xid + 1000000))).*
             FROM tenant_guard.audit_context AS c
             WHERE c.xid = (SELECT xid FROM place WHERE block = 4 AND last)",
        "l.xid > 1000000",
        &[
            "context_altered",
            "context_unreferenced",
            "event_set_changed",
            "event_unclaimed",
        ],
    ),
    // Ends.
    edit(
        "first event of the ledger removed",
        "DELETE FROM tenant_guard.audit_log
             WHERE (xid, ordinal) = (SELECT xid, ordinal FROM place WHERE block = 1 AND nth = 1)",
        "",
        &["event_set_changed"],
    ),
    edit(
        "last event of the ledger removed",
        "DELETE FROM tenant_guard.audit_log
             WHERE (xid, ordinal) = (SELECT xid, ordinal FROM place WHERE block = 4 AND last)",
        "",
        &["context_unreferenced", "event_set_changed"],
    ),
    edit(
        "first event of a block removed",
        "DELETE FROM tenant_guard.audit_log
             WHERE (xid, ordinal) = (SELECT xid, ordinal FROM place WHERE block = 2 AND nth = 1)",
        "",
        &["event_set_changed"],
    ),
    edit(
        "last event of a block removed with its context",
        "DELETE FROM tenant_guard.audit_context
             WHERE xid = (SELECT xid FROM place WHERE block = 2 AND last);
         DELETE FROM tenant_guard.audit_log
             WHERE xid = (SELECT xid FROM place WHERE block = 2 AND last)",
        "",
        &["event_set_changed"],
    ),
    edit(
        "first event of the ledger rewritten",
        "UPDATE tenant_guard.audit_log SET data = '{}'
             WHERE (xid, ordinal) = (SELECT xid, ordinal FROM place WHERE block = 1 AND nth = 1)",
        "data = '{}'",
        &["event_set_changed"],
    ),
    edit(
        "last event of the ledger rewritten",
        "UPDATE tenant_guard.audit_log SET data = '{}'
             WHERE (xid, ordinal) = (SELECT xid, ordinal FROM place WHERE block = 4 AND last)",
        "data = '{}'",
        &["event_set_changed"],
    ),
    edit(
        "last event of a block antedated",
        "UPDATE tenant_guard.audit_log SET occurred_at = occurred_at - interval '1 year'
             WHERE (xid, ordinal) = (SELECT xid, ordinal FROM place WHERE block = 3 AND last)",
        "(l.xid, l.ordinal) = (SELECT xid, ordinal FROM place WHERE block = 3 AND last)",
        &["event_set_changed"],
    ),
    edit(
        "all events of a block removed",
        "DELETE FROM tenant_guard.audit_log
             WHERE xid IN (SELECT xid FROM place WHERE block = 2);
         DELETE FROM tenant_guard.audit_context
             WHERE xid IN (SELECT xid FROM place WHERE block = 2)",
        "",
        &["event_set_changed"],
    ),
    edit(
        "first block removed",
        "DELETE FROM tenant_guard.ledger_block WHERE block = 1",
        "",
        &["block_missing", "leaf_altered", "leaf_missing"],
    ),
    edit(
        "everything of a block removed",
        "DELETE FROM tenant_guard.audit_log WHERE xid IN (SELECT xid FROM place WHERE block = 2);
         DELETE FROM tenant_guard.audit_context
             WHERE xid IN (SELECT xid FROM place WHERE block = 2);
         DELETE FROM tenant_guard.ledger_leaf WHERE block = 2;
         DELETE FROM tenant_guard.ledger_block WHERE block = 2",
        "",
        &["block_missing"],
    ),
    // Accounts.
    edit(
        "account removed with its leaves",
        "DELETE FROM tenant_guard.audit_log WHERE account_id = 'other';
         DELETE FROM tenant_guard.ledger_leaf WHERE account_id = 'other';
         DELETE FROM tenant_guard.ledger_account WHERE account_id = 'other';
         DELETE FROM tenant_guard.audit_context AS c WHERE NOT EXISTS (
             SELECT FROM tenant_guard.audit_log AS l WHERE (l.xid, l.context) = (c.xid, c.number))",
        "",
        &[
            "block_altered",
            "chain_broken",
            "leaf_altered",
            "leaf_missing",
        ],
    ),
    edit(
        "account renamed everywhere",
        "UPDATE tenant_guard.audit_log SET account_id = 'another' WHERE account_id = 'other';
         UPDATE tenant_guard.ledger_leaf SET account_id = 'another' WHERE account_id = 'other';
         UPDATE tenant_guard.ledger_account SET account_id = 'another' WHERE account_id = 'other'",
        "account_id = 'another'",
        &["account_altered", "event_set_changed"],
    ),
    edit(
        "events of an account given to another",
        "UPDATE tenant_guard.audit_log SET account_id = 'other' WHERE account_id = ''
             AND (xid, ordinal) IN (SELECT xid, ordinal FROM place WHERE block = 3)",
        "account_id = 'other'",
        &["event_set_changed"],
    ),
    edit(
        "states of two accounts exchanged",
        "UPDATE tenant_guard.ledger_account AS a
             SET (size, state) = (SELECT o.size, o.state FROM tenant_guard.ledger_account AS o
                 WHERE o.account_id IN ('', 'other') AND o.account_id <> a.account_id)
             WHERE account_id IN ('', 'other')",
        "",
        &["account_altered"],
    ),
    edit(
        "tree of an account set back to an older block",
        "UPDATE tenant_guard.ledger_account SET size = 0, state = '' WHERE account_id = 'other'",
        "",
        &["account_altered"],
    ),
];

/// The codes of what is found, each once.
fn codes(transaction: &mut Transaction<'_>) -> Vec<String> {
    let mut codes: Vec<String> = verify(transaction)
        .into_iter()
        .map(|found| found.code)
        .collect();
    codes.sort();
    codes.dedup();
    codes
}

fn attempt(client: &mut Client, edit: &Edit) -> Vec<String> {
    let mut transaction = client.transaction().unwrap();
    run(&mut transaction, edit.statements);
    if !edit.hashed_anew.is_empty() {
        hash_anew(&mut transaction, edit.hashed_anew);
    }
    codes(&mut transaction)
}

#[test]
fn edits_with_a_purpose_are_called_by_their_names() {
    let (_db, mut client) = defenceless();
    run(&mut client, PLACES);
    let mut wrong = Vec::new();
    for edit in EDITS {
        let found = attempt(&mut client, edit);
        println!("{}: {}", edit.name, found.join(", "));
        if found != edit.codes {
            wrong.push(format!("{}: {}", edit.name, found.join(", ")));
        }
    }
    assert!(EDITS.len() >= 30, "only {} edits", EDITS.len());
    assert_eq!(wrong, [""; 0]);
}

/// The newest blocks taken back with all that belongs to them: who kept a checkpoint is told the
/// same by the database and by the program.
#[test]
fn cut_tail_is_found_against_a_checkpoint_in_the_database_and_offline() {
    let (_db, mut client) = defenceless();
    run(&mut client, PLACES);
    let late = checkpoint(&mut client);
    for (cut, expected) in [
        ("block > 3", "checkpoint_truncated"),
        ("block > 2", "checkpoint_truncated"),
        ("block > 1", "checkpoint_truncated"),
    ] {
        let mut transaction = client.transaction().unwrap();
        run(
            &mut transaction,
            &format!(
                "DELETE FROM tenant_guard.ledger_block WHERE {cut};
                 DELETE FROM tenant_guard.ledger_leaf WHERE {cut};
                 DELETE FROM tenant_guard.audit_log WHERE xid IN
                     (SELECT xid FROM place WHERE {cut});
                 DELETE FROM tenant_guard.audit_context WHERE xid IN
                     (SELECT xid FROM place WHERE {cut})"
            ),
        );
        let bundle = offline::Scratch::new(&offline::export(&mut transaction, ""));
        let kept = offline::Scratch::new(late.as_bytes());
        let words = ["bundle".as_ref(), bundle.0.as_os_str()];
        let against = ["--against".as_ref(), kept.0.as_os_str()];
        let (code, said) = offline::program(&[&words[..], &against].concat());
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(expected), "{said}");
        let query = "SELECT code FROM tenant_guard.verify_ledger(against => $1)";
        let rows = transaction.query(query, &[&late]).unwrap();
        assert!(
            rows.iter().any(|row| row.get::<_, &str>(0) == expected),
            "{cut}"
        );
    }
    assert_eq!(findings_against(&mut client, &late), [""; 0]);
}
