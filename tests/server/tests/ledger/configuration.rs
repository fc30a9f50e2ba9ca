//! What each block says was captured when it was sealed.

use std::thread;

use tenant_guard_tests::{await_lines, expect_error, lines};

use super::{database, findings, seal};
use crate::capture::run;

const OF_ITEM: &str = "SELECT h.block, h.change, h.entry->>'trigger', h.entry->>'enabled',
        h.entry->'arguments'
     FROM tenant_guard.capture_history() WITH ORDINALITY AS h
     WHERE h.part = 'relations' AND h.entry->>'relation' = 'public.item'
     ORDER BY h.ordinality";

#[test]
fn trigger_switched_off_shows_in_the_next_block() {
    let db = database();
    let mut client = db.superuser();
    let arguments = r#"["account_id", "{}"]"#;
    run(
        &mut client,
        "INSERT INTO item VALUES (gen_random_uuid(), 'other')",
    );
    seal(&mut client);
    run(
        &mut client,
        "INSERT INTO item VALUES (gen_random_uuid(), 'other');
         SET tenant_guard.guards = off;
         ALTER TABLE item DISABLE TRIGGER tenant_guard_capture;
         SELECT tenant_guard.act_as('x', 'ann', '{}', 'to leave an event')",
    );
    seal(&mut client);
    run(
        &mut client,
        "ALTER TABLE item ENABLE ALWAYS TRIGGER tenant_guard_capture;
         INSERT INTO item VALUES (gen_random_uuid(), 'other')",
    );
    seal(&mut client);
    run(
        &mut client,
        "INSERT INTO item VALUES (gen_random_uuid(), 'other')",
    );
    seal(&mut client);
    assert_eq!(
        lines(&mut client, OF_ITEM),
        [
            format!("1|added|tenant_guard_capture|always|{arguments}"),
            format!("1|added|tenant_guard_capture_truncate|always|{arguments}"),
            format!("2|removed|tenant_guard_capture|always|{arguments}"),
            format!("2|added|tenant_guard_capture|disabled|{arguments}"),
            format!("3|removed|tenant_guard_capture|disabled|{arguments}"),
            format!("3|added|tenant_guard_capture|always|{arguments}"),
        ]
    );
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn guard_of_the_ledger_and_event_trigger_switched_off_show_in_the_next_block() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "INSERT INTO item VALUES (gen_random_uuid(), 'other')",
    );
    seal(&mut client);
    run(
        &mut client,
        "ALTER EVENT TRIGGER tenant_guard_dropped DISABLE;
         SET tenant_guard.guards = off;
         ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard;
         INSERT INTO item VALUES (gen_random_uuid(), 'other')",
    );
    seal(&mut client);
    let changes = "SELECT h.part, h.change, coalesce(h.entry->>'table', h.entry->>'trigger'),
            h.entry->>'enabled'
         FROM tenant_guard.capture_history() WITH ORDINALITY AS h
         WHERE h.block = 2 AND h.part <> 'roles' ORDER BY h.ordinality";
    assert_eq!(
        lines(&mut client, changes),
        [
            "guards|removed|tenant_guard_dropped|always",
            "guards|added|tenant_guard_dropped|disabled",
            "ledger|removed|audit_log|always",
            "ledger|added|audit_log|disabled",
        ]
    );
}

/// No event trigger sees commands on roles: they belong to the cluster.
#[test]
fn role_that_becomes_admin_or_superuser_shows_in_the_next_block() {
    let db = database();
    let mut client = db.superuser();
    let (admin, root) = (db.role("admin"), db.role("root"));
    run(
        &mut client,
        "INSERT INTO item VALUES (gen_random_uuid(), 'other')",
    );
    seal(&mut client);
    run(
        &mut client,
        &format!(
            "GRANT tenant_guard_admin TO {admin}; ALTER ROLE {root} SUPERUSER;
             INSERT INTO item VALUES (gen_random_uuid(), 'other')"
        ),
    );
    seal(&mut client);
    run(
        &mut client,
        &format!(
            "ALTER ROLE {root} NOSUPERUSER BYPASSRLS; INSERT INTO item VALUES (gen_random_uuid(), 'other')"
        ),
    );
    seal(&mut client);
    let changes = format!(
        "SELECT h.block, h.change, h.entry->>'role', h.entry->>'holds'
         FROM tenant_guard.capture_history() AS h
         WHERE h.part = 'roles' AND h.entry->>'role' IN ('{admin}', '{root}')
         ORDER BY h.block, h.entry->>'holds'"
    );
    assert_eq!(
        lines(&mut client, &changes),
        [
            format!("2|added|{root}|superuser"),
            format!("2|added|{admin}|tenant_guard_admin"),
            format!("3|added|{root}|bypassrls"),
            format!("3|removed|{root}|superuser"),
        ]
    );
}

#[test]
fn text_stands_only_where_something_changed() {
    let db = database();
    let mut client = db.superuser();
    for _ in 0..3 {
        run(
            &mut client,
            "INSERT INTO item VALUES (gen_random_uuid(), 'other')",
        );
        seal(&mut client);
    }
    run(
        &mut client,
        "CREATE TABLE irrelevant (n int); INSERT INTO item VALUES (gen_random_uuid(), 'other')",
    );
    seal(&mut client);
    // Roles of tests beside this one come and go.
    let texts = "SELECT count(*) FROM tenant_guard.ledger_block AS b
         LEFT JOIN tenant_guard.ledger_block AS p ON p.block = b.block - 1
         WHERE (b.configuration IS NOT NULL)
            <> (p.block IS NULL OR p.configuration_hash <> b.configuration_hash)
            OR b.configuration_hash <> sha256(convert_to(b.configuration, 'UTF8'))";
    assert_eq!(lines(&mut client, texts), ["0"]);
}

#[test]
fn configuration_that_could_not_be_read_is_not_taken_from_the_block_before() {
    let db = database();
    let (mut client, mut other) = (db.superuser(), db.superuser());
    let insert = "INSERT INTO item VALUES (gen_random_uuid(), 'other')";
    run(&mut client, insert);
    seal(&mut client);
    run(
        &mut other,
        "SET tenant_guard.guards = off;
         ALTER TABLE item DISABLE TRIGGER tenant_guard_capture_truncate",
    );
    run(&mut client, insert);
    run(&mut client, "SET lock_timeout = '100ms'");
    run(
        &mut other,
        "BEGIN; LOCK TABLE tenant_guard.protected_member",
    );
    expect_error(
        client.batch_execute("SELECT tenant_guard.seal()"),
        "55P03",
        "lock timeout",
    );
    run(&mut other, "ROLLBACK");
    seal(&mut client);
    let changes = "SELECT h.block, h.change, h.entry->>'enabled'
         FROM tenant_guard.capture_history() WITH ORDINALITY AS h
         WHERE h.entry->>'trigger' = 'tenant_guard_capture_truncate' ORDER BY h.ordinality";
    assert_eq!(
        lines(&mut client, changes),
        ["1|added|always", "2|removed|always", "2|added|disabled"]
    );
    assert_eq!(findings(&mut client), [""; 0]);
}

/// The sealing session hears of the new superuser while it waits, under a snapshot from before.
#[test]
fn change_heard_of_under_an_older_snapshot_shows_in_the_next_block() {
    let db = database();
    let (mut holder, mut sealer, mut other) = (db.superuser(), db.superuser(), db.superuser());
    let sneaky = db.role("sneaky");
    run(
        &mut sealer,
        "INSERT INTO item VALUES (gen_random_uuid(), 'other')",
    );
    seal(&mut sealer);
    run(&mut holder, "BEGIN; LOCK TABLE tenant_guard.ledger_block");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&mut sealer, "SELECT tenant_guard.seal(true)"));
        let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted
            AND relation = 'tenant_guard.ledger_block'::regclass";
        await_lines(&mut other, blocked, &["1"]);
        run(&mut other, &format!("ALTER ROLE {sneaky} SUPERUSER"));
        run(&mut holder, "COMMIT");
        waiting.join().unwrap();
    });
    run(&mut sealer, "SELECT tenant_guard.seal(true)");
    let shown = format!(
        "SELECT h.block, h.change FROM tenant_guard.capture_history() AS h
         WHERE h.entry->>'role' = '{sneaky}' AND h.entry->>'holds' = 'superuser'"
    );
    assert_eq!(lines(&mut sealer, &shown), ["3|added"]);
}

#[test]
fn view_replaced_and_row_security_set_in_the_catalog_show_in_the_next_block() {
    let db = database();
    let mut client = db.superuser();
    let insert = "INSERT INTO item VALUES (gen_random_uuid(), 'other')";
    run(&mut client, insert);
    seal(&mut client);
    run(
        &mut client,
        "SET tenant_guard.guards = off;
         ALTER VIEW tenant_guard.audit_event SET (security_barrier);
         CREATE RULE quiet AS ON DELETE TO tenant_guard.ledger_leaf DO INSTEAD NOTHING;
         SET allow_system_table_mods = on;
         UPDATE pg_class SET relrowsecurity = true WHERE oid = 'tenant_guard.audit_log'::regclass",
    );
    run(&mut client, insert);
    seal(&mut client);
    let changes = "SELECT h.part, h.change, coalesce(h.entry->>'what', h.entry->>'options')
         FROM tenant_guard.capture_history() WITH ORDINALITY AS h
         WHERE h.block = 2 AND h.part <> 'roles' ORDER BY h.ordinality";
    assert_eq!(
        lines(&mut client, changes),
        [
            "alterations|added|row security",
            "alterations|added|rule quiet",
            "views|removed|",
            "views|added|security_barrier=true",
        ]
    );
    assert_eq!(findings(&mut client), [""; 0]);
}
