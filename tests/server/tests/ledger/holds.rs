//! Legal holds: what they keep from being erased, and who waits for whom.

use std::thread;

use postgres::Client;
use tenant_guard_tests::{Database, await_lines, expect_error, lines};

use super::seal;
use crate::capture::run;

fn people() -> (Database, Client) {
    let db = crate::capture::database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE person (id int PRIMARY KEY, account_id text NOT NULL, name text);
         CREATE TABLE pet (id int PRIMARY KEY, account_id text NOT NULL, name text);
         SELECT tenant_guard.annotate('person', '{name}'), tenant_guard.annotate('pet', '{name}'),
             tenant_guard.protect('person'), tenant_guard.protect('pet');
         INSERT INTO person VALUES (1, 'a', 'Ada'), (2, 'a', 'Bob'), (3, 'b', 'Cyd');
         INSERT INTO pet VALUES (1, 'a', 'Rex')",
    );
    seal(&mut client);
    (db, client)
}

/// Erases whatever an account's relation holds.
fn erase(account: &str, relation: &str) -> String {
    format!(
        "SELECT tenant_guard.erase_personal('{account}', (SELECT array_agg(event_id)
             FROM tenant_guard.personal_events('{account}', 'public.{relation}')), 'Art. 17')"
    )
}

fn left(client: &mut Client) -> Vec<String> {
    let left = "SELECT personal FROM tenant_guard.audit_log WHERE personal IS NOT NULL ORDER BY xid, ordinal";
    lines(client, left)
}

#[test]
fn hold_keeps_what_it_is_about_and_nothing_else() {
    for (hold, relation) in [
        ("'a'", None),
        ("'a', 'public.person'", Some("person")),
        (r#"'a', 'public.person', '{ "id" : 2 }'"#, Some("person")),
    ] {
        let (_db, mut client) = people();
        let place = format!("SELECT tenant_guard.place_hold({hold}, reason => 'case 7')");
        assert_eq!(lines(&mut client, &place), ["1"]);
        for held in ["person", "pet"] {
            if relation.is_none_or(|relation| relation == held) {
                expect_error(
                    client.batch_execute(&erase("a", held)),
                    "55000",
                    "is under legal hold 1",
                );
            } else {
                assert_eq!(lines(&mut client, &erase("a", held)), ["1"], "{hold}");
            }
        }
        // All or nothing: the row beside the held one has its values too.
        let persons = [
            r#"{"name":"Ada"}"#,
            r#"{"name":"Bob"}"#,
            r#"{"name":"Cyd"}"#,
        ];
        assert_eq!(left(&mut client)[..3], persons, "{hold}");
        assert_eq!(lines(&mut client, &erase("b", "person")), ["1"], "{hold}");
        run(&mut client, "SELECT tenant_guard.release_hold(1, 'closed')");
        assert_eq!(lines(&mut client, &erase("a", "person")), ["2"], "{hold}");
        seal(&mut client);
        assert_eq!(super::findings(&mut client), [""; 0]);
    }
}

#[test]
fn row_beside_a_held_one_is_erased() {
    let (_db, mut client) = people();
    run(
        &mut client,
        r#"SELECT tenant_guard.place_hold('a', 'public.person', '{"id":2}', 'case 7')"#,
    );
    let one = r#"SELECT tenant_guard.erase_personal('a', (SELECT array_agg(event_id) FROM
        tenant_guard.personal_events('a', 'public.person', '{"{\"id\":1}"}')), 'x')"#;
    assert_eq!(lines(&mut client, one), ["1"]);
}

#[test]
fn each_act_is_an_event_and_stays_in_the_list() {
    let (db, mut client) = people();
    run(
        &mut client,
        r#"SELECT tenant_guard.place_hold('a', 'public.person', '{"id": 1}', 'case 7');
         SELECT tenant_guard.place_hold('a', reason => 'case 8');
         SELECT tenant_guard.release_hold(1, 'closed')"#,
    );
    let events =
        "SELECT action, kind, account_id, relation, row_key, data FROM tenant_guard.audit_log
         WHERE action LIKE '%hold' ORDER BY xid, ordinal";
    assert_eq!(
        lines(&mut client, events),
        [
            r#"place_hold|system|a|public.person|{"id":1}|{"hold":1,"reason":"case 7"}"#,
            r#"place_hold|system|a|<null>|<null>|{"hold":2,"reason":"case 8"}"#,
            r#"release_hold|system|a|public.person|{"id":1}|{"hold":1,"reason":"closed"}"#,
        ]
    );
    let list = "SELECT id, account_id, relation, row_key, reason, placed_by = session_user,
             released_at IS NOT NULL, release_reason
         FROM tenant_guard.legal_hold ORDER BY id";
    for group in ["tenant_guard_admin", "tenant_guard_auditor"] {
        let role = db.role(&group[13..]);
        run(&mut client, &format!("GRANT {group} TO {role}"));
        let mut reader = db.connect_as(&role);
        assert_eq!(
            lines(&mut reader, list),
            [
                r#"1|a|public.person|{"id":1}|case 7|f|t|closed"#,
                "2|a|<null>|<null>|case 8|f|f|<null>",
            ]
        );
        expect_error(
            reader.batch_execute("DELETE FROM tenant_guard.legal_hold"),
            "42501",
            "permission denied",
        );
    }
    assert!(String::from_utf8_lossy(&db.pg_dump(&[])).contains("case 8"));
}

#[test]
fn holds_that_cannot_be_are_refused() {
    let (_db, mut client) = people();
    for (call, sqlstate, message) in [
        (
            "place_hold(NULL, reason => 'x')",
            "22004",
            "account must not be null",
        ),
        ("place_hold('a')", "22004", "reason must not be null"),
        (
            "place_hold('a', reason => ' ')",
            "22023",
            "reason must not be empty",
        ),
        (
            "place_hold('a', row_key => '{}', reason => 'x')",
            "22023",
            "row_key does not fit",
        ),
        (
            "place_hold('a', 'r', '7', 'x')",
            "22023",
            "a row key must be a JSON object",
        ),
        ("release_hold(7, 'x')", "42704", "there is no legal hold 7"),
        ("release_hold(NULL, 'x')", "22004", "id must not be null"),
        ("release_hold(1, NULL)", "22004", "reason must not be null"),
    ] {
        let call = format!("SELECT tenant_guard.{call}");
        expect_error(client.batch_execute(&call), sqlstate, message);
    }
    run(
        &mut client,
        "SELECT tenant_guard.place_hold('a', reason => 'x');
         SELECT tenant_guard.release_hold(1, 'x')",
    );
    expect_error(
        client.batch_execute("SELECT tenant_guard.release_hold(1, 'x')"),
        "55000",
        "legal hold 1 has been released",
    );
}

/// Runs a statement that has to wait, and returns once it does.
fn waiting(
    db: &Database,
    watcher: &mut Client,
    statement: String,
) -> thread::JoinHandle<Result<(), postgres::Error>> {
    let mut client = db.superuser();
    let pid = lines(&mut client, "SELECT pg_backend_pid()").remove(0);
    let handle = thread::spawn(move || client.batch_execute(&statement));
    let waits = format!("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {pid}");
    await_lines(watcher, &waits, &["t"]);
    handle
}

#[test]
fn erasure_waits_for_a_hold_that_is_being_placed_and_heeds_it() {
    let (db, mut client) = people();
    let mut other = db.superuser();
    run(
        &mut other,
        "BEGIN; SELECT tenant_guard.place_hold('a', reason => 'case 7')",
    );
    // Even in a statement whose snapshot is of before.
    let erase = format!(
        "BEGIN; SELECT 1 FROM person; {}; COMMIT",
        erase("a", "person")
    );
    let eraser = waiting(&db, &mut client, erase);
    run(&mut other, "COMMIT");
    let result = eraser.join().expect("it ends");
    expect_error(result, "55000", "is under legal hold 1");
    assert_eq!(left(&mut client).len(), 4);
}

#[test]
fn hold_waits_for_an_erasure_that_runs() {
    let (db, mut client) = people();
    let mut eraser = db.superuser();
    run(&mut eraser, &format!("BEGIN; {}", erase("a", "person")));
    let place = "SELECT tenant_guard.place_hold('a', reason => 'case 7')";
    let holder = waiting(&db, &mut client, place.to_owned());
    run(&mut eraser, "ROLLBACK");
    holder.join().expect("it ends").expect("it is placed");
    expect_error(
        client.batch_execute(&erase("a", "person")),
        "55000",
        "is under legal hold 1",
    );
}
