//! What is proven before the transaction is not looked at again in it.

use tenant_guard_tests::expect_error;

use super::*;

fn proofs(shop: &Shop) -> Vec<String> {
    lines(
        &mut shop.db.superuser(),
        "SELECT conrelid::regclass, convalidated FROM pg_constraint
         WHERE conname = 'tenant_guard_account_not_null' ORDER BY conrelid::regclass::text",
    )
}

/// Blocks of the table that the session reads from while it applies.
fn blocks_read(shop: &Shop, wanted: &Value) -> i64 {
    let mut owner = shop.owner();
    let mut transaction = owner.transaction().unwrap();
    let count = "SELECT pg_stat_get_xact_tuples_returned('shop.contact'::regclass)";
    apply(&mut transaction, wanted);
    let read: i64 = transaction.query_one(count, &[]).unwrap().get(0);
    transaction.rollback().unwrap();
    read
}

#[test]
fn proof_spares_the_transaction_its_scans_and_is_gone_afterwards() {
    let shop = Shop::with(&format!(
        "{SCHEMA};
         INSERT INTO shop.contact (id, account_id)
             SELECT n, '00000000-0000-0000-0000-000000000001' FROM generate_series(1, 1000) n"
    ));
    let wanted = manifest(&shop, &json!({"shop.contact": {}, "shop.message": {}}));
    assert!(blocks_read(&shop, &wanted) >= 1000);

    let prepare = of_phase(&plan(&mut shop.owner(), &wanted), "prepare");
    run(
        &mut shop.owner(),
        prepare.iter().map(|step| &step.statement),
    );
    assert_eq!(
        proofs(&shop),
        ["shop.contact|t", "shop.message_1|t", "shop.message_2_1|t"]
    );
    assert_eq!(of_phase(&plan(&mut shop.owner(), &wanted), "prepare"), []);
    assert_eq!(blocks_read(&shop, &wanted), 0);

    apply(&mut shop.owner(), &wanted);
    assert_eq!(proofs(&shop), [] as [&str; 0]);
    assert_eq!(drift(&shop, "DISTINCT state"), ["pending"]);
}

#[test]
fn preparation_can_be_repeated_and_taken_back() {
    let shop = Shop::with(SCHEMA);
    let before = everything(&shop);
    let wanted = manifest(&shop, &relations());
    let prepare = of_phase(&plan(&mut shop.owner(), &wanted), "prepare");
    let mut owner = shop.owner();
    for _ in 0..2 {
        run(&mut owner, prepare.iter().map(|step| &step.statement));
    }
    run(
        &mut owner,
        prepare
            .iter()
            .rev()
            .filter_map(|step| step.reverse.as_ref()),
    );
    assert_eq!(everything(&shop), before);
}

#[test]
fn proof_that_was_begun_is_only_finished() {
    let shop = Shop::with(SCHEMA);
    let wanted = manifest(&shop, &json!({"shop.contact": {}}));
    let prepare = of_phase(&plan(&mut shop.owner(), &wanted), "prepare");
    run(&mut shop.owner(), [&prepare[0].statement]);
    assert_eq!(proofs(&shop), ["shop.contact|f"]);
    let rest = of_phase(&plan(&mut shop.owner(), &wanted), "prepare");
    assert_eq!(rest, prepare[1..]);
}

#[test]
fn another_constraint_of_that_name_proves_nothing() {
    let shop = Shop::with(&format!(
        "{SCHEMA};
         INSERT INTO shop.contact (id) VALUES (1);
         ALTER TABLE shop.contact ADD CONSTRAINT tenant_guard_account_not_null CHECK (id IS NOT NULL)"
    ));
    let wanted = manifest(&shop, &json!({"shop.contact": {}}));
    expect_error(
        call(&mut shop.owner(), &wanted, false),
        "23502",
        "manifest $['relations']['shop.contact']: column \"account_id\" has null values: 1 in \
         shop.contact",
    );
}

#[test]
fn row_without_an_account_stops_the_preparation() {
    let shop = Shop::with(SCHEMA);
    let wanted = manifest(&shop, &json!({"shop.contact": {}}));
    let prepare = of_phase(&plan(&mut shop.owner(), &wanted), "prepare");
    let mut owner = shop.owner();
    owner
        .batch_execute("INSERT INTO shop.contact (id) VALUES (1)")
        .unwrap();
    owner.batch_execute(&prepare[0].statement).unwrap();
    let error = owner.batch_execute(&prepare[1].statement).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "23514");
}
