//! What stands otherwise than is registered.

use super::*;

#[test]
fn each_alteration_is_drift_and_its_statement_mends_it() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    let steps = apply(&mut owner, &manifest(&shop, &relations()));
    run(
        &mut owner,
        of_phase(&steps, "after").iter().map(|step| &step.statement),
    );
    let sound = everything(&shop);
    for (alteration, object, detail) in [
        (
            "ALTER TABLE shop.contact NO FORCE ROW LEVEL SECURITY",
            "shop.contact",
            "row security is off or not forced",
        ),
        (
            "ALTER TABLE shop.message_2_1 DISABLE ROW LEVEL SECURITY",
            "shop.message",
            "row security is off or not forced",
        ),
        (
            "DROP POLICY tenant_guard_floor ON shop.message_1",
            "shop.message",
            "a policy is missing",
        ),
        (
            "ALTER POLICY tenant_guard_access ON shop.note USING (true)",
            "shop.note",
            "a policy was altered",
        ),
        (
            "ALTER TABLE shop.contact ALTER account_id DROP DEFAULT",
            "shop.contact",
            "the default of the account column was changed",
        ),
        (
            "ALTER TABLE shop.contact ALTER account_id DROP NOT NULL",
            "shop.contact",
            "the account column may be null",
        ),
        (
            "GRANT TRUNCATE ON shop.person TO PUBLIC",
            "shop.party",
            "privileges that reach past row security were granted",
        ),
        (
            "ALTER TABLE shop.note DISABLE TRIGGER tenant_guard_capture",
            "shop.note",
            "a trigger does not fire always",
        ),
        (
            "DROP TRIGGER tenant_guard_capture_truncate ON shop.note",
            "shop.note",
            "a trigger is missing",
        ),
        (
            "DROP POLICY tenant_guard_assurance_delete ON shop.contact",
            "shop.contact",
            "a policy of assurance was altered",
        ),
    ] {
        // Past the guards, as a superuser's mistake.
        let mut superuser = shop.db.superuser();
        let _ = superuser.batch_execute("SET tenant_guard.guards = off");
        superuser.batch_execute(alteration).unwrap();
        let found = drift(&shop, "object, state, split_part(detail, ':', 1)");
        let expected = format!("{object}|drift|{detail}");
        assert!(found.contains(&expected), "{alteration}: {found:?}");
        assert_eq!(
            drift(&shop, "DISTINCT object, state"),
            [format!("{object}|drift")]
        );
        let mend = drift(&shop, "DISTINCT statement");
        run(&mut owner, &mend);
        assert_eq!(
            drift(&shop, "object, detail"),
            [] as [&str; 0],
            "{alteration}"
        );
    }
    assert_eq!(everything(&shop), sound);
}

#[test]
fn apply_of_the_same_manifest_mends_drift() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    let wanted = manifest(&shop, &relations());
    apply(&mut owner, &wanted);
    let mut superuser = shop.db.superuser();
    let _ = superuser.batch_execute("SET tenant_guard.guards = off");
    superuser
        .batch_execute("ALTER TABLE shop.note NO FORCE ROW LEVEL SECURITY")
        .unwrap();
    let steps = of_phase(&apply(&mut owner, &wanted), "apply");
    assert_eq!(
        steps,
        [Step {
            phase: "apply".into(),
            object: "shop.note".into(),
            statement: "SELECT tenant_guard.protect('shop.note', via => 'contact_id', \
                        parent => 'shop.contact')"
                .into(),
            reverse: None,
        }]
    );
    assert_eq!(drift(&shop, "DISTINCT state"), ["pending"]);
}

#[test]
fn partition_that_came_later_is_drift() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    apply(
        &mut owner,
        &manifest(&shop, &json!({"shop.message": {"index": false}})),
    );
    let mut superuser = shop.db.superuser();
    let _ = superuser.batch_execute("SET tenant_guard.guards = off");
    superuser
        .batch_execute(&format!(
            "SET ROLE {};
             CREATE TABLE shop.message_3 PARTITION OF shop.message
                 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
            shop.owner
        ))
        .unwrap();
    let found = drift(&shop, "DISTINCT split_part(detail, ':', 1)");
    assert!(
        found.contains(&"a partition or child is not protected".to_owned()),
        "{found:?}"
    );
    run(&mut owner, &drift(&shop, "DISTINCT statement"));
    assert_eq!(drift(&shop, "object, detail"), [] as [&str; 0]);
}

#[test]
fn account_column_that_is_gone_is_drift_without_a_remedy() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    apply(
        &mut owner,
        &manifest(&shop, &json!({"shop.contact": {"index": false}})),
    );
    let mut superuser = shop.db.superuser();
    let _ = superuser.batch_execute("SET tenant_guard.guards = off");
    superuser
        .batch_execute("ALTER TABLE shop.contact DROP COLUMN account_id CASCADE")
        .unwrap();
    assert_eq!(
        drift(&shop, "object, state, detail"),
        ["shop.contact|drift|column \"account_id\" of relation shop.contact does not exist"]
    );
}
