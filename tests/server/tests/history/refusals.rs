//! Every function is refused to every role that should not call it.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, expect_error, lines};

use super::Shop;
use crate::capture::run;

const FOR_AUDITORS: [&str; 2] = ["audit_feed()", "verify_state('shop.item')"];
const FOR_ADMINS: [&str; 3] = [
    "allow_log('clerk')",
    "disallow_log('manager')",
    "record_baseline('shop.item')",
];
const FOR_READERS: [&str; 3] = [
    "row_history('shop.item', '{\"id\": 3}')",
    "as_of('shop.item', now())",
    "as_of_snapshot('shop.item', pg_current_snapshot())",
];

#[test]
fn application_calls_nothing_of_auditors_and_admins() {
    let shop = Shop::with_items();
    for function in FOR_AUDITORS.into_iter().chain(FOR_ADMINS) {
        let call = format!("SELECT tenant_guard.{function}");
        let refused = shop.within(ACCOUNT_A, &["manager"], |session| {
            let mut savepoint = session.transaction().unwrap();
            savepoint.batch_execute(&call)
        });
        expect_error(refused, "42501", "permission denied for function");
    }
}

#[test]
fn auditor_changes_nothing() {
    let shop = Shop::with_items();
    let mut auditor = shop.auditor();
    for function in FOR_ADMINS {
        let call = format!("SELECT tenant_guard.{function}");
        expect_error(
            auditor.batch_execute(&call),
            "42501",
            "permission denied for function",
        );
    }
    for function in FOR_AUDITORS.into_iter().chain(FOR_READERS) {
        lines(&mut auditor, &format!("SELECT tenant_guard.{function}"));
    }
}

#[test]
fn admin_without_the_table_writes_no_baseline_of_it() {
    let shop = Shop::with_items();
    let mut admin = shop.admin();
    expect_error(
        admin.batch_execute("SELECT tenant_guard.record_baseline('shop.item')"),
        "42501",
        "must be owner of relation shop.item",
    );
}

#[test]
fn admin_does_not_look_back() {
    let shop = Shop::with_items();
    let mut admin = shop.admin();
    for function in FOR_READERS {
        let call = format!("SELECT tenant_guard.{function}");
        expect_error(admin.batch_execute(&call), "28000", "no identity is bound");
    }
    let feed = admin.batch_execute("SELECT tenant_guard.audit_feed()");
    expect_error(feed, "42501", "permission denied for function audit_feed");
}

#[test]
fn role_that_does_not_read_the_log_does_not_look_back() {
    let shop = Shop::with_items();
    for function in FOR_READERS {
        let call = format!("SELECT tenant_guard.{function}");
        let refused = shop.within(ACCOUNT_A, &["clerk"], |session| {
            session.transaction().unwrap().batch_execute(&call)
        });
        expect_error(
            refused,
            "42501",
            "no role of this identity reads the log of its account",
        );
    }
}

#[test]
fn another_account_is_refused_by_name() {
    let shop = Shop::with_items();
    for function in FOR_READERS {
        let call = function
            .replace(')', "")
            .replace("now(", "now()")
            .replace("pg_current_snapshot(", "pg_current_snapshot()");
        let call = format!("SELECT tenant_guard.{call}, '{ACCOUNT_B}')");
        let refused = shop.within(ACCOUNT_A, &["manager"], |session| {
            session.transaction().unwrap().batch_execute(&call)
        });
        expect_error(
            refused,
            "42501",
            "permission denied for the log of another account",
        );
    }
}

/// The functions run as whoever calls them until they read our own tables.
#[test]
fn role_of_the_session_does_not_make_an_auditor() {
    let shop = Shop::with_items();
    let mut session = shop.auditor();
    let role = shop.db.role("plain");
    run(
        &mut shop.db.superuser(),
        &format!(
            "GRANT {role} TO {}",
            lines(&mut session, "SELECT current_user")[0]
        ),
    );
    run(&mut session, &format!("SET ROLE {role}"));
    let looked = session.batch_execute("SELECT tenant_guard.as_of('shop.item', now())");
    expect_error(looked, "28000", "no identity is bound");
}

#[test]
fn unfit_arguments_are_named() {
    let shop = Shop::with_items();
    let mut auditor = shop.auditor();
    for (call, code, message) in [
        ("as_of('item', now())", "22023", "schema-qualified"),
        ("as_of(NULL, now())", "22004", "relation"),
        ("as_of('shop.item', NULL)", "22004", "at"),
        ("row_history('shop.item', '[1]')", "22023", "key"),
        ("row_history('shop.item', NULL)", "22004", "key"),
        ("audit_feed('x')", "22023", "no position of audit_feed()"),
        ("audit_feed(most => -1)", "22023", "most"),
        ("verify_state('pg_class')", "55000", "is not audited"),
    ] {
        let call = format!("SELECT tenant_guard.{call}");
        expect_error(auditor.batch_execute(&call), code, message);
    }
}
