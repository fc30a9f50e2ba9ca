//! Forgeries that are consistent in themselves, by somebody who can write a verifier too.

use postgres::{Client, GenericClient};
use tenant_guard_core::event::{Entry, EventKey};
use tenant_guard_tests::{ACCOUNT_A, lines};

use super::tamper::{Found, TABLES, changed, defenceless, switch_guard_off, verify};
use super::{add, checkpoint, database, findings, findings_against, seal};
use crate::capture::run;

/// An event changed together with its leaf hash, as somebody with the format's page can.
#[test]
fn event_that_was_hashed_anew_is_found() {
    let (_db, mut client) = defenceless();
    let table = &TABLES[0];
    for target in table.first_middle_last(&mut client) {
        let mut transaction = client.transaction().unwrap();
        run(
            &mut transaction,
            &format!(
                "UPDATE tenant_guard.audit_log SET data = '{{\"forged\":true}}' WHERE ctid = '{}'",
                target.ctid
            ),
        );
        hash_anew(&mut transaction, "data = '{\"forged\":true}'");
        let found = verify(&mut transaction);
        assert_eq!(found.len(), 1, "{}", target.place);
        assert_eq!(found[0].code, "event_set_changed");
        assert_eq!(
            (found[0].block, &found[0].account),
            (target.block, &target.account)
        );
    }
}

/// Gives the events a condition selects the leaf hashes of their columns.
pub(super) fn hash_anew(client: &mut impl GenericClient, condition: &str) {
    let query = format!(
        "SELECT l.incarnation, l.xid, l.ordinal, command_id, kind, action, account_id, relation,
            leaf_relation, row_key, target,
            (extract(epoch FROM occurred_at) * 1000000)::bigint, data, redacted, hashed, c.hash
         FROM tenant_guard.audit_log AS l JOIN tenant_guard.audit_context AS c
             ON (l.incarnation, l.xid, l.context) = (c.incarnation, c.xid, c.number)
         WHERE {condition}"
    );
    for row in client.query(&query, &[]).unwrap() {
        let redacted: Option<Vec<&str>> = row.get(13);
        let hashed: Option<Vec<&str>> = row.get(14);
        let context: &[u8] = row.get(15);
        let key = EventKey {
            incarnation: row.get(0),
            xid: row.get(1),
            ordinal: row.get(2),
        };
        let entry = Entry {
            key,
            command_id: row.get(3),
            kind: row.get(4),
            action: row.get(5),
            account: row.get(6),
            relation: row.get(7),
            leaf_relation: row.get(8),
            row_key: row.get(9),
            target: row.get(10),
            occurred_at: row.get(11),
            context: Some(context.try_into().unwrap()),
            data: row.get(12),
            personal: None,
            redacted: &redacted.unwrap_or_default(),
            hashed: &hashed.unwrap_or_default(),
        };
        let leaf = entry.leaf_hash(&mut Vec::new());
        let update = "UPDATE tenant_guard.audit_log SET leaf_hash = $1
                      WHERE (incarnation, xid, ordinal) = ($2, $3, $4)";
        client
            .execute(
                update,
                &[&leaf.as_slice(), &key.incarnation, &key.xid, &key.ordinal],
            )
            .unwrap();
    }
}

/// The hashing of this file agrees with the extension's, or the test above would show nothing.
#[test]
fn hashing_anew_changes_no_sound_event() {
    let (_db, mut client) = defenceless();
    hash_anew(&mut client, "true");
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn removal_of_a_whole_account_is_found() {
    let (_db, mut client) = defenceless();
    let condition = format!("WHERE account_id = '{ACCOUNT_A}'");
    let statements = [
        format!("DELETE FROM tenant_guard.audit_log {condition}"),
        format!("DELETE FROM tenant_guard.ledger_leaf {condition}"),
        format!("DELETE FROM tenant_guard.ledger_account {condition}"),
        "DELETE FROM tenant_guard.audit_context AS c WHERE NOT EXISTS (
            SELECT FROM tenant_guard.audit_log AS l WHERE (l.xid, l.context) = (c.xid, c.number))"
            .to_owned(),
    ];
    let found = changed(&mut client, &statements).expect("rows are deleted");
    for block in 1..=4 {
        let named = |found: &Found| found.code == "leaf_missing" && found.block == Some(block);
        assert!(found.iter().any(named), "block {block}");
    }
}

/// Removes the blocks after the second; `accounts_before` holds the accounts as of then.
fn take_back(client: &mut Client) {
    for table in TABLES {
        switch_guard_off(client, table.name);
    }
    run(
        client,
        "DELETE FROM tenant_guard.ledger_block WHERE block > 2;
         DELETE FROM tenant_guard.ledger_leaf WHERE block > 2;
         DELETE FROM tenant_guard.ledger_account;
         INSERT INTO tenant_guard.ledger_account TABLE accounts_before",
    );
}

/// Taking back the newest blocks with all that belongs to them leaves a sound, shorter ledger. Only
/// somebody who kept a checkpoint can tell.
#[test]
fn removal_of_the_newest_blocks_is_found_with_a_checkpoint_only() {
    for keep_events in [true, false] {
        let db = database();
        let mut client = db.superuser();
        for key in ["one", "two"] {
            run(
                &mut client,
                &format!("INSERT INTO item VALUES ('{key}', 'a')"),
            );
            seal(&mut client);
        }
        let early = checkpoint(&mut client);
        run(
            &mut client,
            "CREATE TABLE events_before AS SELECT xid FROM tenant_guard.audit_log;
             CREATE TABLE accounts_before AS TABLE tenant_guard.ledger_account",
        );
        for (key, account) in [("three", "a"), ("four", "b"), ("five", "b")] {
            run(
                &mut client,
                &format!("INSERT INTO item VALUES ('{key}', '{account}')"),
            );
            seal(&mut client);
        }
        let late = checkpoint(&mut client);
        take_back(&mut client);
        if !keep_events {
            run(
                &mut client,
                "DELETE FROM tenant_guard.audit_log WHERE xid NOT IN (TABLE events_before);
                 DELETE FROM tenant_guard.audit_context WHERE xid NOT IN (TABLE events_before)",
            );
        }
        assert_eq!(findings(&mut client), [""; 0]);
        assert_eq!(findings_against(&mut client, &early), [""; 0]);
        assert_eq!(
            findings_against(&mut client, &late),
            ["checkpoint_truncated"]
        );
        // Sealing on does not cover it up.
        for key in ["six", "seven", "eight", "nine"] {
            run(
                &mut client,
                &format!("INSERT INTO item VALUES ('{key}', 'a')"),
            );
            seal(&mut client);
        }
        assert_eq!(findings(&mut client), [""; 0]);
        assert_eq!(
            findings_against(&mut client, &late),
            ["checkpoint_mismatch"]
        );
    }
}

/// Whoever can do all that the sealer does takes blocks back, rewrites their events and seals them
/// again. Only somebody who kept a checkpoint of after the first of them can tell.
#[test]
fn rewriting_from_a_block_on_and_sealing_again_is_found_with_a_checkpoint_only() {
    let db = database();
    let mut client = db.superuser();
    for key in ["one", "two"] {
        add(&mut client, key, "a");
        seal(&mut client);
    }
    let early = checkpoint(&mut client);
    run(
        &mut client,
        "CREATE TABLE accounts_before AS TABLE tenant_guard.ledger_account",
    );
    for (key, account) in [("three", "a"), ("four", "b"), ("five", "b")] {
        add(&mut client, key, account);
        seal(&mut client);
    }
    let late = checkpoint(&mut client);
    take_back(&mut client);
    run(
        &mut client,
        "UPDATE tenant_guard.audit_log SET data = '{\"forged\":true}' WHERE data LIKE '%four%'",
    );
    let forged = "data = '{\"forged\":true}'";
    hash_anew(&mut client, forged);
    assert_eq!(seal(&mut client).len(), 1);
    let count = format!("SELECT count(*) FROM tenant_guard.audit_log WHERE {forged}");
    assert_eq!(lines(&mut client, &count), ["1"]);
    assert_eq!(findings(&mut client), [""; 0]);
    assert_eq!(findings_against(&mut client, &early), [""; 0]);
    assert_eq!(
        findings_against(&mut client, &late),
        ["checkpoint_truncated"]
    );
    // Nor does a ledger that has grown to the length of before.
    for key in ["six", "seven", "eight"] {
        add(&mut client, key, "a");
        seal(&mut client);
    }
    assert_eq!(findings(&mut client), [""; 0]);
    assert_eq!(findings_against(&mut client, &early), [""; 0]);
    assert_eq!(
        findings_against(&mut client, &late),
        ["checkpoint_mismatch"]
    );
}
