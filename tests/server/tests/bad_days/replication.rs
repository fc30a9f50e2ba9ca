//! Logical replication of protected tables: what leaves, what arrives, who may.

use std::sync::Arc;

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Cluster, await_lines, expect_error, lines};

use super::points::check_ledger;
use super::steps::sign_in;
use crate::isolation::Shop;

/// The same table in two databases of one server, protected and audited in both.
fn shops() -> (Arc<Cluster>, Shop, Shop) {
    let cluster = Cluster::start(&["wal_level=logical", "wal_retrieve_retry_interval=100ms"]);
    let make = || {
        let shop = Shop::of(cluster.database());
        shop.run(
            "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text);
             SELECT tenant_guard.protect('shop.contact')",
        );
        shop
    };
    let (from, to) = (make(), make());
    (cluster, from, to)
}

/// Has the tables of a publication arrive. Within one server the slot must be there before.
fn subscribe(from: &Shop, to: &Shop, publication: &str, copy: bool) {
    let slot = format!("SELECT pg_create_logical_replication_slot('{publication}', 'pgoutput')");
    lines(&mut from.db.superuser(), &slot);
    let connection = from.db.cluster().directory().display();
    let subscribe = format!(
        "CREATE SUBSCRIPTION {publication} CONNECTION 'host={connection} user=postgres dbname={}'
         PUBLICATION {publication} WITH (create_slot = false, copy_data = {copy})",
        from.db.name()
    );
    to.db.superuser().batch_execute(&subscribe).unwrap();
}

/// Has a subscription write as its own owner, as all did before PostgreSQL 16; otherwise it writes as the
/// owner of each table, whom FORCE binds.
fn write_as_its_owner(to: &Shop, publication: &str) {
    if to.db.version() >= 16 {
        let alter = format!("ALTER SUBSCRIPTION {publication} SET (run_as_owner = true)");
        to.db.superuser().batch_execute(&alter).unwrap();
    }
}

/// Waits for the server to say that row security stops what applies.
fn await_refusal(cluster: &Cluster) {
    let refusal = "row-level security enabled";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !cluster.log().contains(refusal) {
        assert!(std::time::Instant::now() < deadline, "{}", cluster.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn change(shop: &Shop, account: &str, statement: &str) {
    shop.within(account, |session| session.batch_execute(statement).unwrap());
}

const EVENTS: &str = "SELECT action, account_id, row_key FROM tenant_guard.audit_log
    WHERE relation = 'shop.contact' AND kind = 'row' ORDER BY incarnation, xid, ordinal";

fn event(action: &str, account: &str, id: u32) -> String {
    format!("{action}|{account}|{{\"id\":{id}}}")
}

#[test]
fn what_is_applied_is_isolated_and_logged_where_it_arrives() {
    let (_cluster, from, to) = shops();
    change(
        &from,
        ACCOUNT_A,
        &format!("INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}', 'ann')"),
    );
    change(
        &from,
        ACCOUNT_B,
        &format!("INSERT INTO shop.contact VALUES (2, '{ACCOUNT_B}', 'bob')"),
    );
    let publish = "CREATE PUBLICATION contacts FOR TABLE shop.contact";
    from.db.superuser().batch_execute(publish).unwrap();
    subscribe(&from, &to, "contacts", true);
    write_as_its_owner(&to, "contacts");
    let mut arrived = to.db.superuser();
    // What was there before, then each change.
    await_lines(
        &mut arrived,
        "SELECT id FROM shop.contact ORDER BY 1",
        &["1", "2"],
    );
    await_lines(
        &mut arrived,
        "SELECT srsubstate FROM pg_subscription_rel",
        &["r"],
    );
    change(
        &from,
        ACCOUNT_A,
        "UPDATE shop.contact SET name = 'eve' WHERE id = 1",
    );
    change(&from, ACCOUNT_B, "DELETE FROM shop.contact WHERE id = 2");
    change(
        &from,
        ACCOUNT_B,
        &format!("INSERT INTO shop.contact VALUES (3, '{ACCOUNT_B}', 'cy')"),
    );
    let expected = [
        event("insert", ACCOUNT_A, 1),
        event("insert", ACCOUNT_B, 2),
        event("update", ACCOUNT_A, 1),
        event("delete", ACCOUNT_B, 2),
        event("insert", ACCOUNT_B, 3),
    ];
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    await_lines(&mut arrived, EVENTS, &expected);
    assert_eq!(lines(&mut from.db.superuser(), EVENTS), expected);
    // Nobody of the product wrote it here: no subject, and the role of the subscription.
    let writers =
        "SELECT DISTINCT subject, session_role, \"current_role\" FROM tenant_guard.audit_event
                   WHERE kind = 'row'";
    assert_eq!(lines(&mut arrived, writers), ["<null>|postgres|postgres"]);
    for (account, ids) in [(ACCOUNT_A, "1"), (ACCOUNT_B, "3")] {
        let seen = to.within(account, |session| {
            lines(session, "SELECT id FROM shop.contact")
        });
        assert_eq!(seen, [ids]);
    }
    arrived
        .batch_execute("SELECT * FROM tenant_guard.seal()")
        .unwrap();
    let findings = "SELECT * FROM tenant_guard.verify_ledger()";
    assert_eq!(lines(&mut arrived, findings), [""; 0]);
    let checks = "SELECT severity, code, object FROM tenant_guard.check() WHERE code ~ '^3[45]-'";
    assert_eq!(
        lines(&mut from.db.superuser(), checks),
        ["warning|34-replication|contacts"]
    );
    assert_eq!(
        lines(&mut arrived, checks),
        ["info|35-subscription|contacts"]
    );
    drop_subscription(&mut arrived, "contacts");
}

/// A server with a slot keeps what was not fetched, and a database with a subscription is not dropped.
fn drop_subscription(subscriber: &mut Client, name: &str) {
    subscriber
        .batch_execute(&format!("DROP SUBSCRIPTION {name}"))
        .unwrap();
}

/// Row security of the table binds the role that applies, since PostgreSQL 15: nothing arrives, nothing is
/// skipped.
#[test]
fn applying_as_a_role_that_policies_bind_stops_and_goes_on_as_the_superuser() {
    let (cluster, from, to) = shops();
    let publish = "CREATE PUBLICATION contacts FOR TABLE shop.contact";
    from.db.superuser().batch_execute(publish).unwrap();
    subscribe(&from, &to, "contacts", true);
    write_as_its_owner(&to, "contacts");
    let mut arrived = to.db.superuser();
    await_lines(
        &mut arrived,
        "SELECT srsubstate FROM pg_subscription_rel",
        &["r"],
    );
    let ordinary = to.db.role("applier");
    if to.db.version() >= 16 {
        // Whoever is no superuser connects with a password otherwise.
        let alter = "ALTER SUBSCRIPTION contacts SET (password_required = false)";
        arrived.batch_execute(alter).unwrap();
    }
    // An owner must be a superuser when it becomes one, before 16.
    arrived
        .batch_execute(&format!(
            "GRANT ALL ON shop.contact TO {ordinary}; ALTER ROLE {ordinary} SUPERUSER;
             ALTER SUBSCRIPTION contacts OWNER TO {ordinary}; ALTER ROLE {ordinary} NOSUPERUSER"
        ))
        .unwrap();
    change(
        &from,
        ACCOUNT_A,
        &format!("INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}', 'ann')"),
    );
    if to.db.version() < 15 {
        // What a subscription applies is not held to its owner's rights yet.
        await_lines(&mut arrived, EVENTS, &[&event("insert", ACCOUNT_A, 1)]);
        return drop_subscription(&mut arrived, "contacts");
    }
    await_refusal(&cluster);
    assert_eq!(
        lines(&mut arrived, "SELECT count(*) FROM shop.contact"),
        ["0"]
    );
    arrived
        .batch_execute("ALTER SUBSCRIPTION contacts OWNER TO postgres")
        .unwrap();
    await_lines(&mut arrived, EVENTS, &[&event("insert", ACCOUNT_A, 1)]);
    drop_subscription(&mut arrived, "contacts");
}

/// Since PostgreSQL 16 a subscription writes as the owner of each table where it does not say otherwise.
#[test]
fn applying_as_the_owner_of_the_table_stops_where_that_is_how_it_is_done() {
    let (cluster, from, to) = shops();
    change(
        &from,
        ACCOUNT_A,
        &format!("INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}', 'ann')"),
    );
    let publish = "CREATE PUBLICATION contacts FOR TABLE shop.contact";
    from.db.superuser().batch_execute(publish).unwrap();
    subscribe(&from, &to, "contacts", true);
    let mut arrived = to.db.superuser();
    if to.db.version() >= 16 {
        await_refusal(&cluster);
        assert_eq!(lines(&mut arrived, "TABLE shop.contact"), [""; 0]);
        write_as_its_owner(&to, "contacts");
    }
    await_lines(&mut arrived, "SELECT id FROM shop.contact", &["1"]);
    drop_subscription(&mut arrived, "contacts");
}

/// The other server's log, registry and issuers are not this one's: an operator who has everything
/// replicated is told on both sides, and what arrived in the log is found.
#[test]
fn replicating_the_tables_of_ours_is_found_on_both_sides() {
    let (_cluster, from, to) = shops();
    change(
        &from,
        ACCOUNT_A,
        &format!("INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}', 'ann')"),
    );
    let mut arrived = to.db.superuser();
    arrived
        .batch_execute("SELECT * FROM tenant_guard.seal()")
        .unwrap();
    let publish =
        "CREATE PUBLICATION log FOR TABLE tenant_guard.audit_log, tenant_guard.audit_context";
    from.db.superuser().batch_execute(publish).unwrap();
    subscribe(&from, &to, "log", false);
    change(
        &from,
        ACCOUNT_A,
        "UPDATE shop.contact SET name = 'eve' WHERE id = 1",
    );
    let other = lines(
        &mut from.db.superuser(),
        "SELECT DISTINCT incarnation FROM tenant_guard.audit_log",
    );
    let there = format!(
        "SELECT DISTINCT 1 FROM tenant_guard.audit_log WHERE incarnation = {}",
        other[0]
    );
    await_lines(&mut arrived, &there, &["1"]);
    let checks = "SELECT severity, code, object FROM tenant_guard.check() WHERE code ~ '^3[45]-'";
    assert_eq!(
        lines(&mut from.db.superuser(), checks),
        ["error|34-replication|log"]
    );
    assert_eq!(lines(&mut arrived, checks), ["error|35-subscription|log"]);
    arrived
        .batch_execute("SELECT * FROM tenant_guard.seal()")
        .unwrap();
    let found = "SELECT DISTINCT code FROM tenant_guard.verify_ledger()";
    assert_eq!(lines(&mut arrived, found), ["event_unclaimed"]);
    drop_subscription(&mut arrived, "log");
}

/// Whoever decodes reads all accounts, so that the attribute is all it takes and nobody else may.
#[test]
fn nobody_without_the_attribute_decodes_or_subscribes() {
    let (_cluster, from, to) = shops();
    let mut app = from.app();
    let mut transaction = app.transaction().unwrap();
    sign_in(&from, &mut transaction, true).unwrap();
    let slot = transaction
        .batch_execute("SELECT pg_create_logical_replication_slot('x', 'test_decoding')");
    expect_error(slot, "42501", "");
    drop(transaction);
    for statement in [
        "CREATE PUBLICATION p FOR TABLE shop.contact",
        "CREATE PUBLICATION p FOR ALL TABLES",
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)",
    ] {
        expect_error(app.batch_execute(statement), "42501", "");
    }
    check_ledger(&to, "nobody");
}
