//! Personal values taken out of the log: what is left verifies, what nobody declared is found.

use std::thread;

use postgres::Client;
use tenant_guard_tests::{Database, await_lines, expect_error, lines};

use super::offline::export;
use super::tamper::Found;
use super::{checkpoint, offline, seal, verification};
use crate::capture::run;

/// A database in which the persons of two accounts are audited, an admin, and who else there is.
struct People {
    db: Database,
    superuser: Client,
    admin: Client,
}

fn people() -> People {
    let db = crate::capture::database();
    let mut superuser = db.superuser();
    let admin = db.role("admin");
    run(
        &mut superuser,
        &format!(
            "GRANT tenant_guard_admin, tenant_guard_auditor TO {admin};
             CREATE TABLE person (id int PRIMARY KEY, account_id text NOT NULL, name text, plan text);
             SELECT tenant_guard.annotate('person', '{{name}}');
             SELECT tenant_guard.protect('person')"
        ),
    );
    let admin = db.connect_as(&admin);
    let mut people = People {
        db,
        superuser,
        admin,
    };
    people.write(
        "INSERT INTO person VALUES (1, 'a', 'Ada', 'x'), (2, 'a', 'Bob', 'x'), (3, 'b', 'Cyd', 'x')",
    );
    seal(&mut people.superuser);
    people.write("UPDATE person SET name = name || '!' WHERE id < 3");
    people.write("UPDATE person SET plan = 'y'");
    seal(&mut people.superuser);
    people
}

impl People {
    fn write(&mut self, statement: &str) {
        run(&mut self.superuser, statement);
    }

    /// Ids of the events of a row that hold personal values.
    fn events_of(&mut self, account: &str, id: i32) -> Vec<String> {
        let keys = format!("{{\"{{\\\"id\\\": {id}}}\"}}");
        lines(
            &mut self.admin,
            &format!(
                "SELECT event_id FROM tenant_guard.personal_events('{account}', 'public.person', '{keys}')"
            ),
        )
    }

    fn erase(&mut self, account: &str, events: &[String]) -> i64 {
        let erase = "SELECT tenant_guard.erase_personal($1, $2, 'Art. 17 GDPR')";
        match self.admin.query_one(erase, &[&account, &events]) {
            Ok(row) => row.get(0),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Code, event and account of all that is found, by the server, by parts and offline alike.
    fn found(&mut self) -> Vec<String> {
        let query = "SELECT code, block, account_id, event_id, detail
                     FROM tenant_guard.verify_ledger()";
        let rows = self.superuser.query(query, &[]).expect("it verifies");
        let found: Vec<Found> = rows.iter().map(Found::of_row).collect();
        offline::assert_same(&mut self.superuser, &found);
        verification::assert_parts_find_the_same(&mut self.superuser, &found);
        lines(
            &mut self.superuser,
            "SELECT code, event_id, account_id FROM tenant_guard.verify_ledger()",
        )
    }

    /// Does what only a superuser can who means to.
    fn past_the_guard(&mut self, statement: &str) {
        past_the_guard(&mut self.superuser, statement);
    }
}

fn past_the_guard(client: &mut Client, statement: &str) {
    run(
        client,
        &format!(
            "SET tenant_guard.guards = off;
             ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard;
             {statement};
             ALTER TABLE tenant_guard.audit_log ENABLE ALWAYS TRIGGER tenant_guard_guard;
             RESET tenant_guard.guards"
        ),
    );
}

const NOTHING: [&str; 0] = [];

/// The condition that picks an event.
fn is(event: &str) -> String {
    let parts: Vec<&str> = event.rsplitn(3, '-').collect();
    format!("xid = {} AND ordinal = {}", parts[1], parts[0])
}

#[test]
fn person_is_forgotten_and_the_ledger_verifies_before_between_and_after() {
    let mut people = people();
    assert_eq!(people.found(), NOTHING);
    let kept = checkpoint(&mut people.superuser);
    let events = people.events_of("a", 1);
    assert_eq!(events.len(), 2);
    let log =
        "SELECT action, row_key, data, personal, personal_salt IS NULL, personal_commitment IS NULL
               FROM tenant_guard.audit_log WHERE account_id = 'a' AND kind = 'row'
               ORDER BY xid, ordinal";
    assert_eq!(people.erase("a", &events), 2);
    assert_eq!(
        lines(&mut people.superuser, log),
        [
            r#"insert|{"id":1}|{"id":1,"account_id":"a","plan":"x"}|<null>|t|f"#,
            r#"insert|{"id":2}|{"id":2,"account_id":"a","plan":"x"}|{"name":"Bob"}|f|f"#,
            r#"update|{"id":1}|{"old":{},"new":{}}|<null>|t|f"#,
            r#"update|{"id":2}|{"old":{},"new":{}}|{"old":{"name":"Bob"},"new":{"name":"Bob!"}}|f|f"#,
            r#"update|{"id":1}|{"old":{"plan":"x"},"new":{"plan":"y"}}|<null>|t|t"#,
            r#"update|{"id":2}|{"old":{"plan":"x"},"new":{"plan":"y"}}|<null>|t|t"#,
        ]
    );
    // Declared by an event that is not sealed yet, then by one that is.
    assert_eq!(people.found(), NOTHING);
    seal(&mut people.superuser);
    assert_eq!(people.found(), NOTHING);
    for scope in [
        "account => 'a'".to_owned(),
        "account => 'b'".to_owned(),
        format!("since => '{kept}'"),
        format!("against => '{kept}'"),
    ] {
        let query = format!("SELECT * FROM tenant_guard.verify_ledger({scope})");
        assert_eq!(lines(&mut people.superuser, &query), NOTHING, "{scope}");
    }
    let bundle = offline::Scratch::new(&export(&mut people.superuser, "'a'"));
    let (found, _) = tenant_guard_verify::verify_bundle(&bundle.name(), None).expect("a bundle");
    assert_eq!(found, []);
    // What it says.
    let (first, second) = (is(&events[0]), is(&events[1]));
    let numbers = |event: &str| {
        let parts: Vec<&str> = event.split('-').collect();
        (parts[0].to_owned(), format!("[{},{}]", parts[1], parts[2]))
    };
    assert_ne!(first, second);
    let ((incarnation, one), (_, two)) = (numbers(&events[0]), numbers(&events[1]));
    let event = "SELECT kind, account_id, relation, row_key, data, personal
                 FROM tenant_guard.audit_log WHERE action = 'erase_personal'";
    assert_eq!(
        lines(&mut people.superuser, event),
        [format!(
            r#"system|a|<null>|<null>|{{"erased":[["{incarnation}",[{one},{two}]]],"legal_basis":"Art. 17 GDPR"}}|<null>"#
        )]
    );
    assert!(people.events_of("a", 1).is_empty());
    assert_eq!(people.events_of("a", 2).len(), 2);
}

#[test]
fn what_is_erased_already_is_passed_over_without_an_event() {
    let mut people = people();
    let events = people.events_of("a", 1);
    let count = "SELECT count(*) FROM tenant_guard.audit_log WHERE action = 'erase_personal'";
    assert_eq!(people.erase("a", &[]), 0);
    assert_eq!(lines(&mut people.superuser, count), ["0"]);
    assert_eq!(
        people.erase("a", &[events[0].clone(), events[0].clone()]),
        1
    );
    assert_eq!(people.erase("a", &events), 1);
    assert_eq!(people.erase("a", &events), 0);
    assert_eq!(lines(&mut people.superuser, count), ["2"]);
    assert_eq!(people.found(), NOTHING);
}

#[test]
fn removal_of_one_value_that_nobody_declared_is_found() {
    for (removed, sound) in [
        ("personal = NULL, personal_salt = NULL", true),
        ("personal = NULL", false),
        ("personal_salt = NULL", false),
    ] {
        let mut people = people();
        let events = people.events_of("a", 1);
        let one = is(&events[0]);
        people.past_the_guard(&format!(
            "UPDATE tenant_guard.audit_log SET {removed} WHERE {one}"
        ));
        let expected = format!("personal_missing|{}|a", events[0]);
        assert_eq!(people.found(), std::slice::from_ref(&expected), "{removed}");
        seal(&mut people.superuser);
        assert_eq!(people.found(), std::slice::from_ref(&expected), "{removed}");
        // Others that are declared do not speak for it, nor does another account.
        let others = people.events_of("a", 2);
        people.erase("a", &others);
        let foreign = people.events_of("b", 3);
        people.erase("b", &foreign);
        assert_eq!(people.found(), [expected], "{removed}");
        // Of a value that is gone whole, erasing says nothing any more: there is nothing to erase.
        if sound {
            assert_eq!(people.erase("a", &events[..1]), 0);
        }
    }
}

#[test]
fn half_of_an_opening_is_damage_even_where_it_was_declared() {
    let mut people = people();
    let events = people.events_of("a", 1);
    people.erase("a", &events);
    let one = is(&events[0]);
    people.past_the_guard(&format!(
        "UPDATE tenant_guard.audit_log SET personal = '{{}}' WHERE {one}"
    ));
    assert_eq!(
        people.found(),
        [format!("personal_missing|{}|a", events[0])]
    );
}

#[test]
fn values_that_stand_again_after_a_restore_are_found() {
    let mut people = people();
    let events = people.events_of("a", 1);
    let one = is(&events[0]);
    people.write("CREATE TABLE backup AS SELECT * FROM tenant_guard.audit_log");
    people.erase("a", &events);
    seal(&mut people.superuser);
    people.past_the_guard(&format!(
        "UPDATE tenant_guard.audit_log SET (personal, personal_salt) =
             (SELECT personal, personal_salt FROM backup WHERE {one}) WHERE {one}"
    ));
    assert_eq!(
        people.found(),
        [format!("personal_restored|{}|a", events[0])]
    );
    assert_eq!(people.erase("a", &events), 1);
    assert_eq!(people.found(), NOTHING);
}

#[test]
fn erasure_that_is_removed_or_altered_declares_nothing() {
    for (attack, first) in [
        (
            "DELETE FROM tenant_guard.audit_log WHERE action = 'erase_personal'",
            "event_set_changed",
        ),
        (
            "UPDATE tenant_guard.audit_log SET data = replace(data, 'Art. 17', 'Art. 18')
             WHERE action = 'erase_personal'",
            "event_altered",
        ),
        (
            "UPDATE tenant_guard.audit_log SET account_id = 'b' WHERE action = 'erase_personal'",
            "event_altered",
        ),
        (
            "UPDATE tenant_guard.audit_log SET kind = 'application' WHERE action = 'erase_personal'",
            "event_altered",
        ),
    ] {
        let mut people = people();
        let events = people.events_of("a", 1);
        people.erase("a", &events);
        seal(&mut people.superuser);
        people.past_the_guard(attack);
        let found = people.found();
        assert!(
            found.iter().any(|found| found.starts_with(first)),
            "{attack}: {found:?}"
        );
        for event in &events {
            let missing = format!("personal_missing|{event}|a");
            assert!(found.contains(&missing), "{attack}: {found:?}");
        }
    }
}

/// `record_event` writes kind `application`, whatever action the application gives it.
#[test]
fn erasure_forged_by_the_application_declares_nothing() {
    let mut people = people();
    let events = people.events_of("a", 1);
    let one = is(&events[0]);
    let parts: Vec<&str> = events[0].split('-').collect();
    let data = format!(
        r#"{{"erased":[["{}",[[{},{}]]]],"legal_basis":"x"}}"#,
        parts[0], parts[1], parts[2]
    );
    let act = format!(
        "BEGIN; SELECT tenant_guard.act_as('a', 'mallory', '{{}}', 'test');
         SELECT tenant_guard.record_event('erase_personal', NULL, '{data}'); COMMIT"
    );
    people.write(&act);
    people.past_the_guard(&format!(
        "UPDATE tenant_guard.audit_log SET personal = NULL, personal_salt = NULL WHERE {one}"
    ));
    assert_eq!(
        people.found(),
        [format!("personal_missing|{}|a", events[0])]
    );
}

#[test]
fn events_that_are_not_there_or_not_the_account_s_are_refused_and_nothing_is_erased() {
    let mut people = people();
    let (own, foreign) = (people.events_of("a", 1), people.events_of("b", 3));
    let gone = |event: &str| format!("{}-999999-0", event.split('-').next().expect("three parts"));
    let unknown = gone(&own[0]);
    let list = |events: &[&String]| {
        let events: Vec<&str> = events.iter().map(|event| event.as_str()).collect();
        format!("'{{{}}}'", events.join(","))
    };
    for (account, events, basis, sqlstate, message) in [
        (
            "'a'",
            list(&[&own[0], &foreign[0]]),
            "'x'",
            "22023",
            "is not one of the account",
        ),
        (
            "'b'",
            list(&[&own[0]]),
            "'x'",
            "22023",
            "is not one of the account",
        ),
        (
            "''",
            list(&[&own[0]]),
            "'x'",
            "22023",
            "is not one of the account",
        ),
        (
            "'a'",
            list(&[&own[0], &unknown]),
            "'x'",
            "42704",
            "1 of the events do not exist",
        ),
        ("'a'", list(&[&"x".to_owned()]), "'x'", "22023", "event"),
        (
            "'a'",
            "'{NULL}'".to_owned(),
            "'x'",
            "22004",
            "an element of events must not be null",
        ),
        (
            "'a'",
            "NULL".to_owned(),
            "'x'",
            "22004",
            "events must not be null",
        ),
        (
            "NULL",
            list(&[&own[0]]),
            "'x'",
            "22004",
            "account must not be null",
        ),
        (
            "'a'",
            list(&[&own[0]]),
            "NULL",
            "22004",
            "legal_basis must not be null",
        ),
        (
            "'a'",
            list(&[&own[0]]),
            "' '",
            "22023",
            "legal_basis must not be empty",
        ),
        (
            "'a'",
            list(&[&own[0]]),
            "repeat('x', 10000)",
            "22023",
            "legal_basis",
        ),
    ] {
        let call = format!("SELECT tenant_guard.erase_personal({account}, {events}, {basis})");
        expect_error(people.admin.batch_execute(&call), sqlstate, message);
    }
    assert_eq!(people.events_of("a", 1), own);
    assert_eq!(people.found(), NOTHING);
}

#[test]
fn nobody_but_an_admin_erases_holds_or_overwrites() {
    let mut people = people();
    let (auditor, owner, app) = (
        people.db.role("auditor"),
        people.db.role("owner"),
        people.db.role("app"),
    );
    people.write(&format!(
        "GRANT tenant_guard_auditor TO {auditor};
         SET tenant_guard.guards = off; ALTER TABLE person OWNER TO {owner};
         RESET tenant_guard.guards;
         GRANT USAGE ON SCHEMA tenant_guard TO {app}, {owner};
         GRANT EXECUTE ON FUNCTION tenant_guard.act_as(text, text, text[], text) TO {app}"
    ));
    let calls = [
        "erase_personal('a', '{}', 'x')",
        "place_hold('a', reason => 'x')",
        "release_hold(1, 'x')",
        "overwrite_erased()",
        "personal_events('a', 'public.person')",
    ];
    for role in [&auditor, &owner, &app] {
        let mut client = people.db.connect_as(role);
        if *role == app {
            run(
                &mut client,
                "BEGIN; SELECT tenant_guard.act_as('a', 'user', '{}', 'test')",
            );
        }
        for call in calls {
            if *role == auditor && call.starts_with("personal_events") {
                assert_eq!(
                    lines(&mut client, &format!("SELECT * FROM tenant_guard.{call}")).len(),
                    4
                );
                continue;
            }
            let in_transaction = *role == app;
            if in_transaction {
                run(&mut client, "SAVEPOINT s");
            }
            expect_error(
                client.batch_execute(&format!("SELECT tenant_guard.{call}")),
                "42501",
                "permission denied",
            );
            if in_transaction {
                run(&mut client, "ROLLBACK TO s");
            }
        }
    }
    // Neither does a grant by mistake let one in.
    people.write(&format!(
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tenant_guard TO {app}"
    ));
    let mut client = people.db.connect_as(&app);
    for call in calls {
        expect_error(
            client.batch_execute(&format!("SELECT tenant_guard.{call}")),
            "42501",
            "permission denied",
        );
    }
}

#[test]
fn rows_are_found_by_what_their_keys_say_in_one_pass() {
    let mut people = people();
    let found = lines(
        &mut people.admin,
        r#"SELECT row_key, action, personal FROM tenant_guard.personal_events('a', 'public.person',
             '{"{ \"\\u0069d\" : 2 }", "{\"id\":3}"}')"#,
    );
    assert_eq!(
        found,
        [
            r#"{"id":2}|insert|{"name":"Bob"}"#,
            r#"{"id":2}|update|{"old":{"name":"Bob"},"new":{"name":"Bob!"}}"#,
        ]
    );
    let all = "SELECT count(*), count(DISTINCT row_key)
               FROM tenant_guard.personal_events('a', 'public.person')";
    assert_eq!(lines(&mut people.admin, all), ["4|2"]);
    let none = "SELECT count(*) FROM tenant_guard.personal_events('a', 'public.person', '{}')";
    assert_eq!(lines(&mut people.admin, none), ["0"]);
    for (arguments, sqlstate, message) in [
        (
            "'a', 'public.person', '{1}'",
            "22023",
            "a row key must be a JSON object",
        ),
        (
            r#"'a', 'public.person', '{"{\"id\":\"1\"}"}'"#,
            "22023",
            "a row key is not one of relation public.person",
        ),
        (
            "'a', 'public.person', '{NULL}'",
            "22004",
            "an element of row_keys",
        ),
        (
            "'a', 'public.person', NULL",
            "22004",
            "row_keys must not be null",
        ),
        ("'a', NULL", "22004", "relation must not be null"),
        ("NULL, 'public.person'", "22004", "account must not be null"),
    ] {
        expect_error(
            people
                .admin
                .batch_execute(&format!("SELECT tenant_guard.personal_events({arguments})")),
            sqlstate,
            message,
        );
    }
}

#[test]
fn receipt_of_before_keeps_its_opening_and_one_of_after_withholds_it() {
    let mut people = people();
    let event = people.events_of("a", 1)[0].clone();
    let receipt = |client: &mut Client| -> String {
        let row = client.query_one("SELECT tenant_guard.receipt($1)", &[&event]);
        row.expect("a receipt").get(0)
    };
    let before = receipt(&mut people.admin);
    people.erase("a", std::slice::from_ref(&event));
    let after = receipt(&mut people.admin);
    for (text, holds) in [(&before, true), (&after, false)] {
        let (shown, _) = tenant_guard_core::receipt::verify(text).expect("it proves the event");
        assert_eq!(shown.event.to_string(), event);
        let proof = tenant_guard_core::receipt::LogProof::parse(text).expect("a proof");
        let extra = String::from_utf8(proof.extra.expect("it opens the leaf")).expect("UTF-8");
        assert_eq!(extra.contains("Ada"), holds);
        assert_eq!(extra.contains("personal_salt"), holds);
        assert!(extra.contains("personal_commitment"));
    }
}

#[test]
fn erasure_that_is_rolled_back_leaves_everything() {
    let mut people = people();
    let events = people.events_of("a", 1);
    run(&mut people.admin, "BEGIN; SAVEPOINT s");
    assert_eq!(people.erase("a", &events), 2);
    run(&mut people.admin, "ROLLBACK TO s; COMMIT");
    assert_eq!(people.events_of("a", 1), events);
    assert_eq!(people.found(), NOTHING);
    run(&mut people.admin, "BEGIN");
    assert_eq!(people.erase("a", &events), 2);
    // Nobody else sees half of it, and the sealer passes.
    let mut other = people.db.superuser();
    assert_eq!(
        lines(&mut other, "SELECT * FROM tenant_guard.verify_ledger()"),
        NOTHING
    );
    let left = "SELECT count(*) FROM tenant_guard.audit_log WHERE personal IS NOT NULL";
    assert_eq!(lines(&mut other, left), ["5"]);
    run(&mut other, "INSERT INTO person VALUES (9, 'a', 'Eve', 'x')");
    assert_eq!(seal(&mut other), ["3|1|1"]);
    run(&mut people.admin, "COMMIT");
    assert_eq!(lines(&mut other, left), ["4"]);
    assert_eq!(people.found(), NOTHING);
    seal(&mut other);
    assert_eq!(people.found(), NOTHING);
}

#[test]
fn verification_under_an_old_snapshot_sees_all_or_nothing_of_an_erasure() {
    let mut people = people();
    let events = people.events_of("a", 1);
    let mut old = people.db.superuser();
    run(&mut old, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    lines(&mut old, "SELECT count(*) FROM tenant_guard.audit_log");
    people.erase("a", &events);
    seal(&mut people.superuser);
    assert_eq!(
        lines(&mut old, "SELECT * FROM tenant_guard.verify_ledger()"),
        NOTHING
    );
    assert_eq!(people.found(), NOTHING);
}

#[test]
fn two_erasures_of_the_same_events_name_each_once() {
    let mut people = people();
    let events = people.events_of("a", 1);
    run(&mut people.admin, "BEGIN");
    assert_eq!(people.erase("a", &events[..1]), 1);
    let mut other = people.db.superuser();
    let (ids, pid) = (
        events.clone(),
        lines(&mut other, "SELECT pg_backend_pid()").remove(0),
    );
    let waiting = thread::spawn(move || {
        let erase = "SELECT tenant_guard.erase_personal('a', $1, 'x')";
        other
            .query_one(erase, &[&ids])
            .expect("it waits")
            .get::<_, i64>(0)
    });
    let waits = format!("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {pid}");
    await_lines(&mut people.superuser, &waits, &["t"]);
    run(&mut people.admin, "COMMIT");
    assert_eq!(waiting.join().expect("it ends"), 1);
    assert_eq!(people.found(), NOTHING);
}

#[test]
fn long_list_is_named_by_several_events() {
    let mut people = people();
    people.write(
        "INSERT INTO person SELECT n, 'c', 'p' || n, 'x' FROM generate_series(100, 20350) AS n",
    );
    seal(&mut people.superuser);
    let erase = "SELECT tenant_guard.erase_personal('c',
             (SELECT array_agg(event_id) FROM tenant_guard.personal_events('c', 'public.person')),
             'Art. 17', 'asked for')";
    assert_eq!(lines(&mut people.admin, erase), ["20251"]);
    let named = "SELECT jsonb_array_length(data::jsonb #> '{erased,0,1,0}') - 1,
             data::jsonb ->> 'reason'
         FROM tenant_guard.audit_log WHERE action = 'erase_personal' ORDER BY ordinal";
    assert_eq!(
        lines(&mut people.superuser, named),
        ["10000|asked for", "10000|asked for", "251|asked for"]
    );
    assert_eq!(people.found(), NOTHING);
}

#[test]
fn neither_dump_nor_export_has_what_was_erased() {
    let mut people = people();
    // The row's own removal is an event too: first the row, then the log.
    people.write("DELETE FROM person WHERE id = 1");
    let events = people.events_of("a", 1);
    assert_eq!(people.erase("a", &events), 3);
    seal(&mut people.superuser);
    let holds = |content: Vec<u8>| {
        let text = String::from_utf8_lossy(&content).into_owned();
        ["Ada", "Bob"].map(|name| text.contains(name) || text.contains(&hex(name)))
    };
    assert_eq!(holds(people.db.pg_dump(&[])), [false, true]);
    assert_eq!(holds(export(&mut people.superuser, "")), [false, true]);
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes events of as many rows, half of them inserts, forgets a fiftieth of the people, and asks of the log and
/// of receipts given out before what an auditor would.
fn forget(rows: i32) {
    const BATCHES: i32 = 10;
    let mut people = people();
    let (of_batch, forgotten) = (rows / BATCHES, rows / 50);
    for batch in 0..BATCHES {
        let (first, last) = (batch * of_batch + 100, (batch + 1) * of_batch + 99);
        people.write(&format!(
            "INSERT INTO person SELECT n, 'c', 'p' || n, 'x' FROM generate_series({first}, {last}) AS n"
        ));
        people.write(&format!(
            "UPDATE person SET name = name || '!' WHERE id BETWEEN {first} AND {last}"
        ));
        seal(&mut people.superuser);
    }
    let findings = "SELECT * FROM tenant_guard.verify_ledger()";
    assert_eq!(lines(&mut people.superuser, findings), NOTHING);
    let receipts = [100, 99 + forgotten, 100 + forgotten].map(|person| {
        let event = people.events_of("c", person)[0].clone();
        let receipt = people
            .admin
            .query_one("SELECT tenant_guard.receipt($1)", &[&event]);
        (event, receipt.expect("a receipt").get::<_, String>(0))
    });

    let erase = format!(
        r#"SELECT tenant_guard.erase_personal('c', (SELECT array_agg(event_id)
             FROM tenant_guard.personal_events('c', 'public.person',
                 (SELECT array_agg(format('{{"id": %s}}', n)) FROM generate_series(100, {}) AS n))),
         'Art. 17 GDPR')"#,
        99 + forgotten
    );
    assert_eq!(
        lines(&mut people.admin, &erase),
        [(2 * forgotten).to_string()]
    );
    assert_eq!(lines(&mut people.superuser, findings), NOTHING);
    seal(&mut people.superuser);
    assert_eq!(people.found(), NOTHING);
    for (event, receipt) in receipts {
        let (shown, _) = tenant_guard_core::receipt::verify(&receipt).expect("it proves the event");
        assert_eq!(shown.event.to_string(), event);
    }

    let one = people.events_of("c", 100 + forgotten)[0].clone();
    people.past_the_guard(&format!(
        "UPDATE tenant_guard.audit_log SET personal = NULL, personal_salt = NULL WHERE {}",
        is(&one)
    ));
    assert_eq!(people.found(), [format!("personal_missing|{one}|c")]);
}

#[test]
fn a_hundred_people_are_forgotten_out_of_ten_thousand_events() {
    forget(5_000);
}

#[test]
#[ignore = "writes a million events"]
fn ten_thousand_people_are_forgotten_out_of_a_million_events() {
    forget(500_000);
}
