//! Everything can be taken back.

use super::*;

#[test]
fn reverse_statements_give_back_the_dump_of_before() {
    let shop = Shop::with(SCHEMA);
    let before = everything(&shop);
    let steps = plan(&mut shop.owner(), &manifest(&shop, &relations()));
    let mut owner = shop.owner();
    run(&mut owner, steps.iter().map(|step| &step.statement));
    assert_ne!(everything(&shop), before);
    run(&mut owner, &backwards(&steps));
    assert_eq!(everything(&shop), before);
}

#[test]
fn manifest_of_before_gives_back_the_dump_of_before() {
    let shop = Shop::with(SCHEMA);
    let (before, exported) = (everything(&shop), export(&mut shop.owner()));
    let mut owner = shop.owner();
    let steps = apply(&mut owner, &manifest(&shop, &relations()));
    run(
        &mut owner,
        of_phase(&steps, "after").iter().map(|step| &step.statement),
    );

    let back = apply(&mut owner, &exported);
    run(
        &mut owner,
        of_phase(&back, "after").iter().map(|step| &step.statement),
    );
    assert_eq!(everything(&shop), before);
    assert_eq!(drift(&shop, "object, state, detail"), [] as [&str; 0]);
    assert_eq!(export(&mut owner), exported);
}

#[test]
fn change_of_a_change_is_taken_back_to_the_first() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    apply(&mut owner, &manifest(&shop, &relations()));
    let first = everything(&shop);
    let second = json!({
        "shop.contact": {"archetype": "public_read"},
        "shop.note": {"archetype": "deny_all"},
        "shop.template": {"personal": ["id"]},
        "shop.message": {"audit": false, "redact": ["at"]},
    });
    // A key cannot be personal: nothing is changed, and without it the rest is.
    let refused = call(&mut owner, &manifest(&shop, &second), false);
    assert!(refused.is_err());
    assert_eq!(everything(&shop), first);
    let mut second = second;
    second["shop.template"] = json!({});
    let steps = apply(&mut owner, &manifest(&shop, &second));
    run(&mut owner, &backwards(&of_phase(&steps, "apply")));
    assert_eq!(everything(&shop), first);
}

#[test]
fn whole_plan_runs_back_in_one_transaction() {
    let shop = Shop::with(SCHEMA);
    let before = everything(&shop);
    let mut owner = shop.owner();
    let steps = apply(&mut owner, &manifest(&shop, &relations()));
    let mut transaction = owner.transaction().unwrap();
    for statement in backwards(&of_phase(&steps, "apply")) {
        transaction.batch_execute(&statement).unwrap();
    }
    transaction.commit().unwrap();
    assert_eq!(everything(&shop), before);
}
