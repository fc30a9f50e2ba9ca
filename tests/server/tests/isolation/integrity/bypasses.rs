//! Attempts to get by the triggers that hold a key to the account.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, expect_error, lines};

use super::super::Shop;
use super::binding::{BIND, T, refused, run_unseeing, shop, templates};

#[test]
fn a_trigger_of_anybodys_that_has_no_row_does_not_bring_the_server_down() {
    let shop = Shop::contacts();
    for (function, event, when) in [
        ("check_binding", "AFTER INSERT", "STATEMENT"),
        ("check_bound", "AFTER INSERT", "STATEMENT"),
        ("check_binding", "BEFORE INSERT", "ROW"),
        ("check_bound", "AFTER TRUNCATE", "STATEMENT"),
    ] {
        let mut session = shop.app();
        session
            .batch_execute(&format!(
                "CREATE TEMP TABLE mine (a int);
                 CREATE TRIGGER t {event} ON mine FOR EACH {when}
                     EXECUTE FUNCTION tenant_guard.{function}('k')"
            ))
            .unwrap();
        refused(
            &mut session,
            "INSERT INTO mine VALUES (1); TRUNCATE mine",
            "39P01",
            &format!("{function}() can only be called as a trigger"),
        );
    }
}

#[test]
fn a_key_deferred_alone_does_not_point_at_what_another_account_will_make() {
    let shop = templates();
    let mut session = shop.app();
    let mut open = session.transaction().unwrap();
    shop.issuer.sign_in(&mut open, ACCOUNT_A);
    open.batch_execute("SET CONSTRAINTS shop.t DEFERRED")
        .unwrap();
    expect_error(
        open.batch_execute("UPDATE shop.booking SET template_id = 99"),
        "23503",
        T,
    );
    open.rollback().unwrap();
    // With both deferred the row that comes meanwhile is seen when the transaction ends.
    let mut open = session.transaction().unwrap();
    shop.issuer.sign_in(&mut open, ACCOUNT_A);
    open.batch_execute("SET CONSTRAINTS ALL DEFERRED; UPDATE shop.booking SET template_id = 99")
        .unwrap();
    shop.within(ACCOUNT_B, |other| {
        other
            .batch_execute("INSERT INTO shop.template (id) VALUES (99)")
            .unwrap();
    });
    expect_error(open.commit(), "23503", T);
    // A row of one's own that comes later is taken.
    shop.within(ACCOUNT_A, |own| {
        own.batch_execute(
            "SET CONSTRAINTS ALL DEFERRED; UPDATE shop.booking SET template_id = 98;
             INSERT INTO shop.template (id) VALUES (98)",
        )
        .unwrap();
    });
    // What comes from another server comes in any order.
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(
            "SET session_replication_role = replica; UPDATE shop.booking SET template_id = 97",
        )
        .unwrap();
}

#[test]
fn a_time_zone_of_another_name_does_not_hide_the_row_referred_to() {
    let shop = shop(
        "CREATE TABLE shop.slot (at timestamptz, account_id uuid, PRIMARY KEY (at));
         ALTER TABLE shop.booking ADD COLUMN slot timestamptz;
         SELECT tenant_guard.protect('shop.slot', archetype => 'shared_defaults');
         ALTER TABLE shop.booking ADD CONSTRAINT t FOREIGN KEY (slot) REFERENCES shop.slot",
    );
    let rows = format!(
        "INSERT INTO shop.slot VALUES ('2026-01-01 10:00Z', '{ACCOUNT_A}'),
             ('2026-01-02 10:00Z', '{ACCOUNT_B}')"
    );
    shop.db.superuser().batch_execute(&rows).unwrap();
    run_unseeing(&shop, "");
    assert_eq!(lines(&mut shop.owner(), BIND).len(), 4);
    let set = |day: &str| format!("UPDATE shop.booking SET slot = '2026-01-{day} 10:00Z'");
    // IST is read as Israel's time, and printed for India's.
    for style in ["ISO", "SQL", "Postgres", "German"] {
        let style = format!("SET DateStyle = '{style}'; SET TimeZone = 'Asia/Kolkata'");
        let mut session = shop.app();
        session.batch_execute(&style).unwrap();
        let mut transaction = session.transaction().unwrap();
        shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
        transaction.batch_execute(&set("01")).unwrap();
        expect_error(transaction.batch_execute(&set("02")), "23503", T);
    }
}
