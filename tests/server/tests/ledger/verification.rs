//! Verification in parts, from a checkpoint on, of indexes, and how far it has come.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, GenericClient};
use tenant_guard_tests::{ACCOUNT_A, expect_error, lines};

use super::tamper::{Found, defenceless, switch_guard_off, verify};
use super::{add, checkpoint, database, findings, seal};
use crate::capture::run;

/// Each part of a verification finds a share, together they find what the whole one does.
pub(super) fn assert_parts_find_the_same(client: &mut impl GenericClient, found: &[Found]) {
    let query = "SELECT DISTINCT v.code, v.block, v.account_id, v.event_id, v.detail
                 FROM generate_series(1, 2) AS n,
                     LATERAL tenant_guard.verify_ledger(part => n, parts => 2) AS v";
    let in_parts: BTreeSet<Found> = client
        .query(query, &[])
        .unwrap_or_else(|error| panic!("{error:?}"))
        .iter()
        .map(Found::of_row)
        .collect();
    assert_eq!(in_parts, found.iter().cloned().collect());
}

/// Codes and blocks of what came after a checkpoint.
#[track_caller]
pub(super) fn found_since(client: &mut impl GenericClient, checkpoint: &str) -> Vec<String> {
    let query = "SELECT code || coalesce(' ' || block, '')
                 FROM tenant_guard.verify_ledger(since => $1)";
    match client.query(query, &[&checkpoint]) {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        Err(error) => panic!("verify_ledger: {error:?}"),
    }
}

/// A ledger of four blocks, and its checkpoints after the second and the last of them.
fn checkpoints(client: &mut Client) -> [String; 2] {
    let of_block = |client: &mut Client, block: i64| {
        let query = "SELECT 'tenant_guard/' || lpad(to_hex(incarnation), 16, '0') || '/' || epoch
                            || E'\n' || tree_size || E'\n' || encode(root, 'base64') || E'\n'
                     FROM tenant_guard.ledger_block WHERE block = $1";
        client.query_one(query, &[&block]).expect("a block").get(0)
    };
    let found = [of_block(client, 2), of_block(client, 4)];
    assert_eq!(found[1], checkpoint(client));
    found
}

#[test]
fn edit_is_found_since_a_checkpoint_before_it_and_not_since_one_after_it() {
    let (_db, mut client) = defenceless();
    let [second, last] = checkpoints(&mut client);
    assert_eq!(found_since(&mut client, &second), [""; 0]);
    assert_eq!(found_since(&mut client, &last), [""; 0]);
    // As $(...) of a shell leaves it.
    assert_eq!(found_since(&mut client, last.trim_end()), [""; 0]);
    for (block, expected) in [
        (1, &[][..]),
        (3, &["event_altered 3"]),
        (4, &["event_altered 4"]),
    ] {
        let mut transaction = client.transaction().unwrap();
        let edit = format!(
            "UPDATE tenant_guard.audit_log SET action = 'forged' WHERE (xid, ordinal) =
                (SELECT l.xid, l.ordinal FROM tenant_guard.audit_log AS l
                 WHERE (SELECT min(b.block) FROM tenant_guard.ledger_block AS b
                        WHERE pg_visible_in_snapshot(l.xid::text::xid8, b.snapshot::pg_snapshot))
                     = {block} ORDER BY 1, 2 LIMIT 1)"
        );
        assert_eq!(transaction.execute(edit.as_str(), &[]).unwrap(), 1);
        assert_eq!(
            found_since(&mut transaction, &second),
            expected,
            "block {block}"
        );
        assert_eq!(found_since(&mut transaction, &last), [""; 0]);
        let whole = verify(&mut transaction);
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].block, Some(block));
    }
}

#[test]
fn damage_is_found_since_a_checkpoint_before_it_and_where_it_hides_the_proof_of_one() {
    let (_db, mut client) = defenceless();
    let [second, last] = checkpoints(&mut client);
    for (edit, since_second, since_last) in [
        (
            "DELETE FROM tenant_guard.ledger_leaf WHERE (block, position) =
                (SELECT block, max(position) - 1 FROM tenant_guard.ledger_leaf
                 WHERE block = 3 GROUP BY block)",
            "leaf_missing 3",
            "block_altered 4",
        ),
        (
            "DELETE FROM tenant_guard.ledger_block WHERE block = 3",
            "block_missing 3",
            "block_altered 4",
        ),
        (
            "UPDATE tenant_guard.ledger_block SET sealed_at = now() WHERE block = 3",
            "block_altered 3",
            "",
        ),
        (
            "UPDATE tenant_guard.ledger_block SET sealed_at = now() WHERE block = 4",
            "block_altered 4",
            "block_altered 4",
        ),
        (
            "UPDATE tenant_guard.ledger_block SET sealed_at = now() WHERE block = 2",
            "block_altered 2",
            "",
        ),
        (
            "UPDATE tenant_guard.ledger_block SET sealed_at = now() WHERE block = 1",
            "",
            "",
        ),
        (
            "UPDATE tenant_guard.ledger_account SET size = size + 1",
            "account_altered",
            "",
        ),
        (
            "WITH gone AS (DELETE FROM tenant_guard.ledger_leaf WHERE block = 4)
             DELETE FROM tenant_guard.ledger_block WHERE block = 4",
            "account_altered",
            "checkpoint_truncated",
        ),
        (
            "DELETE FROM tenant_guard.ledger_block WHERE block = 2",
            "checkpoint_mismatch",
            "block_altered 4",
        ),
    ] {
        let mut transaction = client.transaction().unwrap();
        run(&mut transaction, edit);
        for (checkpoint, expected) in [(&second, since_second), (&last, since_last)] {
            let found = found_since(&mut transaction, checkpoint);
            match expected {
                "" => assert_eq!(found, [""; 0], "{edit}"),
                code => assert!(found.iter().any(|line| line == code), "{edit}: {found:?}"),
            }
        }
        assert!(!verify(&mut transaction).is_empty(), "{edit}");
    }
}

#[test]
fn verification_since_a_checkpoint_reads_no_event_before_it() {
    let (_db, mut client) = defenceless();
    let [_, last] = checkpoints(&mut client);
    let mut transaction = client.transaction().unwrap();
    run(
        &mut transaction,
        "DELETE FROM tenant_guard.audit_log; DELETE FROM tenant_guard.audit_context;
         DELETE FROM tenant_guard.ledger_account",
    );
    let found = transaction.query(
        "SELECT code FROM tenant_guard.verify_ledger(since => $1)",
        &[&last],
    );
    assert_eq!(found.unwrap().len(), 0);
}

#[test]
fn arguments_that_name_no_part_or_no_checkpoint_are_refused() {
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", ACCOUNT_A);
    seal(&mut client);
    for arguments in [
        "part => 1",
        "parts => 1",
        "part => 0, parts => 2",
        "part => 3, parts => 2",
        "part => 1, parts => 0",
        "part => 1, parts => 2000",
    ] {
        let call = format!("SELECT tenant_guard.verify_ledger({arguments})");
        expect_error(
            client.batch_execute(&call),
            "22023",
            "it must be 1 to parts",
        );
    }
    expect_error(
        client.batch_execute("SELECT tenant_guard.verify_ledger(since => 'none')"),
        "22023",
        "checkpoint",
    );
    expect_error(
        client.batch_execute(
            "SELECT tenant_guard.verify_ledger(
                since => tenant_guard.checkpoint(), against => tenant_guard.checkpoint())",
        ),
        "22023",
        "it already is what the ledger must have grown from",
    );
}

#[test]
fn auditor_verifies_parts_and_what_is_new_in_a_read_only_session() {
    let db = database();
    let mut superuser = db.superuser();
    add(&mut superuser, "one", ACCOUNT_A);
    seal(&mut superuser);
    let earlier = checkpoint(&mut superuser);
    add(&mut superuser, "two", ACCOUNT_A);
    seal(&mut superuser);
    let role = db.role("auditor");
    run(
        &mut superuser,
        &format!("GRANT tenant_guard_auditor TO {role}"),
    );
    let mut auditor = db.connect_as(&role);
    run(&mut auditor, "SET default_transaction_read_only = on");
    assert_eq!(found_since(&mut auditor, &earlier), [""; 0]);
    for arguments in [
        "",
        "part => 1, parts => 3",
        "part => 2, parts => 3",
        "part => 3, parts => 3",
    ] {
        let call = format!("SELECT * FROM tenant_guard.verify_ledger({arguments})");
        assert_eq!(lines(&mut auditor, &call), [""; 0]);
    }
}

/// Switches the key's index of a table, and those of its partitions, off while `statement` runs, as a superuser can: it misses what is
/// written then.
fn behind_the_index(client: &mut Client, table: &str, statement: &str) {
    let switch = |on: bool| {
        format!(
            "UPDATE pg_index SET indisready = {on} WHERE indisprimary AND indrelid IN (
                SELECT 'tenant_guard.{table}'::regclass UNION ALL
                SELECT inhrelid FROM pg_inherits
                WHERE inhparent = 'tenant_guard.{table}'::regclass)"
        )
    };
    run(client, "SET allow_system_table_mods = on");
    run(client, &switch(false));
    run(client, statement);
    run(client, &switch(true));
}

/// An event that only those see who read the table: sealing and verification by index pass over it.
#[test]
fn row_that_the_index_does_not_lead_to_is_found() {
    let db = database();
    let mut client = db.superuser();
    for key in ["one", "two"] {
        add(&mut client, key, ACCOUNT_A);
        seal(&mut client);
    }
    assert_eq!(findings(&mut client), [""; 0]);
    let tables = [
        ("audit_log", "ordinal", "ordinal + 7"),
        ("audit_context", "number", "number + 7"),
        ("ledger_account", "account_id", "account_id || chr(120)"),
        ("ledger_block", "block", "block + 7"),
        ("ledger_leaf", "position", "position + 7"),
    ];
    for (table, column, value) in tables {
        switch_guard_off(&mut client, table);
        let columns = lines(
            &mut client,
            &format!(
                "SELECT string_agg(CASE attname WHEN '{column}' THEN '{value}'
                                   ELSE quote_ident(attname) END, ', ' ORDER BY attnum)
                 FROM pg_attribute WHERE attrelid = 'tenant_guard.{table}'::regclass AND attnum > 0"
            ),
        )
        .remove(0);
        let copy = format!(
            "INSERT INTO tenant_guard.{table} SELECT {columns} FROM tenant_guard.{table} LIMIT 1"
        );
        behind_the_index(&mut client, table, &copy);
        let relation = format!("tenant_guard.{table}");
        let found = lines(
            &mut client,
            "SELECT code, relation, detail FROM tenant_guard.verify_ledger()",
        );
        let said = format!("index_differs|{relation}|its index leads to ");
        assert!(
            found.iter().any(|line| line.starts_with(&said)),
            "{table}: {found:?}"
        );
        // By whichever part looks at it.
        let in_parts = lines(
            &mut client,
            "SELECT code, v.relation, detail FROM generate_series(1, 3) AS n,
                 LATERAL tenant_guard.verify_ledger(part => n, parts => 3) AS v",
        );
        assert_eq!(in_parts, found);
        run(&mut client, &format!("REINDEX TABLE tenant_guard.{table}"));
        let found = lines(&mut client, "SELECT code FROM tenant_guard.verify_ledger()");
        assert!(
            !found.contains(&"index_differs".to_owned()),
            "{table}: {found:?}"
        );
        run(
            &mut client,
            &format!(
                "DELETE FROM tenant_guard.{table} WHERE ctid =
                (SELECT max(ctid) FROM tenant_guard.{table})"
            ),
        );
    }
}

#[test]
fn progress_stands_in_the_activity_of_the_session() {
    let db = database();
    let mut client = db.superuser();
    for key in ["one", "two"] {
        add(&mut client, key, ACCOUNT_A);
        seal(&mut client);
    }
    let mut holder = db.superuser();
    let mut holding = holder.transaction().unwrap();
    run(
        &mut holding,
        "LOCK tenant_guard.audit_log IN ACCESS EXCLUSIVE MODE",
    );
    let mut verifier = db.superuser();
    let pid = lines(&mut verifier, "SELECT pg_backend_pid()").remove(0);
    let verification = thread::spawn(move || (findings(&mut verifier), verifier));
    let query = format!("SELECT query FROM pg_stat_activity WHERE pid = {pid}");
    let until = Instant::now() + Duration::from_secs(30);
    let expected = "/* verify_ledger: block 1 of 2 */ SELECT * FROM tenant_guard.verify_ledger()";
    while lines(&mut client, &query) != [expected] {
        assert!(Instant::now() < until, "{:?}", lines(&mut client, &query));
        thread::sleep(Duration::from_millis(10));
    }
    holding.rollback().unwrap();
    let (found, _session) = verification.join().expect("findings");
    assert_eq!(found, [""; 0]);
    let shown = lines(&mut client, &query);
    assert_eq!(shown, ["SELECT * FROM tenant_guard.verify_ledger()"]);
}
