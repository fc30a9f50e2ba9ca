//! Tables that leave an audited tree: no way to switch capture off without an event.

use tenant_guard_tests::{Database, expect_error, lines};

use super::{database, run};

/// A partitioned table `part` and a table `base` with a child, audited without their column `note`,
/// and a session of their owner, who is no superuser.
fn trees() -> (Database, postgres::Client, postgres::Client) {
    let db = database();
    let mut client = db.superuser();
    let owner = db.role("owner");
    run(
        &mut client,
        &format!(
            "GRANT tenant_guard_admin TO {owner};
             CREATE SCHEMA shop AUTHORIZATION {owner};
             SET ROLE {owner};
             CREATE TABLE shop.part (id int, note text) PARTITION BY LIST (id);
             CREATE TABLE shop.part_1 PARTITION OF shop.part FOR VALUES IN (1);
             CREATE TABLE shop.part_2 PARTITION OF shop.part FOR VALUES IN (2, 3)
                 PARTITION BY LIST (id);
             CREATE TABLE shop.leaf PARTITION OF shop.part_2 FOR VALUES IN (2);
             CREATE TABLE shop.base (id int, note text);
             SELECT tenant_guard.audit('shop.part', redact => '{{note}}');
             SELECT tenant_guard.audit('shop.base', redact => '{{note}}', skip_unchanged => true);
             CREATE TABLE shop.child () INHERITS (shop.base);
             RESET ROLE"
        ),
    );
    let session = db.connect_as(&owner);
    (db, client, session)
}

fn events(client: &mut postgres::Client, condition: &str) -> Vec<String> {
    lines(
        client,
        &format!(
            "SELECT action, coalesce(leaf_relation, relation), data, redacted
             FROM tenant_guard.audit_log WHERE {condition} ORDER BY xid, ordinal"
        ),
    )
}

/// The greatest transaction id among the events so far.
fn so_far(client: &mut postgres::Client) -> String {
    lines(client, "SELECT max(xid) FROM tenant_guard.audit_log").remove(0)
}

#[test]
fn child_that_ends_its_inheritance_stays_audited() {
    let (_db, mut client, mut owner) = trees();
    let before = so_far(&mut client);
    run(&mut owner, "ALTER TABLE shop.child NO INHERIT shop.base");
    for statement in [
        "ALTER TABLE shop.child DISABLE TRIGGER tenant_guard_capture",
        "DROP TRIGGER tenant_guard_capture ON shop.child",
    ] {
        expect_error(
            owner.batch_execute(statement),
            "42501",
            "of audited relation shop.child",
        );
    }
    run(&mut owner, "INSERT INTO shop.child VALUES (1, 'hush')");
    let rule = r#"{"exclude":[],"hash":[],"include":null,"redact":["note"],"skip_unchanged":true,"truncate_rows":false}"#;
    assert_eq!(
        events(&mut client, &format!("xid > {before}")),
        [
            format!("audit|shop.child|{rule}|<null>"),
            concat!(
                r#"ddl|shop.child|{"actions":["end inheritance from shop.base"],"#,
                r#""command":"ALTER TABLE"}|<null>"#
            )
            .to_owned(),
            r#"insert|shop.child|{"id":1}|{note}"#.to_owned(),
        ]
    );
    run(
        &mut owner,
        "ALTER TABLE shop.child INHERIT shop.base;
         SELECT tenant_guard.unaudit('shop.base')",
    );
    let left = "SELECT count(*) FROM pg_trigger WHERE tgname ~ 'tenant_guard' AND tgrelid = 'shop.child'::regclass";
    assert_eq!(lines(&mut client, left), ["0"]);
}

#[test]
fn trigger_is_not_disabled_by_the_command_that_ends_inheritance() {
    let (_db, _client, mut owner) = trees();
    for statement in [
        "ALTER TABLE shop.child NO INHERIT shop.base, DISABLE TRIGGER tenant_guard_capture",
        "ALTER TABLE shop.child DISABLE TRIGGER ALL, NO INHERIT shop.base",
    ] {
        expect_error(
            owner.batch_execute(statement),
            "42501",
            "of audited relation shop.child",
        );
    }
}

#[test]
fn child_that_another_session_puts_below_does_not_leave_unseen() {
    let (_db, mut client, mut owner) = trees();
    run(
        &mut owner,
        "ALTER TABLE shop.child NO INHERIT shop.base; SELECT tenant_guard.unaudit('shop.child')",
    );
    run(
        &mut owner,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM shop.part",
    );
    run(&mut client, "ALTER TABLE shop.child INHERIT shop.base");
    let before = so_far(&mut client);
    run(
        &mut owner,
        "ALTER TABLE shop.child NO INHERIT shop.base; COMMIT",
    );
    let found = events(&mut client, &format!("xid > {before} AND action = 'audit'"));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn detached_partitions_stay_audited_by_the_same_rule() {
    let (_db, mut client, mut owner) = trees();
    let before = so_far(&mut client);
    run(
        &mut owner,
        "ALTER TABLE shop.part DETACH PARTITION shop.part_1",
    );
    run(
        &mut owner,
        "ALTER TABLE shop.part DETACH PARTITION shop.part_2 CONCURRENTLY",
    );
    run(
        &mut owner,
        "INSERT INTO shop.part_1 VALUES (1, 'hush'); INSERT INTO shop.part_2 VALUES (2, 'hush')",
    );
    expect_error(
        owner.batch_execute("ALTER TABLE shop.leaf DISABLE TRIGGER tenant_guard_capture"),
        "42501",
        "of audited relation shop.leaf",
    );
    let rule = r#"{"exclude":[],"hash":[],"include":null,"redact":["note"],"skip_unchanged":false,"truncate_rows":false}"#;
    let detach = |name: &str, leaf: &str| {
        format!(
            r#"ddl|shop.part|{{"actions":["detach partition shop.{name}"],"command":"ALTER TABLE","detached":["shop.{leaf}"]}}|<null>"#
        )
    };
    assert_eq!(
        events(&mut client, &format!("xid > {before}")),
        [
            format!("audit|shop.part_1|{rule}|<null>"),
            detach("part_1", "part_1"),
            // The first of its two transactions takes the rows away.
            r#"ddl|shop.part|{"command":"ALTER TABLE","detached":["shop.leaf"],"leaving":true}|<null>"#.to_owned(),
            format!("audit|shop.part_2|{rule}|<null>"),
            detach("part_2", "leaf"),
            r#"insert|shop.part_1|{"id":1}|{note}"#.to_owned(),
            r#"insert|shop.leaf|{"id":2}|{note}"#.to_owned(),
        ]
    );
}

#[test]
fn detached_partition_comes_back_under_the_rule_of_its_table() {
    let (_db, mut client, mut owner) = trees();
    run(
        &mut owner,
        "ALTER TABLE shop.part DETACH PARTITION shop.part_2;
         ALTER TABLE shop.part ATTACH PARTITION shop.part_2 FOR VALUES IN (2, 3);
         INSERT INTO shop.part VALUES (2, 'hush')",
    );
    let rules = "SELECT relation FROM tenant_guard.capture_rule ORDER BY relation::text";
    assert_eq!(lines(&mut client, rules), ["shop.base", "shop.part"]);
    assert_eq!(
        events(&mut client, "kind = 'row'"),
        [r#"insert|shop.leaf|{"id":2}|{note}"#]
    );
    run(&mut owner, "SELECT tenant_guard.unaudit('shop.part')");
    let left = "SELECT count(*) FROM pg_trigger WHERE tgname ~ 'tenant_guard' AND tgrelid::regclass::text ~ '^shop.(part|leaf)'";
    assert_eq!(lines(&mut client, left), ["0"]);
}

#[test]
fn partition_of_a_protected_table_stays_audited_by_what_audit_said() {
    let (_db, mut client, mut owner) = trees();
    run(
        &mut owner,
        "CREATE TABLE shop.kept (account_id text, id int) PARTITION BY LIST (id);
         CREATE TABLE shop.kept_1 PARTITION OF shop.kept FOR VALUES IN (1);
         SELECT tenant_guard.protect('shop.kept', audit => false);
         SELECT tenant_guard.audit('shop.kept');
         ALTER TABLE shop.kept DETACH PARTITION shop.kept_1",
    );
    let triggers = "SELECT tgname FROM pg_trigger
         WHERE tgrelid = 'shop.kept_1'::regclass AND tgname ~ 'tenant_guard_capture' ORDER BY 1";
    assert_eq!(
        lines(&mut client, triggers),
        ["tenant_guard_capture", "tenant_guard_capture_truncate"]
    );
}

#[test]
fn dropped_parts_of_an_audited_tree_leave_an_event() {
    let (_db, mut client, mut owner) = trees();
    let before = so_far(&mut client);
    run(&mut owner, "DROP TABLE shop.part_1");
    run(&mut owner, "DROP TABLE shop.part_2 CASCADE");
    run(&mut owner, "DROP TABLE shop.child");
    run(
        &mut owner,
        "CREATE TABLE shop.tenant_guard_capture (id int); DROP TABLE shop.tenant_guard_capture",
    );
    let mut found = events(&mut client, &format!("xid > {before}"));
    found.sort();
    let dropped = |name: &str| {
        format!(r#"ddl|shop.{name}|{{"command":"DROP TABLE","dropped":"relation"}}|<null>"#)
    };
    assert_eq!(found, ["child", "leaf", "part_1", "part_2"].map(dropped));
}

#[test]
fn leaving_with_the_guards_off_leaves_an_event() {
    let (_db, mut client, _owner) = trees();
    let before = so_far(&mut client);
    run(
        &mut client,
        "SET tenant_guard.guards = off; ALTER TABLE shop.child NO INHERIT shop.base",
    );
    let found = format!(
        "SELECT action, relation, data::jsonb ->> 'passed' FROM tenant_guard.audit_log
         WHERE xid > {before}"
    );
    assert_eq!(
        lines(&mut client, &found),
        ["guards off|shop.child|cannot end the capture of changes of audited relation shop.child"]
    );
}
