//! What is known of rows, from when on, and whether a table is what its events made of it.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, await_lines, expect_error, lines};

use super::{ITEM, Shop, same_as_table};
use crate::capture::run;

fn verify(shop: &Shop, relation: &str) -> Vec<String> {
    let query = format!("SELECT * FROM tenant_guard.verify_state('{relation}') ORDER BY 1, 2, 3");
    lines(&mut shop.auditor(), &query)
}

/// The table's rows now equal what their events made of them.
#[track_caller]
fn same_now(shop: &Shop, table: &str) {
    let mut superuser = shop.db.superuser();
    let snapshot = lines(&mut superuser, "SELECT pg_current_snapshot()").concat();
    same_as_table(&mut superuser, table, &snapshot);
}

#[test]
fn sound_table_has_no_findings_and_each_damage_has_its_own() {
    let shop = Shop::with_items();
    shop.write(
        ACCOUNT_A,
        "UPDATE shop.item SET amount = 2.500, tags = '[1, 2]' WHERE id = 1",
    );
    assert_eq!(verify(&shop, "shop.item"), [""; 0]);
    // Triggers that are off see nothing: what only a superuser can do, past the guards.
    let mut superuser = shop.db.superuser();
    run(
        &mut superuser,
        &format!(
            "SET tenant_guard.guards = off;
             ALTER EVENT TRIGGER tenant_guard_command_end DISABLE;
             ALTER TABLE shop.item DISABLE TRIGGER tenant_guard_capture;
             UPDATE shop.item SET name = 'mallory', amount = 9 WHERE id = 1;
             DELETE FROM shop.item WHERE id = 2;
             UPDATE shop.item SET account_id = '{ACCOUNT_A}' WHERE id = 3;
             INSERT INTO shop.item (id, account_id) VALUES (4, '{ACCOUNT_B}');
             ALTER TABLE shop.item ENABLE ALWAYS TRIGGER tenant_guard_capture;
             ALTER EVENT TRIGGER tenant_guard_command_end ENABLE ALWAYS"
        ),
    );
    assert_eq!(
        verify(&shop, "shop.item"),
        [
            format!(r#"row_differs|{ACCOUNT_A}|{{"id":1}}|name, amount"#),
            format!(r#"row_differs|{ACCOUNT_A}|{{"id":3}}|account_id"#),
            format!(r#"row_missing|{ACCOUNT_A}|{{"id":2}}|<null>"#),
            format!(r#"row_unknown|{ACCOUNT_B}|{{"id":4}}|<null>"#),
        ]
    );
    // What follows such a change does not fit what came before it.
    shop.write(ACCOUNT_A, "UPDATE shop.item SET name = 'eve' WHERE id = 1");
    let unfit = "SELECT code, regexp_replace(detail, '^event \\S+', '') FROM tenant_guard.verify_state('shop.item')
                 WHERE code = 'event_unfit'";
    assert_eq!(
        lines(&mut shop.auditor(), unfit),
        ["event_unfit| the row was another one before: name"]
    );
    let looked = "SELECT tenant_guard.as_of('shop.item', now())";
    expect_error(
        shop.auditor().batch_execute(looked),
        "55000",
        "the state of relation shop.item is not known",
    );
    // A baseline says what there is from then on.
    assert_eq!(
        lines(
            &mut shop.owner(),
            "SELECT tenant_guard.record_baseline('shop.item')"
        ),
        ["3"]
    );
    assert_eq!(verify(&shop, "shop.item"), [""; 0]);
    same_now(&shop, "shop.item");
}

#[test]
fn change_as_a_replica_is_captured_and_sound() {
    let shop = Shop::with_items();
    run(
        &mut shop.db.superuser(),
        "SET session_replication_role = replica; UPDATE shop.item SET name = 'x'",
    );
    assert_eq!(verify(&shop, "shop.item"), [""; 0]);
}

#[test]
fn rows_of_before_protection_are_known_from_a_baseline_on() {
    let shop = Shop::bare();
    shop.run(&format!(
        "{ITEM} INSERT INTO shop.item (id, account_id, name) VALUES (1, '{ACCOUNT_A}', 'old');
         SELECT tenant_guard.protect('shop.item')"
    ));
    shop.write(ACCOUNT_A, "UPDATE shop.item SET name = 'new'");
    let looked = "SELECT tenant_guard.as_of('shop.item', now())";
    let refused = shop.auditor().batch_execute(looked).unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(
        (refused.code().code(), refused.message()),
        ("55000", "the state of relation shop.item is not known")
    );
    assert!(refused.hint().unwrap().contains("record_baseline"));
    assert!(
        refused
            .detail()
            .unwrap()
            .ends_with("it was changed what is captured, beside rows that stood.")
    );
    let found = verify(&shop, "shop.item");
    assert!(found[0].starts_with("state_unknown|"), "{found:?}");
    shop.run("SELECT tenant_guard.record_baseline('shop.item')");
    let event = "SELECT kind, action, account_id, row_key, data::json ->> 'name'
                 FROM tenant_guard.audit_log WHERE action ~ 'baseline' ORDER BY xid, ordinal";
    assert_eq!(
        lines(&mut shop.db.superuser(), event),
        [
            "system|record_baseline||<null>|<null>".to_owned(),
            format!(r#"row|baseline|{ACCOUNT_A}|{{"id":1}}|new"#),
        ]
    );
    assert_eq!(verify(&shop, "shop.item"), [""; 0]);
    same_now(&shop, "shop.item");
    // A change of what is captured makes them unknown again, but not one of who may come in.
    shop.run("SELECT tenant_guard.protect('shop.item')");
    same_now(&shop, "shop.item");
    shop.run("SELECT tenant_guard.protect('shop.item', redact => '{name}')");
    assert!(verify(&shop, "shop.item")[0].starts_with("state_unknown|"));
    shop.run("SELECT tenant_guard.record_baseline('shop.item')");
    let rows = "SELECT tenant_guard.as_of('shop.item', now())::jsonb ? 'name'";
    assert_eq!(lines(&mut shop.auditor(), rows), ["f"]);
}

#[test]
fn truncate_makes_rows_known() {
    let shop = Shop::bare();
    shop.run(&format!(
        "{ITEM} INSERT INTO shop.item (id, account_id, name) VALUES (1, '{ACCOUNT_A}', 'old');
         SELECT tenant_guard.protect('shop.item'); TRUNCATE shop.item"
    ));
    shop.write(
        ACCOUNT_A,
        "INSERT INTO shop.item (id, name) VALUES (1, 'new')",
    );
    assert_eq!(verify(&shop, "shop.item"), [""; 0]);
    same_now(&shop, "shop.item");
}

#[test]
fn commands_that_events_tell_of_are_followed() {
    let shop = Shop::with_items();
    for command in [
        "ALTER TABLE shop.item ADD COLUMN price numeric(20,10) DEFAULT 12345678.9012345678",
        "ALTER TABLE shop.item ADD COLUMN empty text, ADD COLUMN since date DEFAULT '2020-02-29'",
        "ALTER TABLE shop.item RENAME name TO title",
        "ALTER TABLE shop.item DROP COLUMN tags",
        "ALTER TABLE shop.item RENAME account_id TO tenant;
         SELECT tenant_guard.protect('shop.item', 'tenant')",
        "ALTER TABLE shop.item ADD COLUMN flag boolean DEFAULT true",
        "ALTER TABLE shop.item RENAME CONSTRAINT item_pkey TO key_of_item",
        "ALTER TABLE shop.item RENAME id TO number",
    ] {
        shop.run(command);
        assert_eq!(verify(&shop, "shop.item"), [""; 0], "{command}");
        same_now(&shop, "shop.item");
    }
    shop.write(
        ACCOUNT_A,
        "UPDATE shop.item SET title = 'eve', flag = false WHERE number = 2",
    );
    shop.run("ALTER TABLE shop.item RENAME TO thing; ALTER TABLE shop.thing RENAME TO ware");
    shop.write(ACCOUNT_A, "DELETE FROM shop.ware WHERE number = 1");
    assert_eq!(verify(&shop, "shop.ware"), [""; 0]);
    same_now(&shop, "shop.ware");
    // The account of rows that moved is found under the column's new name.
    let update = format!("UPDATE shop.ware SET tenant = '{ACCOUNT_B}'");
    run(&mut shop.db.superuser(), &update);
    let of = |account: &str| {
        let query = format!(
            "SELECT r ->> 'title' FROM tenant_guard.as_of('shop.ware', now(), '{account}') AS r ORDER BY 1"
        );
        lines(&mut shop.auditor(), &query)
    };
    assert_eq!(of(ACCOUNT_A), [""; 0]);
    assert_eq!(of(ACCOUNT_B), ["bob", "eve"]);
}

#[test]
fn values_that_no_event_holds_are_said_not_to_be_known() {
    let shop = Shop::with_items();
    let refused = |because: &str| {
        let looked = "SELECT tenant_guard.as_of('shop.item', now())";
        let error = shop.auditor().batch_execute(looked).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "55000");
        let detail = error.detail().unwrap();
        assert!(detail.ends_with(because), "{detail}");
    };
    for (command, column) in [
        ("ALTER TABLE shop.item ALTER amount TYPE text", "amount"),
        (
            "ALTER TABLE shop.item ADD COLUMN r float8 DEFAULT random()",
            "r",
        ),
        (
            "ALTER TABLE shop.item ADD COLUMN n int GENERATED ALWAYS AS (id * 2) STORED",
            "n",
        ),
        (
            "ALTER TABLE shop.item ADD COLUMN s int GENERATED ALWAYS AS IDENTITY",
            "s",
        ),
    ] {
        shop.run(command);
        refused(&format!(
            "column \"{column}\" got values that no event holds."
        ));
        let found = verify(&shop, "shop.item");
        assert!(
            found.iter().all(|line| line.starts_with("column_unknown|")) && found.len() == 1,
            "{found:?}"
        );
        shop.run("SELECT tenant_guard.record_baseline('shop.item')");
        same_now(&shop, "shop.item");
    }
    shop.run("ALTER TABLE shop.item DROP COLUMN n; ALTER TABLE shop.item ALTER id TYPE bigint");
    refused("column \"id\" got values that no event holds.");
}

#[test]
fn rows_of_partitions_come_and_go_with_them() {
    let shop = Shop::bare();
    shop.run(
        "CREATE TABLE shop.part (id int, account_id uuid, v text, PRIMARY KEY (id)) PARTITION BY LIST (id);
         CREATE TABLE shop.p1 PARTITION OF shop.part FOR VALUES IN (1);
         CREATE TABLE shop.p2 PARTITION OF shop.part FOR VALUES IN (2, 3);
         SELECT tenant_guard.protect('shop.part')",
    );
    shop.write(
        ACCOUNT_A,
        "INSERT INTO shop.part (id, v) VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    );
    for command in [
        "ALTER TABLE shop.part ADD COLUMN w int DEFAULT 7",
        "CREATE TABLE shop.p4 PARTITION OF shop.part FOR VALUES IN (4)",
        "ALTER TABLE shop.p1 RENAME TO one",
        "UPDATE shop.part SET id = 4 WHERE id = 3",
        "TRUNCATE shop.p2",
    ] {
        run(&mut shop.db.superuser(), command);
        assert_eq!(verify(&shop, "shop.part"), [""; 0], "{command}");
        same_now(&shop, "shop.part");
    }
    run(
        &mut shop.db.superuser(),
        "SET tenant_guard.guards = off; DROP TABLE shop.one",
    );
    same_now(&shop, "shop.part");
    let one = shop
        .auditor()
        .batch_execute("SELECT tenant_guard.verify_state('shop.p4')");
    expect_error(one, "42809", "shop.p4 is a partition");
}

#[test]
fn tables_without_keys_and_with_keys_that_may_double_for_a_moment_are_folded() {
    let shop = Shop::bare();
    shop.run(
        "CREATE TABLE shop.line (account_id uuid, v text);
         CREATE TABLE shop.rank (n int PRIMARY KEY DEFERRABLE, account_id uuid, v text);
         SELECT tenant_guard.protect('shop.line'), tenant_guard.protect('shop.rank')",
    );
    shop.write(
        ACCOUNT_A,
        "INSERT INTO shop.line (v) VALUES ('a'), ('a'), ('b');
         UPDATE shop.line SET v = 'c' WHERE v = 'b';
         DELETE FROM shop.line WHERE ctid = (SELECT min(ctid) FROM shop.line);
         INSERT INTO shop.rank (n, v) VALUES (1, 'x'), (2, 'y'), (3, 'z');
         UPDATE shop.rank SET n = n + 1; UPDATE shop.rank SET n = 6 - n",
    );
    for table in ["shop.line", "shop.rank"] {
        assert_eq!(verify(&shop, table), [""; 0], "{table}");
        same_now(&shop, table);
    }
    run(
        &mut shop.db.superuser(),
        "SET tenant_guard.guards = off; ALTER TABLE shop.line DISABLE TRIGGER USER;
         UPDATE shop.line SET v = 'd' WHERE v = 'c'; ALTER TABLE shop.line ENABLE ALWAYS TRIGGER tenant_guard_capture",
    );
    // Its key is the whole row, which is not shown.
    let found = verify(&shop, "shop.line");
    assert!(
        found.iter().all(|line| !line.contains("\"v\"")),
        "{found:?}"
    );
}

/// What is computed when it is read is in no tuple that a trigger gets.
#[test]
fn virtual_columns_are_in_no_event_and_no_state() {
    let shop = Shop::bare();
    if shop.db.version() < 18 {
        return;
    }
    shop.run(
        "CREATE TABLE shop.sum (id int PRIMARY KEY, account_id uuid, a int,
             twice int GENERATED ALWAYS AS (a * 2));
         CREATE TABLE shop.line (account_id uuid, a int, twice int GENERATED ALWAYS AS (a * 2) VIRTUAL,
             kept int GENERATED ALWAYS AS (a + 1) STORED);
         SELECT tenant_guard.protect('shop.sum', redact => '{twice}'), tenant_guard.protect('shop.line')",
    );
    let change = "INSERT INTO shop.sum (id, a) VALUES (1, 2), (2, 3);
         INSERT INTO shop.line (a) VALUES (1), (1), (5);
         UPDATE shop.sum SET a = 7 WHERE id = 1; DELETE FROM shop.sum WHERE id = 2;
         UPDATE shop.line SET a = 6 WHERE a = 5";
    shop.write(ACCOUNT_A, change);
    shop.run("ALTER TABLE shop.line ADD COLUMN thrice int GENERATED ALWAYS AS (a * 3)");
    shop.run("ALTER TABLE shop.line ALTER COLUMN thrice SET EXPRESSION AS (a * 4)");
    shop.write(ACCOUNT_A, "UPDATE shop.line SET a = 8 WHERE a = 6");
    for table in ["shop.sum", "shop.line"] {
        assert_eq!(verify(&shop, table), [""; 0], "{table}");
    }
    let told = "SELECT action, row_key, data, redacted FROM tenant_guard.audit_log
         WHERE kind = 'row' AND concat(row_key, data, redacted) ~ 'twice|thrice'";
    assert_eq!(lines(&mut shop.auditor(), told), [""; 0]);
    let updated = "SELECT data FROM tenant_guard.audit_log
         WHERE relation = 'shop.sum' AND action = 'update'";
    assert_eq!(
        lines(&mut shop.auditor(), updated),
        [r#"{"old":{"a":2},"new":{"a":7}}"#]
    );
}

#[test]
fn hidden_columns_stay_hidden() {
    let shop = Shop::bare();
    shop.run(
        "CREATE TABLE shop.plan (id int PRIMARY KEY, name text, pin text, mail text, note text);
         SELECT tenant_guard.audit('shop.plan', exclude => '{note}', redact => '{pin}', hash => '{mail}')",
    );
    let mut owner = shop.owner();
    run(
        &mut owner,
        "INSERT INTO shop.plan VALUES (1, 'a', 'p', 'm', 'n'); UPDATE shop.plan SET pin = 'q', name = 'b'",
    );
    let row = "SELECT tenant_guard.as_of('shop.plan', now())";
    let row = lines(&mut shop.auditor(), row).concat();
    assert!(
        row.starts_with(r#"{"id":1,"name":"b","mail":"hmac-sha256:"#) && row.ends_with("\"}"),
        "{row}"
    );
    assert_eq!(verify(&shop, "shop.plan"), [""; 0]);
}

#[test]
fn personal_values_are_rows_values_until_they_are_erased() {
    let shop = Shop::bare();
    shop.run(&format!(
        "{ITEM} SELECT tenant_guard.protect('shop.item');
         SELECT tenant_guard.annotate('shop.item', '{{name}}')"
    ));
    shop.write(
        ACCOUNT_A,
        "INSERT INTO shop.item (id, name) VALUES (1, 'ann'), (2, 'abe');
         UPDATE shop.item SET name = 'eve', amount = 1.0 WHERE id = 1",
    );
    assert_eq!(verify(&shop, "shop.item"), [""; 0]);
    same_now(&shop, "shop.item");
    shop.run("SELECT tenant_guard.record_baseline('shop.item')");
    assert_eq!(verify(&shop, "shop.item"), [""; 0]);
    same_now(&shop, "shop.item");
    let data = "SELECT count(*) FROM tenant_guard.audit_log WHERE data ~ 'eve|ann|abe'";
    assert_eq!(lines(&mut shop.db.superuser(), data), ["0"]);
    // What came with a new column is nobody's, and goes with no erasure.
    shop.run("ALTER TABLE shop.item ADD COLUMN plan text DEFAULT 'free'");
    shop.write(ACCOUNT_A, "UPDATE shop.item SET amount = 3.0 WHERE id = 1");
    run(
        &mut shop.admin(),
        &format!(
            "SELECT tenant_guard.erase_personal('{ACCOUNT_A}', array_agg(event_id), 'Art. 17 GDPR')
             FROM tenant_guard.personal_events('{ACCOUNT_A}', 'shop.item', '{{\"{{\\\"id\\\": 1}}\"}}')"
        ),
    );
    let rows = "SELECT r ->> 'id', r ->> 'name', r ->> 'amount', r ->> 'plan'
                FROM tenant_guard.as_of('shop.item', now()) AS r ORDER BY 1";
    assert_eq!(
        lines(&mut shop.auditor(), rows),
        ["1|<null>|3.0|free", "2|abe|<null>|free"]
    );
    assert_eq!(verify(&shop, "shop.item"), [""; 0]);
    shop.write(
        ACCOUNT_A,
        "INSERT INTO shop.item (id, name) VALUES (3, 'zoe');
         UPDATE shop.item SET plan = 'paid' WHERE id = 1",
    );
    assert_eq!(verify(&shop, "shop.item"), [""; 0]);
    assert_eq!(
        lines(&mut shop.auditor(), rows),
        [
            "1|<null>|3.0|paid",
            "2|abe|<null>|free",
            "3|zoe|<null>|free"
        ]
    );
    // A value of later is none that was erased.
    shop.write(ACCOUNT_A, "UPDATE shop.item SET name = 'new' WHERE id = 1");
    assert_eq!(lines(&mut shop.auditor(), rows)[0], "1|new|3.0|paid");
    same_now(&shop, "shop.item");
}

/// The key of such a row is all of it but its personal values.
#[test]
fn rows_that_differ_in_personal_values_alone_are_not_guessed() {
    let shop = Shop::bare();
    shop.run(
        "CREATE TABLE shop.line (account_id uuid, v int, name text);
         SELECT tenant_guard.protect('shop.line');
         SELECT tenant_guard.annotate('shop.line', '{name}')",
    );
    shop.write(
        ACCOUNT_A,
        "INSERT INTO shop.line (v, name) VALUES (1, 'own')",
    );
    shop.write(
        ACCOUNT_B,
        "INSERT INTO shop.line (v, name) VALUES (1, 'p1'), (1, 'p2')",
    );
    same_now(&shop, "shop.line");
    shop.write(ACCOUNT_B, "UPDATE shop.line SET v = 2 WHERE name = 'p2'");
    let rows_of = |account: &str| {
        let query = format!(
            "SELECT r ->> 'name' FROM tenant_guard.as_of('shop.line', now(), '{account}') AS r"
        );
        shop.auditor().query(&query, &[]).map(|rows| rows.len())
    };
    assert_eq!(rows_of(ACCOUNT_A).unwrap(), 1);
    expect_error(
        rows_of(ACCOUNT_B),
        "55000",
        "the state of relation shop.line is not known",
    );
    let found = verify(&shop, "shop.line");
    assert!(
        found.len() == 1 && found[0].starts_with("column_unknown|"),
        "{found:?}"
    );
    shop.run("SELECT tenant_guard.record_baseline('shop.line')");
    assert_eq!(verify(&shop, "shop.line"), [""; 0]);
    same_now(&shop, "shop.line");
}

#[test]
fn misfit_of_another_account_is_not_told_to_this_one() {
    let shop = Shop::with_items();
    let moved = format!("UPDATE shop.item SET account_id = '{ACCOUNT_A}' WHERE id = 3");
    run(&mut shop.db.superuser(), &moved);
    shop.write(
        ACCOUNT_B,
        "INSERT INTO shop.item (id, name) VALUES (4, 'b')",
    );
    run(
        &mut shop.db.superuser(),
        "SET tenant_guard.guards = off;
         ALTER EVENT TRIGGER tenant_guard_command_end DISABLE;
         ALTER TABLE shop.item DISABLE TRIGGER tenant_guard_capture;
         UPDATE shop.item SET name = 'mallory' WHERE id = 4;
         ALTER TABLE shop.item ENABLE ALWAYS TRIGGER tenant_guard_capture;
         ALTER EVENT TRIGGER tenant_guard_command_end ENABLE ALWAYS",
    );
    shop.write(ACCOUNT_B, "UPDATE shop.item SET name = 'c' WHERE id = 4");
    let rows = "SELECT r ->> 'name' FROM tenant_guard.as_of('shop.item', now()) AS r ORDER BY 1";
    let of = |account: &str| {
        shop.within(account, &["manager"], |session| {
            let mut savepoint = session.transaction().unwrap();
            savepoint.query(rows, &[]).map(|rows| rows.len())
        })
    };
    assert_eq!(of(ACCOUNT_A).unwrap(), 3);
    expect_error(
        of(ACCOUNT_B),
        "55000",
        "the state of relation shop.item is not known",
    );
}

/// A row of one account went unseen, and another account took its key.
#[test]
fn error_names_no_event_of_another_account() {
    let shop = Shop::with_items();
    run(
        &mut shop.db.superuser(),
        "SET tenant_guard.guards = off;
         ALTER EVENT TRIGGER tenant_guard_command_end DISABLE;
         ALTER TABLE shop.item DISABLE TRIGGER tenant_guard_capture;
         DELETE FROM shop.item WHERE id = 1;
         ALTER TABLE shop.item ENABLE ALWAYS TRIGGER tenant_guard_capture;
         ALTER EVENT TRIGGER tenant_guard_command_end ENABLE ALWAYS",
    );
    // The row came from a third one, so that all events are read.
    run(
        &mut shop.db.superuser(),
        &format!(
            "INSERT INTO shop.item (id, account_id) VALUES (1, '{ACCOUNT_B}');
             UPDATE shop.item SET account_id = '{ACCOUNT_A}' WHERE id = 3"
        ),
    );
    let detail = |account: &str| {
        shop.within(account, &["manager"], |session| {
            let looked = "SELECT tenant_guard.as_of('shop.item', now())";
            let error = session.transaction().unwrap().batch_execute(looked);
            let error = error.unwrap_err();
            let error = error.as_db_error().unwrap();
            assert_eq!(error.code().code(), "55000");
            error.detail().unwrap().to_owned()
        })
    };
    assert_eq!(detail(ACCOUNT_A), "Two rows have one key.");
    let inserted = "SELECT event_id FROM tenant_guard.audit_event
                    WHERE action = 'insert' AND row_key = '{\"id\":1}' ORDER BY xid DESC LIMIT 1";
    let inserted = lines(&mut shop.db.superuser(), inserted).concat();
    let looked = shop
        .auditor()
        .batch_execute("SELECT tenant_guard.as_of('shop.item', now())")
        .unwrap_err();
    assert_eq!(
        looked.as_db_error().unwrap().detail(),
        Some(format!("Since event {inserted}: two rows have one key.").as_str())
    );
}

/// The account of a child stands in its parent, which may be gone: its events are in the account of
/// whoever wrote them.
#[test]
fn rows_without_an_account_of_their_own_are_for_auditors() {
    let shop = Shop::with_items();
    shop.run(
        "CREATE TABLE shop.note (id int PRIMARY KEY, item int REFERENCES shop.item, v text);
         SELECT tenant_guard.protect('shop.note', archetype => 'child', via => 'item')",
    );
    shop.write(ACCOUNT_A, "INSERT INTO shop.note VALUES (1, 1, 'a')");
    run(
        &mut shop.db.superuser(),
        "INSERT INTO shop.note VALUES (2, 3, 'b')",
    );
    shop.write(ACCOUNT_B, "UPDATE shop.note SET v = 'c'");
    for _ in 0..2 {
        assert_eq!(verify(&shop, "shop.note"), [""; 0]);
        same_now(&shop, "shop.note");
        let own = shop.within(ACCOUNT_A, &["manager"], |session| {
            let mut savepoint = session.transaction().unwrap();
            savepoint.batch_execute("SELECT tenant_guard.as_of('shop.note', now())")
        });
        expect_error(
            own,
            "55000",
            "rows of relation shop.note do not say which account they are in",
        );
        shop.run("SELECT tenant_guard.record_baseline('shop.note')");
    }
}

#[test]
fn uncaptured_table_has_no_state() {
    let shop = Shop::bare();
    shop.run("CREATE TABLE shop.free (id int PRIMARY KEY)");
    for call in ["verify_state", "record_baseline"] {
        let called = shop
            .owner()
            .batch_execute(&format!("SELECT tenant_guard.{call}('shop.free')"));
        expect_error(
            called,
            "55000",
            "relation shop.free is not audited by itself",
        );
    }
}

/// A function in a statement changes other rows before the statement waits for the lock of its own.
#[test]
fn change_inside_a_statement_that_waits_later_is_sound() {
    let shop = Shop::with_items();
    shop.run(
        "CREATE FUNCTION shop.touch(other int) RETURNS text LANGUAGE plpgsql AS
         $$BEGIN UPDATE shop.item SET amount = amount + 1 WHERE id = other; RETURN 'outer'; END$$",
    );
    let mut holder = shop.db.superuser();
    run(
        &mut holder,
        "BEGIN; SELECT FROM shop.item WHERE id = 1 FOR UPDATE",
    );
    let mut waiter = shop.db.superuser();
    let pid: i32 = waiter
        .query_one("SELECT pg_backend_pid()", &[])
        .unwrap()
        .get(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let nested = "UPDATE shop.item SET name = shop.touch(2) WHERE id = 1";
            run(&mut waiter, nested);
        });
        let waits = format!("SELECT cardinality(pg_blocking_pids({pid})) > 0");
        await_lines(&mut holder, &waits, &["t"]);
        run(
            &mut holder,
            "UPDATE shop.item SET name = 'holder' WHERE id = 1; COMMIT",
        );
    });
    assert_eq!(verify(&shop, "shop.item"), [""; 0]);
    same_now(&shop, "shop.item");
}
