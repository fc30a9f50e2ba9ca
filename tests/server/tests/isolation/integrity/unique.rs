//! Unique constraints over all accounts, mended with the foreign keys that refer to them.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, lines};

use super::super::Shop;

#[test]
fn natural_keys_that_are_referred_to_get_the_account_by_the_printed_fix() {
    let shop = Shop::empty();
    let deleted = if shop.db.sets_some_columns() {
        "SET NULL"
    } else {
        "CASCADE"
    };
    shop.run(&format!(
        "CREATE TABLE shop.product (sku text PRIMARY KEY, ean text CONSTRAINT ean UNIQUE,
             account_id uuid);
         CREATE TABLE shop.line (id int PRIMARY KEY, account_id uuid,
             sku text CONSTRAINT by_sku REFERENCES shop.product ON DELETE {deleted},
             ean text CONSTRAINT by_ean REFERENCES shop.product (ean) ON UPDATE CASCADE);
         INSERT INTO shop.product VALUES ('a', '1', '{ACCOUNT_A}');
         INSERT INTO shop.line VALUES (1, '{ACCOUNT_A}', 'a', '1');
         SELECT tenant_guard.protect_schema('shop')"
    ));
    let code = "code LIKE '27-%'";
    assert_eq!(
        shop.check_where("object, fix", code),
        [
            "shop.ean|SELECT tenant_guard.bind_foreign_keys('shop'); \
             ALTER TABLE shop.product DROP CONSTRAINT ean;",
            "shop.product_pkey|SELECT tenant_guard.bind_foreign_keys('shop'); \
             ALTER TABLE shop.product DROP CONSTRAINT product_pkey, \
             ADD CONSTRAINT product_pkey PRIMARY KEY (account_id, sku);",
        ]
    );
    for fix in shop.check_where("fix", code) {
        shop.run(&fix);
    }
    assert_eq!(shop.check("code, object"), [""; 0]);
    // A value that another account has is neither refused nor told.
    shop.within(ACCOUNT_B, |transaction| {
        transaction
            .batch_execute("INSERT INTO shop.product (sku, ean) VALUES ('a', '1')")
            .unwrap();
    });
    shop.within(ACCOUNT_A, |transaction| {
        transaction
            .batch_execute("DELETE FROM shop.line; DELETE FROM shop.product")
            .unwrap();
    });
    let left = "SELECT sku, account_id FROM shop.product";
    assert_eq!(
        lines(&mut shop.db.superuser(), left),
        [format!("a|{ACCOUNT_B}")]
    );
}

#[test]
fn a_unique_value_that_only_a_trigger_could_hold_is_left_to_a_person() {
    for event in ["UPDATE", "DELETE"] {
        let shop = Shop::with(&format!(
            "CREATE TABLE shop.product (id uuid PRIMARY KEY, sku text UNIQUE, account_id uuid);
             CREATE TABLE shop.line (id int PRIMARY KEY, account_id uuid,
                 sku text REFERENCES shop.product (sku) ON {event} SET NULL);
             SELECT tenant_guard.protect_schema('shop')"
        ));
        let fix = if event == "DELETE" && shop.db.sets_some_columns() {
            "SELECT tenant_guard.bind_foreign_keys('shop'); \
             ALTER TABLE shop.product DROP CONSTRAINT product_sku_key;"
        } else {
            ""
        };
        assert_eq!(
            shop.check_where("object, fix", "code LIKE '27-%'"),
            [format!("shop.product_sku_key|{fix}")]
        );
    }
}
