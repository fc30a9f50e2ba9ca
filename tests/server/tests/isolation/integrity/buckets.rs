//! Folders of accounts in a bucket that all of them share.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, expect_error, lines};

use super::super::Shop;

/// A table of objects as file services keep them, held by a policy over the path.
fn bucket() -> Shop {
    Shop::with(&format!(
        "CREATE TABLE shop.object (name text PRIMARY KEY);
         INSERT INTO shop.object VALUES ('{ACCOUNT_A}/a.pdf'), ('{ACCOUNT_B}/b.pdf'), ('c.pdf'),
             ('{ACCOUNT_A}/../{ACCOUNT_B}/b.pdf');
         ALTER TABLE shop.object ENABLE ROW LEVEL SECURITY;
         CREATE POLICY folder ON shop.object USING (tenant_guard.owns_path(name))"
    ))
}

#[test]
fn a_folder_shows_and_takes_its_own_accounts_files_only() {
    let shop = bucket();
    shop.within(ACCOUNT_A, |transaction| {
        assert_eq!(
            lines(transaction, "SELECT name FROM shop.object"),
            [format!("{ACCOUNT_A}/a.pdf")]
        );
        transaction
            .batch_execute(
                "INSERT INTO shop.object VALUES (tenant_guard.account_path('2026', 'ä b.pdf'))",
            )
            .unwrap();
        assert_eq!(
            lines(
                transaction,
                "SELECT name, tenant_guard.path_account(name) FROM shop.object
                 WHERE name LIKE '%2026%'"
            ),
            [format!("{ACCOUNT_A}/2026/ä b.pdf|{ACCOUNT_A}")]
        );
    });
}

#[test]
fn leaving_the_folder_is_refused_in_every_spelling() {
    let shop = bucket();
    for name in [
        format!("{ACCOUNT_B}/x"),
        format!("{ACCOUNT_A}/../{ACCOUNT_B}/x"),
        format!("{ACCOUNT_A}/%2e%2e/{ACCOUNT_B}/x"),
        format!("{ACCOUNT_A}/..%2f{ACCOUNT_B}/x"),
        format!("{ACCOUNT_A}/..\\{ACCOUNT_B}/x"),
        format!("{ACCOUNT_A}//x"),
        format!("/{ACCOUNT_A}/x"),
        ACCOUNT_A.to_owned(),
        format!("{}/x", ACCOUNT_A.to_uppercase()),
    ] {
        let mut session = shop.app();
        let mut transaction = session.transaction().unwrap();
        shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
        expect_error(
            transaction.execute("INSERT INTO shop.object VALUES ($1)", &[&name]),
            "42501",
            "violates row-level security policy",
        );
    }
    for (segment, message) in [
        ("..", "a segment of a path must not be . or .."),
        ("", "a segment of a path must not be empty"),
        (
            "a/b",
            "a segment of a path must not hold a slash or backslash",
        ),
        (
            "%252e%252e",
            "a segment of a path must not hold them percent-encoded either",
        ),
    ] {
        let mut session = shop.app();
        let mut transaction = session.transaction().unwrap();
        shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
        let call = "SELECT tenant_guard.account_path('a', $1)";
        expect_error(transaction.query(call, &[&segment]), "22023", message);
    }
}

#[test]
fn without_an_identity_there_is_no_folder() {
    let shop = bucket();
    for call in [
        "SELECT tenant_guard.account_path('a')",
        "SELECT tenant_guard.owns_path('a/b')",
        "SELECT * FROM shop.object",
    ] {
        expect_error(
            shop.app().batch_execute(call),
            "28000",
            "no identity is bound",
        );
    }
}
