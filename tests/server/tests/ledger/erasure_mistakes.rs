//! Erasures that go wrong without anybody's meaning it: under the wrong snapshot, by an empty list, in a
//! table without a key, and in the words of the manual.

use postgres::Client;
use tenant_guard_tests::{Database, expect_error, lines};

use super::seal;
use crate::capture::run;

fn people() -> (Database, Client) {
    let db = crate::capture::database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE person (id int PRIMARY KEY, account_id text NOT NULL, name text);
         SELECT tenant_guard.annotate('person', '{name}'), tenant_guard.protect('person');
         INSERT INTO person VALUES (1, 'a', 'Ada'), (2, 'a', 'Bob')",
    );
    (db, client)
}

fn left(client: &mut Client) -> Vec<String> {
    let left = "SELECT personal FROM tenant_guard.audit_log WHERE personal IS NOT NULL
        ORDER BY xid, ordinal";
    lines(client, left)
}

/// What was committed since the transaction's snapshot would have been judged, passed over, and left.
#[test]
fn erasure_under_an_old_snapshot_is_refused_instead_of_skipping_values() {
    let (db, mut client) = people();
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut old = db.superuser();
        run(
            &mut old,
            &format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM person"),
        );
        run(&mut client, "UPDATE person SET name = name || '!'");
        let before = left(&mut client);
        for events in [
            "(SELECT array_agg(event_id) FROM tenant_guard.personal_events('a', 'public.person'))",
            "'{}'",
        ] {
            run(&mut old, "SAVEPOINT s");
            expect_error(
                old.batch_execute(&format!(
                    "SELECT tenant_guard.erase_personal('a', {events}, 'x')"
                )),
                "25001",
                "erase_personal() must be called in a READ COMMITTED transaction",
            );
            run(&mut old, "ROLLBACK TO s");
        }
        assert_eq!(left(&mut client), before);
    }
}

#[test]
fn empty_list_of_keys_does_not_erase_everybody() {
    let (_db, mut client) = people();
    let nobody = "(SELECT array_agg(format('{\"id\":%s}', id)) FROM person WHERE id > 7)";
    expect_error(
        client.batch_execute(&format!(
            "SELECT tenant_guard.erase_personal('a', (SELECT array_agg(event_id)
                 FROM tenant_guard.personal_events('a', 'public.person', {nobody})), 'x')"
        )),
        "22004",
        "row_keys must not be null",
    );
    let none = format!(
        "SELECT tenant_guard.erase_personal('a', (SELECT coalesce(array_agg(event_id), '{{}}')
             FROM tenant_guard.personal_events('a', 'public.person', coalesce({nobody}, '{{}}'))), 'x')"
    );
    assert_eq!(lines(&mut client, &none), ["0"]);
    assert_eq!(left(&mut client).len(), 2);
    let events = "SELECT count(*) FROM tenant_guard.audit_log WHERE action = 'erase_personal'";
    assert_eq!(lines(&mut client, events), ["0"]);
}

#[test]
fn insert_into_a_table_without_a_key_is_found_by_its_row() {
    let db = crate::capture::database();
    let mut client = db.superuser();
    run(
        &mut client,
        r#"CREATE TABLE note (account_id text NOT NULL, about text, name text);
         SELECT tenant_guard.annotate('note', '{name}'), tenant_guard.protect('note');
         INSERT INTO note VALUES ('a', 'x "y"', 'Ada'), ('a', 'z', 'Bob');
         UPDATE note SET name = 'Ada!' WHERE about <> 'z';
         DELETE FROM note WHERE about <> 'z'"#,
    );
    let found = r#"SELECT action, personal, row_key
        FROM tenant_guard.personal_events('a', 'public.note',
            ARRAY['{"about": "x \"y\"", "account_id": "a"}'])"#;
    let key = r#"{"account_id":"a","about":"x \"y\""}"#;
    assert_eq!(
        lines(&mut client, found),
        [
            format!(r#"insert|{{"name":"Ada"}}|{key}"#),
            format!(r#"update|{{"old":{{"name":"Ada"}},"new":{{"name":"Ada!"}}}}|{key}"#),
            format!(r#"delete|{{"name":"Ada!"}}|{key}"#),
        ]
    );
    let erase = r#"SELECT tenant_guard.erase_personal('a', (SELECT array_agg(event_id)
        FROM tenant_guard.personal_events('a', 'public.note',
            ARRAY['{"account_id":"a","about":"x \"y\""}'])), 'x')"#;
    assert_eq!(lines(&mut client, erase), ["3"]);
    assert_eq!(left(&mut client), [r#"{"name":"Bob"}"#]);
    seal(&mut client);
    assert_eq!(super::findings(&mut client), [""; 0]);
}

#[test]
fn values_that_nothing_commits_to_are_damage_and_not_erased() {
    let (_db, mut client) = people();
    run(
        &mut client,
        "SET tenant_guard.guards = off;
         ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard;
         UPDATE tenant_guard.audit_log SET personal_commitment = NULL WHERE row_key = '{\"id\":1}';
         ALTER TABLE tenant_guard.audit_log ENABLE ALWAYS TRIGGER tenant_guard_guard;
         RESET tenant_guard.guards",
    );
    let erase = "SELECT tenant_guard.erase_personal('a', (SELECT array_agg(event_id)
        FROM tenant_guard.personal_events('a', 'public.person')), 'x')";
    assert_eq!(lines(&mut client, erase), ["1"]);
    assert_eq!(left(&mut client), [r#"{"name":"Ada"}"#]);
}

/// The steps of the manual, each by who is said to take it.
struct Steps {
    product: String,
    log: String,
    vacuum: String,
    rest: String,
}

fn documented() -> Steps {
    let page = include_str!("../../../../docs/operations.md");
    let step = |title: &str| {
        let start = page.find(title).unwrap_or_else(|| panic!("no {title}"));
        let block = page[start..].lines().skip(1);
        let block =
            block.take_while(|line| line.starts_with("    ") && !line.starts_with("    -- "));
        block.collect::<Vec<_>>().join("\n")
    };
    Steps {
        product: step("-- 1. "),
        log: step("-- 2. "),
        vacuum: step("-- 3. "),
        rest: step("-- 4. "),
    }
}

/// Each by a role that has no more than it says, with and without letters of the person.
#[test]
fn documented_procedure_works_for_the_roles_it_names() {
    let steps = documented();
    for letters in ["INSERT INTO archive.letters_of_17 VALUES (5), (6)", ""] {
        let db = crate::capture::database();
        let mut client = db.superuser();
        let [admin, keeper, app] = ["admin", "keeper", "app"].map(|name| db.role(name));
        run(
            &mut client,
            &format!(
                "GRANT tenant_guard_admin TO {admin};
                 CREATE SCHEMA shop; CREATE SCHEMA archive; CREATE TABLE archive.letters_of_17 (id int);
                 CREATE TABLE shop.customer (id int PRIMARY KEY, account_id text NOT NULL, name text);
                 CREATE TABLE shop.letter (id int PRIMARY KEY, account_id text NOT NULL, customer int, body text);
                 SELECT tenant_guard.annotate('shop.customer', '{{name}}'), tenant_guard.protect('shop.customer');
                 SELECT tenant_guard.annotate('shop.letter', '{{body}}'), tenant_guard.protect('shop.letter');
                 INSERT INTO shop.customer VALUES (17, '2b1c...', 'Ada'), (18, '2b1c...', 'Bob');
                 INSERT INTO shop.letter VALUES (5, '2b1c...', 17, 'Dear'), (6, '2b1c...', 17, 'Ada'),
                     (7, '2b1c...', 18, 'Bob');
                 GRANT USAGE ON SCHEMA shop TO {app}, {keeper};
                 GRANT USAGE ON SCHEMA tenant_guard TO {app}, {keeper};
                 GRANT SELECT, UPDATE, DELETE ON shop.customer, shop.letter TO {app};
                 GRANT USAGE ON SCHEMA archive TO {admin}; GRANT SELECT ON archive.letters_of_17 TO {admin};
                 GRANT EXECUTE ON FUNCTION tenant_guard.act_as(text, text, text[], text) TO {app};
                 {letters};
                 DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO {keeper}', current_database()); END $$"
            ),
        );
        let kept = match letters {
            "" => "6",
            _ => "2",
        };
        let mut product = db.connect_as(&app);
        run(
            &mut product,
            "BEGIN; SELECT tenant_guard.act_as('2b1c...', 'clerk', '{}', 'ticket 4711')",
        );
        run(&mut product, &format!("{}\n; COMMIT", steps.product));
        let mut admin = db.connect_as(&admin);
        run(&mut admin, &steps.log);
        let left = "SELECT count(personal) FROM tenant_guard.audit_log";
        assert_eq!(lines(&mut client, left), [kept]);
        let mut keeper = db.connect_as(&keeper);
        let waiting = "SELECT sum(waiting) FROM tenant_guard.overwrite_erased()";
        // The sealer may have a snapshot of before: until waiting is 0, as the page says.
        for round in 0.. {
            let vacuums = steps.vacuum.split_inclusive(';');
            for vacuum in vacuums.filter(|statement| statement.contains(';')) {
                run(&mut keeper, vacuum);
            }
            if lines(&mut admin, waiting) == ["0"] {
                break;
            }
            assert!(round < 1_000, "pages go on waiting");
        }
        run(&mut admin, &steps.rest);
        assert_eq!(
            lines(&mut admin, "SELECT * FROM tenant_guard.verify_ledger()"),
            [""; 0]
        );
    }
}
