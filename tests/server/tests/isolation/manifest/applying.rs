//! What a plan prints is what apply does, once.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, lines};

use super::*;

#[test]
fn plan_run_by_hand_gives_what_apply_gives() {
    let (by_hand, applied) = (Shop::with(SCHEMA), Shop::with(SCHEMA));
    let steps = plan(&mut by_hand.owner(), &manifest(&by_hand, &relations()));
    run(
        &mut by_hand.owner(),
        steps.iter().map(|step| &step.statement),
    );

    let done = apply(&mut applied.owner(), &manifest(&applied, &relations()));
    assert_eq!(of_phase(&done, "prepare"), []);
    assert_eq!(of_phase(&done, "apply"), of_phase(&steps, "apply"));
    assert_eq!(of_phase(&done, "after"), of_phase(&steps, "after"));
    run(
        &mut applied.owner(),
        of_phase(&done, "after").iter().map(|step| &step.statement),
    );

    assert_eq!(everything(&by_hand), everything(&applied));
    for shop in [&by_hand, &applied] {
        assert_eq!(drift(shop, "object, state, detail"), [] as [&str; 0]);
        assert_eq!(plan(&mut shop.owner(), &manifest(shop, &relations())), []);
    }
}

#[test]
fn dry_run_changes_nothing_and_waits_for_nobody() {
    let shop = Shop::with(SCHEMA);
    let before = everything(&shop);
    let mut writer = shop.owner();
    let mut writing = writer.transaction().unwrap();
    writing
        .batch_execute(
            "INSERT INTO shop.country VALUES ('de'); LOCK TABLE shop.contact IN SHARE MODE",
        )
        .unwrap();
    let mut owner = shop.owner();
    owner.batch_execute("SET lock_timeout = '2s'").unwrap();
    assert!(!plan(&mut owner, &manifest(&shop, &relations())).is_empty());
    writing.rollback().unwrap();
    assert_eq!(everything(&shop), before);
}

#[test]
fn applied_manifest_isolates_accounts() {
    let shop = Shop::with(&format!(
        "{SCHEMA};
         INSERT INTO shop.contact (id, account_id) VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
         INSERT INTO shop.note (id, contact_id) VALUES (10, 1), (20, 2);
         INSERT INTO shop.comment VALUES (100, 'note', 10), (200, 'note', 20);
         INSERT INTO shop.message VALUES ('{ACCOUNT_A}', '2025-02-01'), ('{ACCOUNT_B}', '2024-02-01');
         INSERT INTO shop.country VALUES ('de')"
    ));
    apply(&mut shop.owner(), &manifest(&shop, &relations()));
    let seen = shop.within(ACCOUNT_A, |t| {
        lines(
            t,
            "SELECT id::text FROM shop.contact UNION ALL SELECT id::text FROM shop.note
             UNION ALL SELECT id::text FROM shop.comment UNION ALL SELECT at::text FROM shop.message
             UNION ALL SELECT code FROM shop.country",
        )
    });
    assert_eq!(seen, ["1", "10", "100", "2025-02-01", "de"]);
}

#[test]
fn export_of_what_was_applied_is_the_manifest() {
    let shop = Shop::with(SCHEMA);
    let wanted = manifest(&shop, &relations());
    apply(&mut shop.owner(), &wanted);
    let exported = export(&mut shop.owner());
    assert_eq!(exported, wanted);
    assert_eq!(of_phase(&apply(&mut shop.owner(), &exported), "apply"), []);
}

#[test]
fn only_differences_are_applied() {
    let shop = Shop::with(SCHEMA);
    apply(&mut shop.owner(), &manifest(&shop, &relations()));
    let mut changed = relations();
    changed["shop.contact"] = serde_json::json!({"index": false});
    changed["shop.template"] = serde_json::json!({"archetype": "shared_defaults"});
    changed.as_object_mut().unwrap().remove("shop.party");
    let steps = apply(&mut shop.owner(), &manifest(&shop, &changed));
    let statements: Vec<_> = of_phase(&steps, "apply")
        .into_iter()
        .map(|step| step.statement)
        .collect();
    assert_eq!(
        statements,
        [
            "SELECT tenant_guard.protect('shop.contact')",
            "SELECT tenant_guard.annotate('shop.contact', index => false)",
            "SELECT tenant_guard.require_assurance('shop.contact', NULL, '{delete}')",
            "SELECT tenant_guard.protect('shop.template', archetype => 'shared_defaults')",
            "SELECT tenant_guard.unprotect('shop.party')",
        ]
    );
    assert_eq!(export(&mut shop.owner()), manifest(&shop, &changed));
}

#[test]
fn schemas_are_governed_and_given_back() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    let before = export(&mut owner);
    let mut wanted = manifest(&shop, &json!({"shop.contact": {"index": false}}));
    wanted["governed_schemas"] = json!({"shop": {"redact": ["secret"]}});
    apply(&mut owner, &wanted);
    assert_eq!(export(&mut owner), wanted);
    owner
        .batch_execute("CREATE TABLE shop.later (account_id uuid, secret text)")
        .unwrap();
    assert_eq!(
        export(&mut owner)["relations"]["shop.later"],
        json!({"redact": ["secret"]})
    );
    apply(&mut owner, &before);
    assert_eq!(export(&mut owner), before);
}

#[test]
fn audit_lists_account_rows_and_paths_are_applied_and_taken_back() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    let before = export(&mut owner);
    let mut wanted = manifest(
        &shop,
        &json!({"shop.contact": {
            "redact": ["secret"],
            "index": false,
            "account_row": true,
            "paths": {"name": "{account}/*", "owner": "files/{account}"},
        }}),
    );
    wanted["audited"] = json!({
        "shop.contact": {"exclude": ["team"], "hash": ["owner"], "skip_unchanged": true},
        "shop.country": {"include": ["code"], "truncate_rows": true},
        "shop.message": {},
    });
    let steps = apply(&mut owner, &wanted);
    assert_eq!(export(&mut owner), wanted);
    assert_eq!(of_phase(&plan(&mut owner, &wanted), "apply"), []);
    assert_eq!(drift(&shop, "object, detail"), [""; 0]);
    let captured = "SELECT tgrelid::regclass FROM pg_trigger
                    WHERE tgname = 'tenant_guard_capture' AND tgparentid = 0 ORDER BY tgrelid::regclass::text";
    assert_eq!(
        lines(&mut shop.db.superuser(), captured),
        ["shop.contact", "shop.country", "shop.message"]
    );
    // Each line has the one that takes it back.
    let back = of_phase(&steps, "apply").into_iter().rev();
    let back: Vec<_> = back.filter_map(|step| step.reverse).collect();
    run(&mut owner, &back);
    assert_eq!(export(&mut owner), before);

    apply(&mut owner, &wanted);
    let mut changed = wanted.clone();
    changed["audited"] = json!({"shop.message": {"exclude": ["at"]}});
    changed["relations"]["shop.contact"]["paths"] = json!({"name": "{account}"});
    apply(&mut owner, &changed);
    assert_eq!(export(&mut owner), changed);
    apply(&mut owner, &before);
    assert_eq!(export(&mut owner), before);
}

#[test]
fn reads_readers_of_the_log_and_personal_columns_are_applied_and_taken_back() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    let before = everything(&shop);
    let empty = export(&mut owner);
    let mut wanted = manifest(&shop, &json!({"shop.contact": {"personal": ["name"]}}));
    wanted["roles"]["reader"] = json!({"reads_log": true});
    wanted["audited"] = json!({
        "shop.contact": {"hash": ["owner"]},
        "shop.country": {},
        "shop.account": {"hash": ["name"]},
    });
    wanted["audited_reads"] = json!(["shop.contact", "shop.country"]);
    let steps = apply(&mut owner, &wanted);
    assert_eq!(export(&mut owner), wanted);
    assert_eq!(of_phase(&plan(&mut owner, &wanted), "apply"), []);
    let declared = "SELECT 'reads', relation::text FROM tenant_guard.read_audit \
         UNION ALL SELECT 'reader', role FROM tenant_guard.log_reader \
         UNION ALL SELECT 'personal', relation || ' ' || personal::text FROM tenant_guard.annotation ORDER BY 1, 2";
    assert_eq!(
        lines(&mut shop.db.superuser(), declared),
        [
            "personal|shop.contact {name}",
            "reader|reader",
            "reads|shop.contact",
            "reads|shop.country"
        ]
    );
    let back = backwards(&of_phase(&steps, "apply"));
    run(&mut owner, &back);
    assert_eq!(everything(&shop), before);

    // What was protected is audited alone, and what was hashed is personal.
    apply(&mut owner, &wanted);
    let first = everything(&shop);
    let mut other = wanted.clone();
    other["relations"] = json!({});
    other["roles"]["reader"] = json!({});
    other["audited"] = json!({
        "shop.contact": {"hash": ["owner"], "personal": ["name"]},
        "shop.account": {"personal": ["name"]},
    });
    other["audited_reads"] = json!(["shop.contact"]);
    let steps = apply(&mut owner, &other);
    assert_eq!(export(&mut owner), other);
    assert_eq!(
        lines(&mut shop.db.superuser(), declared),
        [
            "personal|shop.account {name}",
            "personal|shop.contact {name}",
            "reads|shop.contact"
        ]
    );
    run(&mut owner, &backwards(&of_phase(&steps, "apply")));
    assert_eq!(everything(&shop), first);
    apply(&mut owner, &empty);
    assert_eq!(everything(&shop), before);
}

#[test]
fn apply_leaves_an_event() {
    let shop = Shop::with(SCHEMA);
    let steps = apply(&mut shop.owner(), &manifest(&shop, &relations()));
    let events = lines(
        &mut shop.db.superuser(),
        "SELECT kind, data FROM tenant_guard.audit_log WHERE action = 'apply_manifest'",
    );
    let count = of_phase(&steps, "apply").len();
    assert_eq!(events, [format!("system|{{\"steps\":{count}}}")]);
}

#[test]
fn unprotect_by_hand_forgets_what_was_declared_of_columns() {
    let shop = Shop::with(SCHEMA);
    let only = serde_json::json!({"shop.contact": {"personal": ["name"]}});
    apply(&mut shop.owner(), &manifest(&shop, &only));
    shop.owner()
        .batch_execute("SELECT tenant_guard.unprotect('shop.contact')")
        .unwrap();
    let left = lines(
        &mut shop.db.superuser(),
        "SELECT * FROM tenant_guard.annotation",
    );
    assert_eq!(left, [] as [&str; 0]);
}
