//! The events of one row.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, expect_error, lines};

use super::Shop;
use crate::capture::run;

fn history(shop: &Shop, call: &str) -> Vec<String> {
    let query = format!(
        "SELECT action, note, row_key, data::json ->> 'name',
             data::json -> 'new' ->> 'name' FROM tenant_guard.row_history({call})"
    );
    lines(&mut shop.auditor(), &query)
}

#[test]
fn row_is_followed_through_changes_of_its_key_removal_and_return() {
    let shop = Shop::with_items();
    for change in [
        "UPDATE shop.item SET name = 'eve' WHERE id = 1",
        "UPDATE shop.item SET id = 10 WHERE id = 1",
        "UPDATE shop.item SET name = 'eva' WHERE id = 10",
        "UPDATE shop.item SET name = 'other' WHERE id = 2",
        "DELETE FROM shop.item WHERE id = 10",
        "INSERT INTO shop.item (id, account_id, name) VALUES (10, tenant_guard.account_id(), 'new')",
    ] {
        shop.write(ACCOUNT_A, change);
    }
    let expected = [
        r#"insert|<null>|{"id":1}|ann|<null>"#,
        r#"update|<null>|{"id":1}|<null>|eve"#,
        r#"update|key changed|{"id":1}|<null>|<null>"#,
        r#"update|<null>|{"id":10}|<null>|eva"#,
        r#"delete|<null>|{"id":10}|eva|<null>"#,
        r#"insert|inserted again|{"id":10}|new|<null>"#,
    ];
    assert_eq!(history(&shop, r#"'shop.item', '{"id": 10}'"#), expected);
    // However the key is written, and by the key it had at first: what came after is another row's.
    assert_eq!(history(&shop, r#"'shop.item', '{ "id": 1e1 }'"#), expected);
    assert_eq!(history(&shop, r#"'shop.item', '{"id": 1}'"#), expected);
    assert_eq!(history(&shop, r#"'shop.item', '{"id": 7}'"#), [""; 0]);
    assert_eq!(history(&shop, r#"'shop.none', '{"id": 1}'"#), [""; 0]);
}

#[test]
fn identity_sees_the_history_in_its_own_account_only() {
    let shop = Shop::with_items();
    let query = r#"SELECT count(*) FROM tenant_guard.row_history('shop.item', '{"id": 3}')"#;
    let seen = |account| shop.within(account, &["manager"], |session| lines(session, query));
    assert_eq!(seen(ACCOUNT_A), ["0"]);
    assert_eq!(seen(ACCOUNT_B), ["1"]);
}

#[test]
fn row_that_moves_between_accounts_and_partitions_says_so() {
    let shop = Shop::bare();
    shop.run(
        "CREATE TABLE shop.part (id int, account_id uuid, PRIMARY KEY (id)) PARTITION BY LIST (id);
         CREATE TABLE shop.low PARTITION OF shop.part FOR VALUES IN (1);
         CREATE TABLE shop.high PARTITION OF shop.part FOR VALUES IN (2);
         SELECT tenant_guard.protect('shop.part')",
    );
    run(
        &mut shop.db.superuser(),
        &format!(
            "INSERT INTO shop.part VALUES (1, '{ACCOUNT_A}');
             UPDATE shop.part SET account_id = '{ACCOUNT_B}';
             UPDATE shop.part SET account_id = '{ACCOUNT_A}';"
        ),
    );
    let query = r#"SELECT action, note, account_id, leaf_relation
        FROM tenant_guard.row_history('shop.part', '{"id": 1}')"#;
    assert_eq!(
        lines(&mut shop.auditor(), query),
        [
            format!("insert|<null>|{ACCOUNT_A}|shop.low"),
            format!("update|<null>|{ACCOUNT_A}|shop.low"),
            format!("update|moved to another account|{ACCOUNT_B}|shop.low"),
            format!("update|<null>|{ACCOUNT_B}|shop.low"),
            format!("update|moved to another account|{ACCOUNT_A}|shop.low"),
        ]
    );
}

#[test]
fn history_outlives_renames_and_the_table() {
    let shop = Shop::with_items();
    let schema = format!("CREATE SCHEMA store AUTHORIZATION {}", shop.owner);
    run(&mut shop.db.superuser(), &schema);
    shop.run(
        "ALTER TABLE shop.item RENAME id TO number;
         ALTER TABLE shop.item RENAME TO thing;
         ALTER TABLE shop.thing SET SCHEMA store",
    );
    run(
        &mut shop.db.superuser(),
        "UPDATE store.thing SET name = 'eve' WHERE number = 1;
         SET tenant_guard.guards = off; DROP TABLE store.thing",
    );
    let expected = [
        r#"insert|<null>|{"id":1}|ann|<null>"#,
        r#"update|<null>|{"number":1}|<null>|eve"#,
    ];
    assert_eq!(
        history(&shop, r#"'store.thing', '{"number": 1}'"#),
        expected
    );
    // Under the name it had first there is what it was then.
    let then = &expected[..1];
    assert_eq!(history(&shop, r#"'shop.item', '{"number": 1}'"#), then);
    let looked = shop
        .auditor()
        .batch_execute("SELECT tenant_guard.as_of('shop.item', now())");
    expect_error(
        looked,
        "55000",
        "the state of relation shop.item is not known",
    );
}

#[test]
fn table_without_a_key_is_followed_by_its_rows() {
    let shop = Shop::bare();
    shop.run(
        "CREATE TABLE shop.line (account_id uuid, name text, n int);
         SELECT tenant_guard.protect('shop.line')",
    );
    shop.write(
        ACCOUNT_A,
        "INSERT INTO shop.line (name, n) VALUES ('a', 1), ('b', 1);
         UPDATE shop.line SET n = 2 WHERE name = 'a';
         DELETE FROM shop.line WHERE name = 'b'",
    );
    let key = format!(r#"{{"account_id": "{ACCOUNT_A}", "name": "a", "n": 2}}"#);
    let query = format!("SELECT action FROM tenant_guard.row_history('shop.line', '{key}')");
    assert_eq!(lines(&mut shop.auditor(), &query), ["insert", "update"]);
}
