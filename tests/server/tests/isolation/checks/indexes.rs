//! Row 74: what a proposed index does to the plan of a query, under row security.

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, lines};

use super::super::Shop;

/// Two accounts with 2,000 rows each, and an index for conditions on `expression`.
fn shop_with_index(expression: &str) -> Shop {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.person (id int PRIMARY KEY, account_id uuid, email text, data jsonb);
         INSERT INTO shop.person SELECT n, CASE WHEN n % 2 = 0 THEN '{ACCOUNT_A}'::uuid
                 ELSE '{ACCOUNT_B}' END, 'P' || n || '@Example', jsonb_build_object('sku', 'S' || n)
             FROM generate_series(1, 4000) AS n;
         CREATE INDEX by_value ON shop.person ({expression});
         SELECT tenant_guard.protect('shop.person')"
    ));
    let analyze = "ANALYZE shop.person";
    shop.db.superuser().batch_execute(analyze).unwrap();
    shop
}

/// The plan of account A's query for id by this condition, with the rows it gives.
fn plan_and_rows(shop: &Shop, condition: &str) -> (Vec<String>, Vec<String>) {
    let query = format!("SELECT id FROM shop.person WHERE {condition}");
    shop.within(ACCOUNT_A, |t| {
        let plan = lines(t, &format!("EXPLAIN (COSTS off) {query}"));
        (plan, lines(t, &query))
    })
}

/// Pastes the one fix there is.
fn mend(shop: &Shop) -> Client {
    let mut superuser = shop.db.superuser();
    let fixes = shop.check_where("fix", "code = '74-index-unusable'");
    let [fix] = &fixes[..] else {
        panic!("one fix, not {fixes:?}");
    };
    superuser.batch_execute(fix).unwrap();
    superuser.batch_execute("ANALYZE shop.person").unwrap();
    superuser
}

#[test]
fn stored_column_and_index_turn_a_sequential_scan_into_an_index_scan() {
    for (expression, before, after) in [
        (
            "lower(email)",
            "lower(email) = 'p42@example'",
            "lower_email = 'p42@example'",
        ),
        (
            "(data ->> 'sku')",
            "data ->> 'sku' = 'S42'",
            "data_sku_text = 'S42'",
        ),
    ] {
        let shop = shop_with_index(expression);
        let (plan, rows) = plan_and_rows(&shop, before);
        assert_eq!(plan[0], "Seq Scan on person", "{plan:?}");
        assert_eq!(rows, ["42"]);
        drop(mend(&shop));
        let (plan, rows) = plan_and_rows(&shop, after);
        assert_eq!(plan[0], "Index Scan using by_value on person");
        let (column, value) = after.split_once(" = ").unwrap();
        assert_eq!(
            plan[1..],
            [format!(
                "  Index Cond: ((account_id = tenant_guard.account_id()) AND ({column} = {value}::text))"
            )]
        );
        assert_eq!(rows, ["42"]);
        assert_eq!(shop.check_where("object", "code ~ '^74'"), [""; 0]);
    }
}

#[test]
fn what_has_no_remedy_is_said_and_reads_every_row() {
    let shop = shop_with_index("email text_pattern_ops");
    let (plan, rows) = plan_and_rows(&shop, "email LIKE 'P42@%'");
    assert_eq!(plan[0], "Seq Scan on person");
    assert_eq!(rows, ["42"]);
    assert_eq!(
        shop.check_where("detail, fix", "code ~ '^74'"),
        [
            "LIKE on email is not leakproof: row security does not let it use this index, and SQL has no \
          remedy|"
        ]
    );
}
