//! From which web origins the users of an account come.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, expect_error, lines};

use super::super::Shop;

fn shop() -> Shop {
    Shop::with(&format!(
        "SELECT tenant_guard.allow_origin('{}', 'HTTPS://App.Example.com:443'),
             tenant_guard.allow_origin('{ACCOUNT_B}', 'https://b.example')",
        ACCOUNT_A.to_uppercase()
    ))
}

#[track_caller]
fn allowed(shop: &Shop, account: &str, origin: &str) -> bool {
    shop.within(account, |transaction| {
        let call = "SELECT tenant_guard.origin_allowed($1)";
        transaction.query_one(call, &[&origin]).unwrap().get(0)
    })
}

#[test]
fn an_origin_is_allowed_for_the_account_that_declared_it() {
    let shop = shop();
    assert!(allowed(&shop, ACCOUNT_A, "https://app.example.com"));
    assert!(!allowed(&shop, ACCOUNT_B, "https://app.example.com"));
    for hostile in [
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://evil.example#https://app.example.com",
        "https://app.example.com@evil.example",
        "https://sub.app.example.com",
        "null",
        "*",
        "",
    ] {
        assert!(!allowed(&shop, ACCOUNT_A, hostile), "{hostile}");
    }
    shop.run(&format!(
        "SELECT tenant_guard.disallow_origin('{ACCOUNT_A}', 'https://app.example.com')"
    ));
    assert!(!allowed(&shop, ACCOUNT_A, "https://app.example.com"));
    assert_eq!(
        lines(
            &mut shop.db.superuser(),
            "SELECT action, account_id, data::jsonb ->> 'origin' FROM tenant_guard.audit_log
             WHERE action LIKE '%allow_origin' ORDER BY xid, ordinal"
        ),
        [
            format!("allow_origin|{ACCOUNT_A}|https://app.example.com"),
            format!("allow_origin|{ACCOUNT_B}|https://b.example"),
            format!("disallow_origin|{ACCOUNT_A}|https://app.example.com"),
        ]
    );
}

#[test]
fn wildcards_and_urls_are_no_origins() {
    let shop = Shop::empty();
    for (origin, message) in [
        ("*", "wildcards are not allowed"),
        ("https://*.example.com", "wildcards are not allowed"),
        ("null", "the origin null is that of anybody"),
        (
            "https://example.com/",
            "an origin is scheme://host or scheme://host:port",
        ),
        ("https://räume.example", "written as browsers send it"),
    ] {
        let call = format!("SELECT tenant_guard.allow_origin('{ACCOUNT_A}', '{origin}')");
        expect_error(shop.owner().batch_execute(&call), "22023", message);
    }
    expect_error(
        shop.owner().batch_execute(&format!(
            "SELECT tenant_guard.disallow_origin('{ACCOUNT_A}', 'https://x.example')"
        )),
        "42704",
        "origin \"https://x.example\" is not allowed for the account",
    );
}

#[test]
fn an_application_declares_no_origin_and_asks_with_an_identity() {
    let shop = shop();
    let mut app = shop.app();
    expect_error(
        app.batch_execute("SELECT tenant_guard.allow_origin('x', 'https://evil.example')"),
        "42501",
        "permission denied for function allow_origin",
    );
    expect_error(
        app.batch_execute("SELECT tenant_guard.origin_allowed('https://app.example.com')"),
        "28000",
        "no identity is bound",
    );
    expect_error(
        app.batch_execute("TABLE tenant_guard.allowed_origin"),
        "42501",
        "permission denied for table allowed_origin",
    );
}
