//! Relations and keys named otherwise than the log has them: understood, or refused, and never passed over as
//! if there were nothing.

use postgres::Client;
use tenant_guard_tests::{Database, expect_error, lines};

use crate::capture::run;

/// An admin of a database with a table named by a reserved word, and one with a key of two columns.
fn shop() -> (Database, Client) {
    let db = crate::capture::database();
    let mut client = db.superuser();
    run(
        &mut client,
        r#"CREATE SCHEMA prod;
         GRANT USAGE ON SCHEMA prod TO tenant_guard_admin;
         CREATE TABLE prod."order" (id int PRIMARY KEY, account_id text NOT NULL, name text);
         CREATE TABLE prod.customer (account_id text, no bigint, name text, PRIMARY KEY (account_id, no));
         SELECT tenant_guard.annotate('prod."order"', '{name}'), tenant_guard.protect('prod."order"'),
             tenant_guard.annotate('prod.customer', '{name}'), tenant_guard.protect('prod.customer');
         INSERT INTO prod."order" VALUES (1, 'a', 'Ada');
         INSERT INTO prod.customer VALUES ('a', 20, 'Bob'), ('b', 30, 'Cyd');
         SET ROLE tenant_guard_admin"#,
    );
    (db, client)
}

fn count(client: &mut Client, arguments: &str) -> Vec<String> {
    let count = format!("SELECT count(*) FROM tenant_guard.personal_events({arguments})");
    lines(client, &count)
}

#[test]
fn relation_named_by_a_reserved_word_is_found_and_held_in_both_spellings() {
    let (_db, mut client) = shop();
    for spelling in [
        "'prod.order'",
        r#"'prod."order"'"#,
        r#"'prod."order"'::regclass::text"#,
        "'Prod.Order'",
    ] {
        let arguments = format!("'a', {spelling}");
        assert_eq!(count(&mut client, &arguments), ["1"], "{spelling}");
        let with_keys = format!(r#"{arguments}, '{{"{{\"id\":1}}"}}'"#);
        assert_eq!(count(&mut client, &with_keys), ["1"], "{spelling}");
    }
    run(
        &mut client,
        r#"SELECT tenant_guard.place_hold('a', 'prod."order"', '{"id":1}', 'x')"#,
    );
    let held = "SELECT relation, covers FROM tenant_guard.legal_hold";
    assert_eq!(lines(&mut client, held), ["prod.order|{prod.order}"]);
    let logged = "SELECT relation FROM tenant_guard.audit_log WHERE action = 'place_hold'";
    run(&mut client, "RESET ROLE");
    assert_eq!(lines(&mut client, logged), ["prod.order"]);
    run(&mut client, "SET ROLE tenant_guard_admin");
    let erase = r#"SELECT tenant_guard.erase_personal('a', (SELECT array_agg(event_id)
        FROM tenant_guard.personal_events('a', 'prod."order"')), 'x')"#;
    let refused = client.batch_execute(erase);
    expect_error(refused, "55000", "is under legal hold 1");
    run(&mut client, "SELECT tenant_guard.release_hold(1, 'closed')");
    assert_eq!(lines(&mut client, erase), ["1"]);
    assert_eq!(count(&mut client, "'a', 'prod.order'"), ["0"]);
}

#[test]
fn relation_that_is_not_there_is_no_relation_without_personal_values() {
    let (_db, mut client) = shop();
    for name in [
        "prod.orders",
        "order",
        "public.order",
        r#"prod."Order""#,
        "",
        "a.b.c",
    ] {
        let message = format!("relation \"{name}\" does not exist, and no event names it");
        for keys in ["", ", '{}'"] {
            let ask = format!("SELECT tenant_guard.personal_events('a', '{name}'{keys})");
            expect_error(client.batch_execute(&ask), "42P01", &message);
        }
    }
    // One that is gone is in the log, and one without events is there.
    run(
        &mut client,
        r#"RESET ROLE;
         SELECT tenant_guard.unprotect('prod."order"'); DROP TABLE prod."order";
         CREATE TABLE prod.empty (id int PRIMARY KEY, account_id text NOT NULL);
         SET ROLE tenant_guard_admin"#,
    );
    assert_eq!(count(&mut client, r#"'a', 'prod."order"'"#), ["1"]);
    assert_eq!(count(&mut client, "'a', 'prod.empty'"), ["0"]);
}

/// Keys that no row of `prod.customer` can have.
const FOREIGN: [&str; 7] = [
    r#"{"no":20}"#,
    r#"{"account_id":"a","no":"20"}"#,
    r#"{"account_id":"a","NO":20}"#,
    r#"{"account_id":"a","no":20.0}"#,
    r#"{"account_id":null,"no":20}"#,
    r#"{"account_id":"a","no":20,"name":"Bob"}"#,
    "{}",
];

const NOT_ITS_KEY: &str = "a row key is not one of relation prod.customer";

#[test]
fn hold_on_a_key_that_no_row_can_have_is_refused() {
    let (_db, mut client) = shop();
    for key in FOREIGN {
        let place = format!("SELECT tenant_guard.place_hold('a', 'prod.customer', '{key}', 'x')");
        expect_error(client.batch_execute(&place), "22023", NOT_ITS_KEY);
        let error = client.batch_execute(&place).unwrap_err();
        assert_eq!(
            error.as_db_error().and_then(|error| error.hint()),
            Some(r#"Its rows are named like {"account_id": text, "no": integer}."#)
        );
    }
    assert_eq!(
        lines(&mut client, "SELECT id FROM tenant_guard.legal_hold"),
        [""; 0]
    );
    // A row that has no event yet may get one.
    let place = r#"SELECT tenant_guard.place_hold('a', 'prod.customer', '{"no":21, "account_id":"a"}', 'x')"#;
    assert_eq!(lines(&mut client, place), ["1"]);
}

#[test]
fn hold_on_a_row_of_a_relation_that_is_gone_needs_an_event_of_it() {
    let (_db, mut client) = shop();
    run(
        &mut client,
        "RESET ROLE; SELECT tenant_guard.unprotect('prod.customer'); DROP TABLE prod.customer;
         SET ROLE tenant_guard_admin",
    );
    let none = r#"{"account_id":"a","no":21}"#;
    let of_another_account = r#"{"account_id":"b","no":30}"#;
    for key in FOREIGN.into_iter().chain([none, of_another_account]) {
        let place = format!("SELECT tenant_guard.place_hold('a', 'prod.customer', '{key}', 'x')");
        expect_error(client.batch_execute(&place), "22023", NOT_ITS_KEY);
    }
    let place = r#"SELECT tenant_guard.place_hold('a', 'prod.customer', '{"no":20,"account_id":"a"}', 'x')"#;
    assert_eq!(lines(&mut client, place), ["1"]);
}

#[test]
fn key_of_before_a_column_was_renamed_is_one_of_the_relation() {
    let (_db, mut client) = shop();
    run(
        &mut client,
        "RESET ROLE; ALTER TABLE prod.customer RENAME COLUMN no TO number;
         SET ROLE tenant_guard_admin",
    );
    for (key, found) in [("number", "0"), ("no", "1")] {
        let keys = format!(r#"'a', 'prod.customer', ARRAY['{{"account_id":"a","{key}":20}}']"#);
        assert_eq!(count(&mut client, &keys), [found]);
        let place = format!(
            r#"SELECT tenant_guard.place_hold('a', 'prod.customer', '{{"account_id":"a","{key}":20}}', 'x')"#
        );
        run(&mut client, &place);
    }
}

#[test]
fn personal_values_are_not_looked_for_under_a_key_that_no_row_can_have() {
    let (_db, mut client) = shop();
    for key in FOREIGN {
        for keys in [
            format!("ARRAY['{key}']"),
            format!(r#"ARRAY['{{"account_id":"a","no":20}}', '{key}']"#),
        ] {
            let ask = format!("SELECT tenant_guard.personal_events('a', 'prod.customer', {keys})");
            expect_error(client.batch_execute(&ask), "22023", NOT_ITS_KEY);
        }
    }
    // Keys like those of the log are asked for, whether or not there is such a row.
    let keys = r#"'a', 'prod.customer', ARRAY['{"account_id":"a","no":20}', '{"account_id":"a","no":21}']"#;
    assert_eq!(count(&mut client, keys), ["1"]);
    run(
        &mut client,
        "RESET ROLE; SELECT tenant_guard.unprotect('prod.customer'); DROP TABLE prod.customer;
         SET ROLE tenant_guard_admin",
    );
    assert_eq!(count(&mut client, keys), ["1"]);
    let ask = format!(
        "SELECT tenant_guard.personal_events('a', 'prod.customer', ARRAY['{}'])",
        FOREIGN[1]
    );
    expect_error(client.batch_execute(&ask), "22023", NOT_ITS_KEY);
}
