//! Holds that would not hold: named wrongly, escaped from by names and keys, or taken out of their table.

use postgres::Client;
use tenant_guard_tests::{Database, expect_error, lines};

use crate::capture::run;

const SETUP: &str = "CREATE TABLE person (id int PRIMARY KEY, account_id text NOT NULL, name text);
    SELECT tenant_guard.annotate('person', '{name}'), tenant_guard.protect('person');
    INSERT INTO person VALUES (1, 'a', 'Ada'), (2, 'a', 'Bob')";

fn people() -> (Database, Client) {
    let db = crate::capture::database();
    let mut client = db.superuser();
    run(&mut client, SETUP);
    (db, client)
}

/// Erases whatever the account's relation holds.
fn erase(relation: &str) -> String {
    format!(
        "SELECT tenant_guard.erase_personal('a', (SELECT coalesce(array_agg(event_id), '{{}}')
             FROM tenant_guard.personal_events('a', '{relation}')), 'x')"
    )
}

#[track_caller]
fn assert_held(client: &mut Client, relation: &str, hold: i64) {
    expect_error(
        client.batch_execute(&erase(relation)),
        "55000",
        &format!("is under legal hold {hold}"),
    );
}

#[test]
fn hold_on_what_is_not_there_is_refused() {
    let (_db, mut client) = people();
    for (hold, sqlstate, message) in [
        (
            "'a', 'person'",
            "42P01",
            "relation \"person\" does not exist, and no event names it",
        ),
        (
            "'a', '\"Public\".person'",
            "42P01",
            "relation \"\"Public\".person\"",
        ),
        (
            "'a', 'public.persons'",
            "42P01",
            "relation \"public.persons\"",
        ),
        (
            "'a', 'public.person_pkey'",
            "42P01",
            "relation \"public.person_pkey\"",
        ),
        ("'A'", "42704", "the account has no events"),
        (
            "'nobody', 'public.person'",
            "42704",
            "the account has no events",
        ),
    ] {
        let place = format!("SELECT tenant_guard.place_hold({hold}, reason => 'case 7')");
        expect_error(client.batch_execute(&place), sqlstate, message);
    }
    // One that is gone is in the log all the same.
    run(
        &mut client,
        "SELECT tenant_guard.unprotect('person'); DROP TABLE person;
         SELECT tenant_guard.place_hold('a', 'public.person', reason => 'case 7')",
    );
    assert_held(&mut client, "public.person", 1);
}

#[test]
fn hold_on_a_partition_keeps_its_rows() {
    let db = crate::capture::database();
    let mut client = db.superuser();
    run(
        &mut client,
        r#"CREATE TABLE person (id int PRIMARY KEY, account_id text NOT NULL, name text)
             PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF person FOR VALUES FROM (0) TO (10);
         CREATE TABLE high PARTITION OF person FOR VALUES FROM (10) TO (20);
         SELECT tenant_guard.annotate('person', '{name}'), tenant_guard.protect('person');
         INSERT INTO person VALUES (1, 'a', 'Ada'), (11, 'a', 'Bob');
         SELECT tenant_guard.place_hold('a', 'public.low', reason => 'case 7')"#,
    );
    assert_held(&mut client, "public.person", 1);
    let other = r#"SELECT tenant_guard.erase_personal('a', (SELECT array_agg(event_id)
        FROM tenant_guard.personal_events('a', 'public.person', '{"{\"id\":11}"}')), 'x')"#;
    assert_eq!(lines(&mut client, other), ["1"]);
}

#[test]
fn hold_on_a_parent_keeps_rows_of_its_children() {
    let db = crate::capture::database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE person (id int PRIMARY KEY, account_id text NOT NULL, name text);
         CREATE TABLE staff (PRIMARY KEY (id)) INHERITS (person);
         SELECT tenant_guard.annotate('person', '{name}'), tenant_guard.protect('person');
         INSERT INTO staff VALUES (1, 'a', 'Ada');
         SELECT tenant_guard.place_hold('a', 'public.person', reason => 'case 7')",
    );
    let relations =
        "SELECT DISTINCT relation FROM tenant_guard.audit_log WHERE personal IS NOT NULL";
    for relation in lines(&mut client, relations) {
        assert_held(&mut client, &relation, 1);
    }
    let covers = "SELECT covers FROM tenant_guard.legal_hold";
    assert_eq!(lines(&mut client, covers), ["{public.person,public.staff}"]);
}

#[test]
fn hold_on_a_row_keeps_events_that_do_not_name_theirs() {
    let db = crate::capture::database();
    let mut client = db.superuser();
    run(
        &mut client,
        r#"CREATE TABLE note (account_id text NOT NULL, about text, name text);
         SELECT tenant_guard.annotate('note', '{name}'), tenant_guard.protect('note');
         INSERT INTO note VALUES ('a', 'x', 'Ada');
         SELECT tenant_guard.place_hold('a', 'public.note', '{"account_id":"a","about":"x"}', 'case 7')"#,
    );
    assert_held(&mut client, "public.note", 1);
}

#[test]
fn row_that_changes_its_key_stays_held() {
    let move_on = "UPDATE person SET id = 7 WHERE id = 1;
        UPDATE person SET id = 8, name = 'Eve' WHERE id = 7";
    for (before, held, after) in [("", 1, move_on), (move_on, 8, "")] {
        let (_db, mut client) = people();
        run(&mut client, before);
        run(
            &mut client,
            &format!(
                r#"SELECT tenant_guard.place_hold('a', 'public.person', '{{"id":{held}}}', 'case 7');
                 {after}"#
            ),
        );
        let events = "SELECT e.event_id, e.row_key, e.personal
            FROM tenant_guard.personal_events('a', 'public.person') AS e";
        let mut kept = 0;
        for line in lines(&mut client, events) {
            let event = line.split('|').next().expect("an id");
            let erase = format!("SELECT tenant_guard.erase_personal('a', '{{{event}}}', 'x')");
            if line.contains("Bob") {
                assert_eq!(lines(&mut client, &erase), ["1"], "{line}");
            } else {
                expect_error(
                    client.batch_execute(&erase),
                    "55000",
                    "is under legal hold 1",
                );
                kept += 1;
            }
        }
        assert_eq!(kept, 2);
    }
}

#[test]
fn relation_that_gets_another_name_stays_held() {
    let (_db, mut client) = people();
    run(
        &mut client,
        r#"ALTER TABLE person RENAME TO human; UPDATE human SET name = 'Eve' WHERE id = 2;
         SELECT tenant_guard.place_hold('a', 'public.human', reason => 'case 7');
         SELECT tenant_guard.place_hold('a', 'public.human', '{"id":2}', 'case 8');
         SELECT tenant_guard.release_hold(1, 'closed');
         CREATE SCHEMA other; ALTER TABLE human SET SCHEMA other; ALTER TABLE other.human RENAME TO h;
         UPDATE other.h SET name = 'Eva' WHERE id = 2"#,
    );
    for relation in ["public.person", "public.human", "other.h"] {
        assert_held(&mut client, relation, 2);
    }
    let beside = r#"SELECT tenant_guard.erase_personal('a', (SELECT array_agg(event_id)
        FROM tenant_guard.personal_events('a', 'public.person', '{"{\"id\":1}"}')), 'x')"#;
    assert_eq!(lines(&mut client, beside), ["1"]);
}

#[test]
fn holds_cannot_be_changed_but_by_the_functions() {
    let (_db, mut client) = people();
    run(
        &mut client,
        "SELECT tenant_guard.place_hold('a', reason => 'case 7')",
    );
    for statement in [
        "DELETE FROM tenant_guard.legal_hold",
        "UPDATE tenant_guard.legal_hold SET released_at = now()",
        "TRUNCATE tenant_guard.legal_hold",
    ] {
        for replica in ["", "SET LOCAL session_replication_role = replica;"] {
            expect_error(
                client.batch_execute(&format!("BEGIN; {replica} {statement}")),
                "55000",
                "legal_hold",
            );
            run(&mut client, "ROLLBACK");
        }
    }
    assert_held(&mut client, "public.person", 1);
}

/// What only a superuser does who means to. The log has the holds.
#[test]
fn hold_that_is_taken_out_of_the_table_is_put_back_from_the_log() {
    for attack in [
        "DELETE FROM tenant_guard.legal_hold",
        "UPDATE tenant_guard.legal_hold SET released_at = now(), released_by = 'x', release_reason = 'x'",
        "UPDATE tenant_guard.legal_hold SET account_id = 'b'",
        "UPDATE tenant_guard.legal_hold SET relation = 'public.pet', covers = '{public.pet}'",
    ] {
        let (_db, mut client) = people();
        run(
            &mut client,
            &format!(
                "SELECT tenant_guard.place_hold('a', 'public.person', reason => 'case 7');
                 SELECT tenant_guard.place_hold('a', reason => 'case 8');
                 SELECT tenant_guard.release_hold(2, 'closed');
                 ALTER TABLE tenant_guard.legal_hold DISABLE TRIGGER tenant_guard_guard;
                 {attack};
                 ALTER TABLE tenant_guard.legal_hold ENABLE ALWAYS TRIGGER tenant_guard_guard"
            ),
        );
        assert_held(&mut client, "public.person", 1);
        run(&mut client, "SELECT tenant_guard.init_ledger()");
        let list = "SELECT id, account_id, relation, reason, placed_by = session_user,
                released_by = session_user, covers
            FROM tenant_guard.legal_hold WHERE id = 1 OR released_at IS NOT NULL ORDER BY id";
        let held = lines(&mut client, list);
        assert_eq!(
            held[0], "1|a|public.person|case 7|t|<null>|{public.person}",
            "{attack}"
        );
        if attack.starts_with("DELETE") {
            assert_eq!(held[1], "2|a|<null>|case 8|t|t|<null>");
        }
    }
}

#[test]
fn holds_survive_dropping_the_extension_and_their_numbers_go_on() {
    let (_db, mut client) = people();
    run(
        &mut client,
        "SELECT tenant_guard.place_hold('a', reason => 'case 7');
         SELECT tenant_guard.place_hold('a', 'public.person', reason => 'case 8');
         SELECT tenant_guard.release_hold(1, 'closed');
         SET tenant_guard.guards = off;
         DROP EXTENSION tenant_guard CASCADE;
         CREATE EXTENSION tenant_guard;
         RESET tenant_guard.guards",
    );
    let list =
        "SELECT id, account_id, relation, reason, release_reason FROM tenant_guard.legal_hold
        ORDER BY id";
    assert_eq!(
        lines(&mut client, list),
        [
            "1|a|<null>|case 7|closed",
            "2|a|public.person|case 8|<null>"
        ]
    );
    assert_held(&mut client, "public.person", 2);
    let place = "SELECT tenant_guard.place_hold('a', reason => 'case 9')";
    assert_eq!(lines(&mut client, place), ["3"]);
}
