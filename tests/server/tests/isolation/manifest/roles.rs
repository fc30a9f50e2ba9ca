//! Roles of the product and their permissions in a manifest.

use tenant_guard_tests::{ACCOUNT_A, expect_error, lines};

use super::*;

fn agents() -> Value {
    json!({
        "shop.account": {"account_column": "id"},
        "shop.contact": {"permissions": [
            {"role": "agent", "commands": ["select"], "scope": "own", "owner_column": "owner",
             "columns": ["account_id", "id", "name", "owner"]},
            {"role": "agent", "commands": ["update"], "scope": "assigned", "assigned_column": "team"},
            {"role": "manager", "commands": ["all"]},
        ]},
        "shop.note": {"via": "contact_id", "permissions": [
            {"role": "agent", "commands": ["select"], "scope": "via", "via": "contact_id"},
            {"role": "manager", "commands": ["select", "insert"]},
        ]},
    })
}

fn with_roles(shop: &Shop, relations: &Value) -> Value {
    let mut manifest = manifest(shop, relations);
    manifest["roles"] = json!({
        "agent": {}, "manager": {"inherits": ["agent"], "assurance": "aal2"}
    });
    manifest
}

#[test]
fn roles_come_and_go_with_the_manifest() {
    let shop = Shop::with(SCHEMA);
    let (before, nothing) = (everything(&shop), export(&mut shop.owner()));
    let mut owner = shop.owner();
    let wanted = with_roles(&shop, &agents());
    let steps = apply(&mut owner, &wanted);
    assert_eq!(export(&mut owner), wanted);
    assert_eq!(drift(&shop, "DISTINCT state"), ["pending"]);
    assert_eq!(of_phase(&apply(&mut owner, &wanted), "apply"), []);
    let after: Vec<_> = of_phase(&steps, "after")
        .into_iter()
        .map(|step| step.statement)
        .collect();
    assert_eq!(
        after,
        [
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS \"tenant_guard_contact_account_id_owner\" ON \
             \"shop\".\"contact\" (\"account_id\", \"owner\")",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS \"tenant_guard_note_contact_id\" ON \
             \"shop\".\"note\" (\"contact_id\")",
        ]
    );
    let back = apply(&mut owner, &nothing);
    assert_eq!(everything(&shop), before);
    assert_eq!(of_phase(&back, "after"), []);
    let left = "SELECT name FROM tenant_guard.product_role";
    assert_eq!(lines(&mut shop.db.superuser(), left), [] as [&str; 0]);
}

#[test]
fn changed_permissions_are_taken_back_by_their_reverse() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    let first = with_roles(&shop, &agents());
    apply(&mut owner, &first);
    let mut second = first.clone();
    second["roles"] = json!({"agent": {"inherits": ["clerk"]}, "clerk": {"assurance": "aal1"}});
    second["relations"]["shop.contact"]["permissions"] = json!([
        {"role": "agent", "commands": ["select", "update"], "scope": "own", "owner_column": "owner"},
        {"role": "clerk", "commands": ["insert"]},
    ]);
    second["relations"]
        .as_object_mut()
        .unwrap()
        .remove("shop.note");
    let steps = of_phase(&apply(&mut owner, &second), "apply");
    assert_eq!(export(&mut owner), second);
    let reverses: Vec<_> = steps
        .iter()
        .rev()
        .filter_map(|step| step.reverse.clone())
        .collect();
    run(&mut owner, &reverses);
    assert_eq!(export(&mut owner), first);
    assert_eq!(drift(&shop, "DISTINCT state"), ["pending"]);
}

#[test]
fn agent_sees_own_rows_only() {
    let shop = Shop::with(&format!(
        "{SCHEMA};
         INSERT INTO shop.contact (id, account_id, owner)
             VALUES (1, '{ACCOUNT_A}', 'tester'), (2, '{ACCOUNT_A}', 'somebody');
         INSERT INTO shop.note (id, contact_id) VALUES (10, 1), (20, 2)"
    ));
    apply(&mut shop.owner(), &with_roles(&shop, &agents()));
    let mut claims = shop.issuer.claims(ACCOUNT_A);
    claims["roles"] = json!(["agent"]);
    let token = shop.issuer.sign(&claims);
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    transaction
        .execute("SELECT tenant_guard.authenticate($1)", &[&token])
        .unwrap();
    assert_eq!(
        lines(&mut transaction, "SELECT id FROM shop.contact"),
        ["1"]
    );
    assert_eq!(lines(&mut transaction, "SELECT id FROM shop.note"), ["10"]);
}

#[test]
fn altered_permission_policy_is_drift() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    apply(&mut owner, &with_roles(&shop, &agents()));
    let mut superuser = shop.db.superuser();
    let _ = superuser.batch_execute("SET tenant_guard.guards = off");
    superuser
        .batch_execute("ALTER POLICY tenant_guard_select ON shop.contact USING (true)")
        .unwrap();
    assert_eq!(
        drift(&shop, "object, state, split_part(detail, ':', 1)")[0],
        "shop.contact|drift|a policy was altered"
    );
    run(
        &mut owner,
        &drift(
            &shop,
            "DISTINCT CASE WHEN state = 'drift' THEN statement ELSE 'SELECT' END",
        ),
    );
    assert_eq!(drift(&shop, "DISTINCT state"), ["pending"]);
}

/// Refused at this place, and nothing has changed.
fn refused(permission: Value, sqlstate: &str, message: &str) {
    let shop = Shop::with(SCHEMA);
    let before = everything(&shop);
    let relation = json!({"shop.contact": {"permissions": [permission]}});
    let wanted = with_roles(&shop, &relation);
    expect_error(call(&mut shop.owner(), &wanted, false), sqlstate, message);
    assert_eq!(everything(&shop), before);
}

#[test]
fn scope_whose_column_is_missing() {
    refused(
        json!({"role": "agent", "commands": ["select"], "scope": "own", "owner_column": "boss"}),
        "42703",
        "manifest $['relations']['shop.contact']['permissions'][0]['owner_column']: column \"boss\" of \
         relation shop.contact does not exist",
    );
}

#[test]
fn scope_whose_table_is_missing() {
    refused(
        json!({"role": "agent", "commands": ["select"], "scope": "assigned",
            "assignment": "shop.nothing", "assignment_key": "a", "assignment_subject": "b"}),
        "42P01",
        "manifest $['relations']['shop.contact']['permissions'][0]['assignment']: relation shop.nothing \
         does not exist",
    );
}

#[test]
fn permission_of_a_role_that_is_not_defined() {
    refused(
        json!({"role": "boss", "commands": ["select"]}),
        "42704",
        "manifest $['relations']['shop.contact']['permissions'][0]['role']: role \"boss\" is not defined \
         in the manifest",
    );
}

#[test]
fn column_of_a_permission_that_is_missing() {
    refused(
        json!({"role": "agent", "commands": ["select"], "columns": ["colour"]}),
        "42703",
        "manifest $['relations']['shop.contact']['permissions'][0]['columns']: column \"colour\" of \
         relation shop.contact does not exist",
    );
}

#[test]
fn cyclic_inheritance() {
    let shop = Shop::with(SCHEMA);
    let mut wanted = manifest(&shop, &json!({}));
    wanted["roles"] = json!({"a": {"inherits": ["b"]}, "b": {"inherits": ["a"]}});
    expect_error(
        call(&mut shop.owner(), &wanted, false),
        "22023",
        "manifest $['roles']['a']['inherits']: role inherits itself: a > b > a",
    );
}
