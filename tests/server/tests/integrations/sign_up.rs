//! The statements of docs/operations.md by which a customer signs up, is suspended and comes back, run as they stand there.

use tenant_guard_tests::{Database, Issuer, expect_error, lines};

const PAGE: &str = include_str!("../../../../docs/operations.md");

/// The SQL blocks of a section.
fn blocks(title: &str) -> Vec<&'static str> {
    let section = PAGE.split(title).nth(1).expect("it is there");
    let section = section.split("\n## ").next().expect("it ends");
    let blocks = section.split("```sql\n").skip(1);
    let blocks = blocks.map(|block| block.split("\n```").next().expect("a block ends"));
    blocks.collect()
}

#[test]
fn customer_signs_up_is_suspended_and_comes_back_as_the_page_says() {
    let database = Database::new();
    let issuer = Issuer::eddsa("https://issuer.test");
    let roles = ["signup_service", "app_role", "billing"].map(|name| (name, database.role(name)));
    let [_, (_, app), (_, billing)] = &roles;
    let mut superuser = database.superuser();
    issuer.register(&mut superuser);
    let setup = "CREATE SCHEMA shop;
        CREATE TABLE shop.account (id uuid PRIMARY KEY, name text NOT NULL, active boolean NOT NULL);
        SELECT tenant_guard.protect('shop.account', account_column => 'id');
        SELECT tenant_guard.set_account_relation('shop.account', 'id', 'active')";
    superuser.batch_execute(setup).expect(setup);
    let [once, sign_up, reactivate] = blocks("## A customer signs up, or comes back\n")
        .try_into()
        .expect("three blocks");
    let named = |block: &str| {
        let mut block = block.to_owned();
        for (name, role) in &roles {
            block = block.replace(name, role);
        }
        block
    };
    let once = named(once);
    superuser.batch_execute(&once).expect(&once);
    let session = &mut database.connect_as(app);
    session.batch_execute(&named(sign_up)).expect(sign_up);
    let accounts = "SELECT id FROM shop.account WHERE name = 'Ada''s shop' AND active";
    let [account] = lines(&mut superuser, accounts).try_into().expect("one");
    let logged = "SELECT account_id, data::jsonb ->> 'reason' FROM tenant_guard.audit_event
                  WHERE action = 'act_as'";
    assert_eq!(
        lines(&mut superuser, logged),
        [format!("{account}|sign-up")]
    );
    let sign_in = format!(
        "BEGIN; SELECT tenant_guard.authenticate('{}')",
        issuer.token(&account)
    );
    session
        .batch_execute(&sign_in)
        .expect("the account is there");
    session.batch_execute("ROLLBACK").expect("it ends");

    let suspend = "UPDATE shop.account SET active = false";
    superuser.batch_execute(suspend).expect(suspend);
    expect_error(
        session.batch_execute(&sign_in),
        "28000",
        "token account is not active",
    );
    session.batch_execute("ROLLBACK").expect("it ends");
    let example = "0b9c4b7e-6c1d-4c56-9a0e-7d3c1f6a2e55";
    assert!(reactivate.contains(example));
    let reactivate = reactivate.replace(example, &account);
    let operator = &mut database.connect_as(billing);
    operator.batch_execute(&reactivate).expect(&reactivate);
    session
        .batch_execute(&sign_in)
        .expect("the account is active again");
    session.batch_execute("ROLLBACK").expect("it ends");
    // Nobody but these may act for an account.
    expect_error(
        session.batch_execute(&reactivate),
        "42501",
        "permission denied for function act_as",
    );
}
