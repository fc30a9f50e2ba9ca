//! Ways to have something removed that a rule keeps, or to hide by a removal what was altered.

use postgres::Client;
use tenant_guard_tests::{expect_error, lines};

use super::offline::{Scratch, export, program};
use super::proofs::one;
use super::retention::{codes, items, keep_nothing, let_go, prune as prune_data};
use super::retention_blocks::{found, ledger, prune};
use super::tamper::switch_guard_off;
use super::{add, checkpoint, database, findings, seal};
use crate::capture::run;

/// Codes of what is found after a checkpoint.
fn since(client: &mut Client, checkpoint: &str) -> Vec<String> {
    let query = format!(
        "SELECT DISTINCT code FROM tenant_guard.verify_ledger(since => $${checkpoint}$$) ORDER BY 1"
    );
    lines(client, &query)
}

/// A block with rules of ten years, its checkpoint, and a block with two events.
fn kept_for_long() -> (tenant_guard_tests::Database, Client, String) {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "SELECT tenant_guard.set_retention(NULL, '3660 days', 'law');
         SELECT tenant_guard.keep_events('3660 days', 'law')",
    );
    add(&mut client, "one", "a");
    seal(&mut client);
    let before = checkpoint(&mut client);
    add(&mut client, "two", "a");
    add(&mut client, "three", "b");
    seal(&mut client);
    (db, client, before)
}

/// Rules behind the guards are 0, and the text of the block that says otherwise is gone.
fn hide_rules(client: &mut Client) {
    for table in ["ledger_retention", "ledger_block"] {
        switch_guard_off(client, table);
    }
    run(
        client,
        "UPDATE tenant_guard.ledger_retention SET keep = 0;
         UPDATE tenant_guard.ledger_block SET configuration = NULL WHERE block = 1;
         SET tenant_guard.retention_floor = 0",
    );
    assert_eq!(let_go(client), ["payload|<null>", "events|<null>"]);
}

#[test]
fn rules_hidden_in_the_block_of_a_checkpoint_let_no_events_go() {
    let (_db, mut client, before) = kept_for_long();
    hide_rules(&mut client);
    let newest = checkpoint(&mut client);
    assert_eq!(prune(&mut client, &newest).len(), 1);
    let said = ["configuration_altered", "event_set_changed"];
    assert_eq!(since(&mut client, &before), said);
    // And nothing else hides it from whoever verifies all.
    assert_eq!(codes(&mut client), said);
}

#[test]
fn rules_hidden_in_the_block_of_a_checkpoint_let_no_data_go() {
    let (_db, mut client, before) = kept_for_long();
    hide_rules(&mut client);
    assert_eq!(prune_data(&mut client), 3);
    let said = ["configuration_altered", "data_missing"];
    assert_eq!(since(&mut client, &before), said);
    let mut codes = codes(&mut client);
    codes.sort();
    assert_eq!(codes, said);
}

#[test]
fn removed_block_that_is_not_there_hides_nothing_after_a_checkpoint() {
    let (_db, mut client, before) = kept_for_long();
    for table in ["audit_log", "audit_context", "ledger_pruned"] {
        switch_guard_off(&mut client, table);
    }
    run(
        &mut client,
        "DELETE FROM tenant_guard.audit_log; DELETE FROM tenant_guard.audit_context",
    );
    let newest = "SELECT max(block) FROM tenant_guard.ledger_block";
    let newest: i64 = lines(&mut client, newest)[0].parse().unwrap();
    // What was done here is sealed meanwhile, perhaps.
    for block in [newest + 5, 1_000_000] {
        run(
            &mut client,
            &format!(
                "DELETE FROM tenant_guard.ledger_pruned;
                 INSERT INTO tenant_guard.ledger_pruned VALUES ({block}, 1, 'a', '\\x')"
            ),
        );
        let found = since(&mut client, &before);
        assert!(
            found.contains(&"pruned_altered".to_owned()),
            "{block}: {found:?}"
        );
        let parts = (1..=2).flat_map(|part| {
            let query = format!(
                "SELECT code FROM tenant_guard.verify_ledger(since => $${before}$$, part => {part}, parts => 2)"
            );
            lines(&mut client, &query)
        });
        assert!(
            parts
                .collect::<Vec<_>>()
                .contains(&"pruned_altered".to_owned()),
            "{block}"
        );
        assert!(codes(&mut client).contains(&"pruned_altered".to_owned()));
    }
}

fn refused_as_damaged(client: &mut Client, call: &str) {
    let count = "SELECT count(*), count(data) FROM tenant_guard.audit_log";
    let before = lines(client, count);
    let refused = client.batch_execute(call);
    expect_error(refused, "XX001", "an event in the ledger is damaged");
    assert_eq!(lines(client, count), before);
}

#[test]
fn altered_events_are_not_removed_with_their_block() {
    let alterations = [
        (
            "audit_log",
            "UPDATE tenant_guard.audit_log SET data = replace(data, '0-', '9-')
             WHERE relation IS NOT NULL AND data LIKE '%\"0-%'",
        ),
        (
            "audit_context",
            "UPDATE tenant_guard.audit_context SET application_name = 'another'",
        ),
    ];
    for (table, alteration) in alterations {
        let (_db, mut client, checkpoints) = ledger();
        switch_guard_off(&mut client, table);
        run(&mut client, alteration);
        let before = findings(&mut client);
        assert!(!before.is_empty(), "{table}");
        let call = format!("SELECT tenant_guard.prune_blocks($${}$$)", checkpoints[1]);
        refused_as_damaged(&mut client, &call);
        assert_eq!(findings(&mut client), before, "{table}");
    }
}

#[test]
fn altered_data_is_not_removed_and_its_hash_kept() {
    let (_db, mut client) = items();
    keep_nothing(&mut client);
    let_go(&mut client);
    switch_guard_off(&mut client, "audit_log");
    run(
        &mut client,
        "UPDATE tenant_guard.audit_log SET data = replace(data, 'two', 'ten') WHERE data LIKE '%two%'",
    );
    refused_as_damaged(&mut client, "SELECT tenant_guard.prune_payloads()");
}

#[test]
fn altered_or_missing_personal_values_are_not_removed() {
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
         INSERT INTO person VALUES (1, 'a', 'one@example.org')",
    );
    seal(&mut client);
    let sealed = checkpoint(&mut client);
    keep_nothing(&mut client);
    run(
        &mut client,
        "SELECT tenant_guard.keep_events('0 s', 'a test')",
    );
    let_go(&mut client);
    switch_guard_off(&mut client, "audit_log");
    // Others, and none that no erasure took.
    for altered in [
        "personal = replace(personal, 'one', 'two')",
        "personal = NULL, personal_salt = NULL",
    ] {
        run(
            &mut client,
            &format!("UPDATE tenant_guard.audit_log SET {altered} WHERE personal IS NOT NULL"),
        );
        refused_as_damaged(&mut client, "SELECT tenant_guard.prune_payloads()");
        let call = format!("SELECT tenant_guard.prune_blocks($${sealed}$$)");
        refused_as_damaged(&mut client, &call);
    }
}

/// A rule is for a relation, whatever it is called.
#[test]
fn renaming_a_table_does_not_drop_its_rule() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE invoice (id int PRIMARY KEY, account_id text);
         SELECT tenant_guard.audit('invoice');
         SET tenant_guard.retention_floor = 0;
         SELECT tenant_guard.set_retention(NULL, '0 s', 'a test');
         SELECT tenant_guard.set_retention('invoice', '3660 days', 'tax law')",
    );
    run(&mut client, "ALTER TABLE invoice RENAME TO invoices");
    run(&mut client, "INSERT INTO invoices VALUES (1, 'a')");
    add(&mut client, "one", "a");
    seal(&mut client);
    assert_eq!(let_go(&mut client), ["payload|<null>"]);
    assert_eq!(prune_data(&mut client), 1);
    let left = "SELECT relation, count(data) FROM tenant_guard.audit_log
                WHERE kind = 'row' GROUP BY 1 ORDER BY 1";
    assert_eq!(
        lines(&mut client, left),
        ["public.invoices|1", "public.item|0"]
    );
    // A rule of its own that is shorter changes nothing while the other name has one.
    run(
        &mut client,
        "SELECT tenant_guard.set_retention('invoices', '0 s', 'a test')",
    );
    let_go(&mut client);
    prune_data(&mut client);
    assert_eq!(
        lines(&mut client, left),
        ["public.invoices|1", "public.item|0"]
    );
    assert_eq!(codes(&mut client), [""; 0]);
}

#[test]
fn removing_the_change_of_a_name_does_not_drop_its_rule() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE invoice (id int PRIMARY KEY, account_id text, name text);
         SELECT tenant_guard.protect('invoice');
         SET tenant_guard.retention_floor = 0;
         SELECT tenant_guard.keep_events('1 ms', 'law');
         SELECT tenant_guard.set_retention('invoice', '1 ms', 'law');
         SELECT tenant_guard.set_retention(NULL, '0 s', 'notice')",
    );
    seal(&mut client);
    run(&mut client, "ALTER TABLE invoice RENAME TO invoices");
    seal(&mut client);
    let newest = checkpoint(&mut client);
    let_go(&mut client);
    assert_eq!(prune(&mut client, &newest).len(), 1);
    let refused = client.query("SELECT * FROM tenant_guard.prune_blocks($1)", &[&newest]);
    expect_error(
        refused,
        "55000",
        "relation public.invoices has no rule of its own, and the change of its name would be removed",
    );
    run(
        &mut client,
        "SELECT tenant_guard.set_retention('invoices', '1 ms', 'law')",
    );
    assert_eq!(prune(&mut client, &newest).len(), 1);
}

#[test]
fn a_removal_rewrites_only_the_accounts_it_is_about() {
    let (_db, mut client, checkpoints) = ledger();
    assert_eq!(prune(&mut client, &checkpoints[0]), ["1|3"]);
    let of_b = "SELECT xmin FROM tenant_guard.ledger_pruned WHERE account_id = 'b'";
    let before = lines(&mut client, of_b);
    assert_eq!(prune(&mut client, &checkpoints[1]), ["2|3"]);
    assert_eq!(lines(&mut client, of_b), before);
    seal(&mut client);
    assert_eq!(found(&mut client), [""; 0]);
    for checkpoint in &checkpoints {
        assert_eq!(since(&mut client, checkpoint), [""; 0]);
    }
}

/// Each sealing reads them all.
#[test]
fn rules_do_not_grow_with_what_they_let_go() {
    let (_db, mut client) = items();
    keep_nothing(&mut client);
    for key in ["four", "five", "six"] {
        add(&mut client, key, "a");
        seal(&mut client);
        assert_eq!(let_go(&mut client), ["payload|<null>"]);
    }
    let rules = "SELECT relation, keep, before IS NULL FROM tenant_guard.ledger_retention";
    assert_eq!(lines(&mut client, rules), ["|0|f"]);
    assert_eq!(codes(&mut client), [""; 0]);
}

#[test]
fn blocks_without_events_keep_no_removal_from_going_on() {
    let db = database();
    let mut client = db.superuser();
    for _ in 0..4 {
        run(&mut client, "SELECT tenant_guard.seal(heartbeat => true)");
    }
    add(&mut client, "one", "a");
    seal(&mut client);
    let sealed = checkpoint(&mut client);
    run(
        &mut client,
        "SET tenant_guard.retention_floor = 0;
         SELECT tenant_guard.keep_events('0 s', 'a test')",
    );
    let_go(&mut client);
    let call = format!("SELECT * FROM tenant_guard.prune_blocks($${sealed}$$, 2)");
    assert_eq!(lines(&mut client, &call), ["5|1"]);
    assert_eq!(lines(&mut client, &call), [""; 0]);
    seal(&mut client);
    assert_eq!(found(&mut client), [""; 0]);
}

/// Otherwise nothing would say why values are gone that are elsewhere. Only a second database, whose events
/// are taken over, makes such an erasure; here one is edited to be one.
#[test]
fn an_erasure_of_an_event_that_stays_is_not_removed() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE person (id int PRIMARY KEY, account_id text, email text)",
    );
    run(
        &mut client,
        "SELECT tenant_guard.annotate('person', personal => '{email}');
         SELECT tenant_guard.audit('person')",
    );
    let mut erased = |id: i32| {
        let insert = format!("INSERT INTO person VALUES ({id}, 'a', '{id}@example.org')");
        run(&mut client, &insert);
        seal(&mut client);
        let event = "SELECT event_id, coalesce(account_id, '') FROM tenant_guard.audit_event
                     WHERE personal IS NOT NULL";
        let row = lines(&mut client, event)[0].clone();
        let (event, account) = row.split_once('|').expect("two columns");
        run(
            &mut client,
            &format!("SELECT tenant_guard.erase_personal('{account}', '{{{event}}}', 'GDPR 17')"),
        );
        seal(&mut client);
        checkpoint(&mut client)
    };
    let (second, _) = (erased(1), erased(2));
    run(
        &mut client,
        "SET tenant_guard.retention_floor = 0;
         SELECT tenant_guard.keep_events('0 s', 'a test')",
    );
    let_go(&mut client);
    switch_guard_off(&mut client, "audit_log");
    run(
        &mut client,
        "CREATE TEMP TABLE erasure AS SELECT xid, data, row_number() OVER (ORDER BY xid) AS n
             FROM tenant_guard.audit_log WHERE action = 'erase_personal';
         UPDATE tenant_guard.audit_log AS l SET data = jsonb_set(one.data::jsonb, '{erased,0,1}',
                 (one.data::jsonb #> '{erased,0,1}') || (two.data::jsonb #> '{erased,0,1}'))
             FROM erasure AS one, erasure AS two
             WHERE l.xid = one.xid AND l.action = 'erase_personal' AND one.n = 1 AND two.n = 2",
    );
    let blocks = |removed: Vec<String>| -> Vec<String> {
        let block = |line: String| line.split('|').next().map(str::to_owned);
        removed.into_iter().filter_map(block).collect()
    };
    assert_eq!(blocks(prune(&mut client, &second)), ["1"]);
    assert_eq!(prune(&mut client, &second), [""; 0]);
    run(
        &mut client,
        "UPDATE tenant_guard.audit_log AS l SET data = one.data FROM erasure AS one
             WHERE l.xid = one.xid AND l.action = 'erase_personal' AND one.n = 1",
    );
    assert_eq!(blocks(prune(&mut client, &second)), ["2"]);
}

#[test]
fn a_feed_does_not_skip_removed_events_in_silence() {
    let (_db, mut client, checkpoints) = ledger();
    let positions = "SELECT position FROM tenant_guard.audit_feed() AS f";
    let positions = lines(&mut client, positions);
    assert_eq!(prune(&mut client, &checkpoints[0]), ["1|3"]);
    for position in &positions[..3] {
        for account in ["NULL", "'a'"] {
            let call = format!("SELECT tenant_guard.audit_feed('{position}', 10, {account})");
            let refused = client.batch_execute(&call);
            let message =
                "events up to block 1 were removed, and with them the place of this position";
            expect_error(refused, "55000", message);
        }
    }
    let on = format!(
        "SELECT position FROM tenant_guard.audit_feed('{}', 1)",
        positions[3]
    );
    assert_eq!(lines(&mut client, &on), [positions[4].clone()]);
    let anew = "SELECT position, line::json ->> 'block' FROM tenant_guard.audit_feed(most => 1)";
    assert_eq!(lines(&mut client, anew), [format!("{}|2", positions[3])]);
}

#[test]
fn a_feed_says_which_data_is_gone() {
    let (_db, mut client) = items();
    keep_nothing(&mut client);
    let_go(&mut client);
    prune_data(&mut client);
    let line =
        "SELECT line::json -> 'event' ->> 'data', length(line::json -> 'event' ->> 'data_hash')
                FROM tenant_guard.audit_feed(most => 1)";
    assert_eq!(lines(&mut client, line), ["<null>|64"]);
}

#[test]
fn more_days_than_any_rule_keeps_are_refused() {
    let (_db, mut client) = items();
    let bundle = Scratch::new(&export(&mut client, "NULL"));
    let asked = |days: &str| {
        program(&[
            "bundle".as_ref(),
            bundle.0.as_os_str(),
            "--keep-days".as_ref(),
            days.as_ref(),
        ])
    };
    assert_eq!(asked("36500").0, tenant_guard_verify::exit::INTACT);
    for days in ["36501", "200000000", "4294967296", "-1"] {
        assert_eq!(asked(days).0, tenant_guard_verify::exit::USAGE, "{days}");
    }
    assert_eq!(one(&mut client, "SELECT 'still there'"), "still there");
}
