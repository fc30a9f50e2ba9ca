//! Indexes come after the transaction, and until they are there they are pending, never drift.

use super::*;

fn indexes(shop: &Shop) -> Vec<String> {
    lines(
        &mut shop.db.superuser(),
        "SELECT c.relname, x.indisvalid FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
         WHERE c.relname LIKE 'tenant\\_guard\\_%' AND c.relnamespace = 'shop'::regnamespace
         ORDER BY 1",
    )
}

#[test]
fn missing_indexes_are_pending_until_they_are_made() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    let steps = apply(&mut owner, &manifest(&shop, &relations()));
    let after = of_phase(&steps, "after");
    let pending = drift(&shop, "statement, state");
    let expected: Vec<_> = after
        .iter()
        .map(|step| format!("{}|pending", step.statement))
        .collect();
    assert_eq!(pending, expected);
    // One by one, in the order given; each that is made is pending no more.
    for (made, step) in after.iter().enumerate() {
        owner.batch_execute(&step.statement).unwrap();
        assert_eq!(
            drift(&shop, "state").len(),
            after.len() - made - 1,
            "{}",
            step.statement
        );
    }
    assert_eq!(
        indexes(&shop),
        [
            "tenant_guard_comment_subject_id|t",
            "tenant_guard_contact_account_id|t",
            "tenant_guard_message_1_account_id|t",
            "tenant_guard_message_2_1_account_id|t",
            "tenant_guard_message_2_account_id|t",
            "tenant_guard_message_account_id|t",
            "tenant_guard_note_contact_id|t",
            "tenant_guard_party_account_id|t",
            "tenant_guard_person_account_id|t",
            "tenant_guard_template_account_id|t",
        ]
    );
}

#[test]
fn index_that_serves_already_is_not_made_again() {
    let shop = Shop::with(
        "CREATE TABLE shop.contact (account_id uuid, id int, PRIMARY KEY (account_id, id));
         CREATE TABLE shop.partial (account_id uuid);
         CREATE INDEX ON shop.partial (account_id) WHERE account_id IS NOT NULL;
         CREATE TABLE shop.second (id int, account_id uuid);
         CREATE INDEX ON shop.second (id, account_id);
         CREATE TABLE shop.message (account_id uuid, at date) PARTITION BY RANGE (at);
         CREATE INDEX ON shop.message (account_id, at)",
    );
    let wanted = json!({
        "shop.contact": {}, "shop.partial": {}, "shop.second": {}, "shop.message": {}
    });
    let steps = apply(&mut shop.owner(), &manifest(&shop, &wanted));
    let objects: Vec<_> = of_phase(&steps, "after")
        .into_iter()
        .map(|step| step.object)
        .collect();
    assert_eq!(objects, ["shop.partial", "shop.second"]);
}

#[test]
fn build_that_failed_is_dropped_first() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    apply(&mut owner, &manifest(&shop, &json!({"shop.contact": {}})));
    owner
        .batch_execute("CREATE INDEX tenant_guard_contact_account_id ON shop.contact (account_id)")
        .unwrap();
    shop.db
        .superuser()
        .batch_execute(
            "UPDATE pg_index SET indisvalid = false
             WHERE indexrelid = 'shop.tenant_guard_contact_account_id'::regclass",
        )
        .unwrap();
    let pending = drift(&shop, "statement");
    assert_eq!(
        pending,
        [
            "DROP INDEX CONCURRENTLY IF EXISTS \"shop\".\"tenant_guard_contact_account_id\"",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS \"tenant_guard_contact_account_id\" ON \
             \"shop\".\"contact\" (\"account_id\")",
        ]
    );
    run(&mut owner, &pending);
    assert_eq!(drift(&shop, "statement"), [] as [&str; 0]);
}

#[test]
fn relation_without_index_loses_ours() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    for index in [true, false] {
        let wanted = json!({"shop.message": {"index": index}});
        let steps = apply(&mut owner, &manifest(&shop, &wanted));
        run(
            &mut owner,
            of_phase(&steps, "after").iter().map(|step| &step.statement),
        );
    }
    assert_eq!(indexes(&shop), [] as [&str; 0]);
}
