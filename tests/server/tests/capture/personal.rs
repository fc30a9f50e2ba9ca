//! Columns declared personal: their values stand apart from all others, whoever declared them when.

use postgres::Client;
use tenant_guard_tests::{Database, expect_error, lines};

use super::{database, run};

/// What stands where: nothing personal in any column but `personal`.
const PLACES: &str = "action, row_key, data, personal, redacted, hashed";

fn people() -> (Database, Client) {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE person (id int PRIMARY KEY, name text, email text, plan text, secret text,
             initial text GENERATED ALWAYS AS (left(name, 1)) STORED)",
    );
    (db, client)
}

fn rows(client: &mut Client) -> Vec<String> {
    lines(
        client,
        &format!(
            "SELECT {PLACES} FROM tenant_guard.audit_log WHERE kind = 'row'
             ORDER BY xid, command_id, ordinal"
        ),
    )
}

/// Each event with personal values has a salt of its own and opens its commitment; the others have
/// neither.
#[track_caller]
fn assert_sound(client: &mut Client) {
    let open = "SELECT count(*) FILTER (WHERE personal IS NOT NULL AND personal_commitment IS DISTINCT FROM
                 sha256('\\x03'::bytea || personal_salt || convert_to(personal, 'UTF8'))),
             count(*) FILTER (WHERE personal IS NULL AND num_nonnulls(personal_salt, personal_commitment) > 0),
             count(personal_salt) - count(DISTINCT personal_salt),
             count(*) FILTER (WHERE length(personal_salt) <> 32)
         FROM tenant_guard.audit_log";
    assert_eq!(lines(client, open), ["0|0|0|0"]);
    run(client, "SELECT tenant_guard.seal()");
    let findings = lines(client, "SELECT * FROM tenant_guard.verify_ledger()");
    assert_eq!(findings, [""; 0]);
}

#[test]
fn personal_values_stand_apart_in_the_shape_of_data() {
    let (_db, mut client) = people();
    run(
        &mut client,
        r#"SELECT tenant_guard.audit('person', redact => '{secret}', truncate_rows => true);
         SELECT tenant_guard.annotate('person', '{name,email}');
         INSERT INTO person (id, name, plan, secret) VALUES (1, 'Ada "L"', 'basic', 'x');
         UPDATE person SET plan = 'plus', email = 'ada@example.org';
         UPDATE person SET plan = 'basic';
         UPDATE person SET name = 'Ada' WHERE id = 1;
         UPDATE person SET name = 'Ada';
         DELETE FROM person;
         INSERT INTO person (id) VALUES (2);
         TRUNCATE person"#,
    );
    assert_eq!(
        rows(&mut client),
        [
            r#"insert|{"id":1}|{"id":1,"plan":"basic"}|{"name":"Ada \"L\"","email":null,"initial":"A"}|{secret}|<null>"#,
            r#"update|{"id":1}|{"old":{"plan":"basic"},"new":{"plan":"plus"}}|{"old":{"email":null},"new":{"email":"ada@example.org"}}|<null>|<null>"#,
            r#"update|{"id":1}|{"old":{"plan":"plus"},"new":{"plan":"basic"}}|<null>|<null>|<null>"#,
            r#"update|{"id":1}|{"old":{},"new":{}}|{"old":{"name":"Ada \"L\""},"new":{"name":"Ada"}}|<null>|<null>"#,
            r#"update|{"id":1}|{"old":{},"new":{}}|<null>|<null>|<null>"#,
            r#"delete|{"id":1}|{"id":1,"plan":"basic"}|{"name":"Ada","email":"ada@example.org","initial":"A"}|{secret}|<null>"#,
            r#"insert|{"id":2}|{"id":2,"plan":null}|{"name":null,"email":null,"initial":null}|{secret}|<null>"#,
            r#"truncate|{"id":2}|{"id":2,"plan":null}|{"name":null,"email":null,"initial":null}|{secret}|<null>"#,
            "truncate|<null>|<null>|<null>|<null>|<null>",
        ]
    );
    assert_sound(&mut client);
}

#[test]
fn declaration_reaches_capture_whichever_comes_first() {
    let declare = "SELECT tenant_guard.annotate('person', '{name,email}')";
    for capture in [
        "SELECT tenant_guard.audit('person')",
        "ALTER TABLE person ADD account_id text NOT NULL; SELECT tenant_guard.protect('person')",
        "ALTER TABLE person ADD account_id text NOT NULL; SELECT tenant_guard.protect('person');
         SELECT tenant_guard.audit('person', exclude => '{plan}')",
    ] {
        for statements in [[declare, capture], [capture, declare]] {
            let (_db, mut client) = people();
            run(&mut client, &statements.join(";"));
            let account = if capture.contains("protect") {
                ", account_id"
            } else {
                ""
            };
            let value = if account.is_empty() { "" } else { ", 'a'" };
            run(
                &mut client,
                &format!("INSERT INTO person (id, name{account}) VALUES (1, 'Ada'{value})"),
            );
            let found = lines(
                &mut client,
                "SELECT data LIKE '%Ada%' OR data LIKE '%email%', personal
                 FROM tenant_guard.audit_log WHERE kind = 'row'",
            );
            let personal = r#"f|{"name":"Ada","email":null,"initial":"A"}"#;
            assert_eq!(found, [personal], "{statements:?}");
            let drift = lines(
                &mut client,
                "SELECT * FROM tenant_guard.drift() WHERE state = 'drift'",
            );
            assert_eq!(drift, [""; 0], "{statements:?}");
            // Withdrawn, the columns are columns like others again.
            run(
                &mut client,
                "SELECT tenant_guard.annotate('person'); DELETE FROM person",
            );
            let found = lines(
                &mut client,
                "SELECT data LIKE '%Ada%', personal FROM tenant_guard.audit_log WHERE action = 'delete'",
            );
            assert_eq!(found, ["t|<null>"], "{statements:?}");
        }
    }
}

#[test]
fn left_out_and_redacted_columns_leave_nothing_to_erase() {
    let (_db, mut client) = people();
    run(
        &mut client,
        "SELECT tenant_guard.annotate('person', '{name,email,secret}');
         SELECT tenant_guard.audit('person', exclude => '{email}', redact => '{name}');
         INSERT INTO person (id, name, email, secret) VALUES (1, 'Ada', 'ada@example.org', 's');
         SELECT tenant_guard.audit('person', include => '{id,secret}');
         INSERT INTO person (id, name, email, secret) VALUES (2, 'Ada', 'ada@example.org', 's')",
    );
    assert_eq!(
        rows(&mut client),
        [
            r#"insert|{"id":1}|{"id":1,"plan":null}|{"secret":"s"}|{name,initial}|<null>"#,
            r#"insert|{"id":2}|{"id":2}|{"secret":"s"}|<null>|<null>"#,
        ]
    );
}

#[test]
fn hash_of_a_personal_column_is_refused_in_either_order() {
    let (_db, mut client) = people();
    run(
        &mut client,
        "SELECT tenant_guard.annotate('person', '{name}')",
    );
    let refused = "column \"name\" cannot be both hashed and personal";
    expect_error(
        client.batch_execute("SELECT tenant_guard.audit('person', hash => '{name}')"),
        "22023",
        refused,
    );
    run(
        &mut client,
        "SELECT tenant_guard.annotate('person');
         SELECT tenant_guard.audit('person', hash => '{name}')",
    );
    expect_error(
        client.batch_execute("SELECT tenant_guard.annotate('person', '{name}')"),
        "22023",
        refused,
    );
    // What is generated from it is hashed with it; what is generated from a personal one is not.
    run(
        &mut client,
        "SELECT tenant_guard.audit('person', hash => '{initial}');
         SELECT tenant_guard.annotate('person', '{name}');
         INSERT INTO person (id, name) VALUES (1, 'Ada')",
    );
    let found = "SELECT data::jsonb ? 'initial', personal, hashed FROM tenant_guard.audit_log
         WHERE kind = 'row'";
    assert_eq!(
        lines(&mut client, found),
        [r#"f|{"name":"Ada","initial":"A"}|<null>"#]
    );
}

#[test]
fn key_or_account_that_names_a_person_is_refused() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE person (email text PRIMARY KEY, name text, account_id text NOT NULL)",
    );
    let refused =
        |column: &str| format!("column \"{column}\" of relation public.person cannot be personal");
    expect_error(
        client.batch_execute("SELECT tenant_guard.annotate('person', '{email}')"),
        "22023",
        &refused("email"),
    );
    run(&mut client, "SELECT tenant_guard.protect('person')");
    for column in ["email", "account_id"] {
        let declare = format!("SELECT tenant_guard.annotate('person', '{{{column}}}')");
        expect_error(client.batch_execute(&declare), "22023", &refused(column));
    }
    // A key that comes later, and an account that is declared later.
    run(
        &mut client,
        "SELECT tenant_guard.unprotect('person');
         SELECT tenant_guard.annotate('person', '{account_id,name}')",
    );
    expect_error(
        client.batch_execute("SELECT tenant_guard.protect('person')"),
        "22023",
        &refused("account_id"),
    );
    run(
        &mut client,
        "SELECT tenant_guard.annotate('person', '{name}'); SELECT tenant_guard.protect('person');
         ALTER TABLE person DROP CONSTRAINT person_pkey, ADD PRIMARY KEY (name)",
    );
    expect_error(
        client.batch_execute("INSERT INTO person VALUES ('e', 'Ada', 'a')"),
        "55000",
        "capture trigger of \"person\" does not fit column \"name\"",
    );
}

#[test]
fn renamed_personal_column_refuses_changes_until_it_is_declared_again() {
    for capture in ["protect('person')", "audit('person')"] {
        let (_db, mut client) = people();
        run(
            &mut client,
            &format!(
                "ALTER TABLE person ADD account_id text NOT NULL DEFAULT 'a';
                 SELECT tenant_guard.annotate('person', '{{name}}');
                 SELECT tenant_guard.{capture};
                 ALTER TABLE person RENAME name TO full_name"
            ),
        );
        expect_error(
            client.batch_execute(
                "INSERT INTO person (id, full_name, account_id) VALUES (1, 'Ada', 'a')",
            ),
            "55000",
            "capture trigger of \"person\" does not fit column \"name\"",
        );
        if capture.starts_with("protect") {
            expect_error(
                client.batch_execute("SELECT tenant_guard.protect('person')"),
                "42703",
                "column \"name\" of relation public.person does not exist",
            );
        }
        run(
            &mut client,
            "SELECT tenant_guard.annotate('person', '{full_name}');
             INSERT INTO person (id, full_name, account_id) VALUES (1, 'Ada', 'a')",
        );
        let found =
            "SELECT data LIKE '%Ada%', personal FROM tenant_guard.audit_log WHERE kind = 'row'";
        assert_eq!(
            lines(&mut client, found),
            [r#"f|{"full_name":"Ada","initial":"A"}"#]
        );
    }
}

#[test]
fn row_without_a_key_is_named_without_its_personal_columns() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE visit (day date, email text);
         SELECT tenant_guard.audit('visit');
         SELECT tenant_guard.annotate('visit', '{email}');
         INSERT INTO visit VALUES ('2026-01-01', 'a@b');
         UPDATE visit SET email = 'c@d';
         DELETE FROM visit",
    );
    assert_eq!(
        rows(&mut client),
        [
            r#"insert|<null>|{"day":"2026-01-01"}|{"email":"a@b"}|<null>|<null>"#,
            r#"update|{"day":"2026-01-01"}|{"old":{},"new":{}}|{"old":{"email":"a@b"},"new":{"email":"c@d"}}|<null>|<null>"#,
            r#"delete|{"day":"2026-01-01"}|{"day":"2026-01-01"}|{"email":"c@d"}|<null>|<null>"#,
        ]
    );
}

#[test]
fn partitions_and_children_follow_and_stay_so_when_they_leave() {
    for capture in ["protect('part')", "audit('part')"] {
        let db = database();
        let mut client = db.superuser();
        run(
            &mut client,
            &format!(
                "CREATE TABLE part (id int, account_id text NOT NULL DEFAULT 'a', name text)
                     PARTITION BY LIST (id);
                 CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
                 SELECT tenant_guard.{capture};
                 SELECT tenant_guard.annotate('part', '{{name}}');
                 CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2);
                 INSERT INTO part VALUES (1, 'a', 'Ada');
                 UPDATE part SET id = 2;
                 ALTER TABLE part DETACH PARTITION part_2;
                 UPDATE part_2 SET name = 'Bob'"
            ),
        );
        expect_error(
            client.batch_execute("SELECT tenant_guard.annotate('part_1', '{name}')"),
            "42809",
            "part_1",
        );
        let found =
            "SELECT action, leaf_relation, COALESCE(data LIKE '%Ada%' OR row_key LIKE '%Ada%', false),
                 personal
             FROM tenant_guard.audit_log WHERE kind = 'row' ORDER BY xid, ordinal";
        assert_eq!(
            lines(&mut client, found),
            [
                r#"insert|public.part_1|f|{"name":"Ada"}"#.to_owned(),
                r#"delete|public.part_1|f|{"name":"Ada"}"#.to_owned(),
                r#"insert|public.part_2|f|{"name":"Ada"}"#.to_owned(),
                r#"update|<null>|f|{"old":{"name":"Ada"},"new":{"name":"Bob"}}"#.to_owned(),
            ],
            "{capture}"
        );
        assert_sound(&mut client);
    }
}

#[test]
fn copy_of_a_protected_table_is_as_personal_as_its_source() {
    let (_db, mut client) = people();
    run(
        &mut client,
        "ALTER TABLE person ADD account_id text NOT NULL;
         SELECT tenant_guard.annotate('person', '{name}'); SELECT tenant_guard.protect('person');
         CREATE TABLE copied (LIKE person);
         INSERT INTO copied (id, name, account_id) VALUES (1, 'Ada', 'a')",
    );
    let found = "SELECT relation, data LIKE '%Ada%', personal FROM tenant_guard.audit_log
         WHERE kind = 'row'";
    assert_eq!(
        lines(&mut client, found),
        [r#"public.copied|f|{"name":"Ada"}"#]
    );
}

#[test]
fn what_is_personal_is_hashed_into_the_blocks() {
    let (_db, mut client) = people();
    run(&mut client, "SELECT tenant_guard.audit('person')");
    run(&mut client, "SELECT tenant_guard.seal()");
    run(
        &mut client,
        "SELECT tenant_guard.annotate('person', '{name}')",
    );
    run(&mut client, "SELECT tenant_guard.seal()");
    let change = "SELECT DISTINCT change FROM tenant_guard.capture_history()
         WHERE block = 2 AND entry::text LIKE '%personal%name%'";
    assert!(!lines(&mut client, change).is_empty());
}

#[test]
fn trigger_that_lost_its_personal_columns_is_drift() {
    let (_db, mut client) = people();
    run(
        &mut client,
        "ALTER TABLE person ADD account_id text NOT NULL;
         SELECT tenant_guard.protect('person');
         SELECT tenant_guard.annotate('person', '{name}');
         SET tenant_guard.guards = off;
         CREATE OR REPLACE TRIGGER tenant_guard_capture AFTER INSERT OR DELETE OR UPDATE ON person
             FOR EACH ROW EXECUTE FUNCTION tenant_guard.capture('account_id', '{}')",
    );
    let drift = "SELECT split_part(detail, ':', 1) FROM tenant_guard.drift() WHERE state = 'drift'";
    assert_eq!(lines(&mut client, drift)[0], "a trigger was altered");
}
