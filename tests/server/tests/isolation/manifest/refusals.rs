//! What a database does not let a manifest have: the place is named, and nothing is applied.

use postgres::error::SqlState;
use tenant_guard_tests::expect_error;

use super::*;

/// Refused in the same words as a plan and when it is applied, and nothing has changed.
fn refused(shop: &Shop, manifest: &Value, sqlstate: &str, message: &str) {
    let before = everything(shop);
    for dry_run in [true, false] {
        expect_error(
            call(&mut shop.owner(), manifest, dry_run),
            sqlstate,
            message,
        );
    }
    assert_eq!(everything(shop), before);
}

fn refused_relations(relations: Value, sqlstate: &str, message: &str) {
    let shop = Shop::with(SCHEMA);
    let manifest = manifest(&shop, &relations);
    refused(&shop, &manifest, sqlstate, message);
}

#[test]
fn manifest_of_a_newer_version() {
    let shop = Shop::empty();
    let message = "manifest $['version']: version 2 is newer than 1, the newest that is known here";
    refused(
        &shop,
        &json!({"version": 2, "shapes": []}),
        "0A000",
        message,
    );
}

#[test]
fn half_a_manifest() {
    let shop = Shop::empty();
    for missing in ["version", "issuers", "roles", "relations"] {
        let mut half = manifest(&shop, &json!({}));
        half.as_object_mut().unwrap().remove(missing);
        let message = format!("manifest $['{missing}']: is missing");
        refused(&shop, &half, "22023", &message);
    }
}

#[test]
fn null_manifest() {
    let shop = Shop::empty();
    for (call, message) in [
        ("NULL, true", "manifest must not be null"),
        ("'{}', NULL", "dry_run must not be null"),
    ] {
        let query = format!("SELECT tenant_guard.apply_manifest({call})");
        expect_error(shop.owner().batch_execute(&query), "22004", message);
    }
}

#[test]
fn unknown_relation() {
    refused_relations(
        json!({"shop.contact": {}, "shop.nothing": {}}),
        "42P01",
        "manifest $['relations']['shop.nothing']: relation shop.nothing does not exist",
    );
}

#[test]
fn every_fault_is_listed() {
    let shop = Shop::with(SCHEMA);
    let two = json!({"shop.contact": {"redact": ["colour"]}, "shop.nothing": {}});
    let error = call(&mut shop.owner(), &manifest(&shop, &two), false).unwrap_err();
    assert_eq!(
        error.as_db_error().unwrap().detail(),
        Some(
            "manifest $['relations']['shop.contact']['redact']: column \"colour\" of relation \
             shop.contact does not exist\n\
             manifest $['relations']['shop.nothing']: relation shop.nothing does not exist"
        )
    );
}

#[test]
fn view_as_a_relation() {
    refused_relations(
        json!({"shop.names": {}}),
        "42809",
        "manifest $['relations']['shop.names']: relation shop.names is a view",
    );
}

#[test]
fn partition_as_a_relation() {
    refused_relations(
        json!({"shop.message_1": {}}),
        "42809",
        "manifest $['relations']['shop.message_1']: relation shop.message_1 is a partition or child of \
         shop.message",
    );
}

#[test]
fn table_of_the_extension() {
    refused_relations(
        json!({"tenant_guard.issuer": {"account_column": "issuer"}}),
        "42809",
        "manifest $['relations']['tenant_guard.issuer']: relation tenant_guard.issuer is a system \
         catalog or a table of tenant_guard",
    );
}

#[test]
fn unknown_account_column() {
    refused_relations(
        json!({"shop.contact": {"account_column": "tenant"}}),
        "42703",
        "manifest $['relations']['shop.contact']['account_column']: column \"tenant\" of relation \
         shop.contact does not exist",
    );
}

#[test]
fn account_column_of_another_type() {
    refused_relations(
        json!({"shop.contact": {"account_column": "team"}}),
        "0A000",
        "manifest $['relations']['shop.contact']['account_column']: column \"team\" of relation \
         shop.contact is of type text[], which cannot hold an account",
    );
}

#[test]
fn uuid_beside_another_type_of_account() {
    let shop = Shop::with(SCHEMA);
    let mixed = manifest(
        &shop,
        &json!({"shop.contact": {}, "shop.note": {"account_column": "id"}}),
    );
    let error = call(&mut shop.owner(), &mixed, false);
    expect_error(
        error,
        "0A000",
        "manifest $['relations']['shop.note']: column \"id\" of relation shop.note is of another kind \
         than the account column of shop.contact",
    );
    assert_eq!(export(&mut shop.owner())["relations"], json!({}));
}

#[test]
fn unknown_parent_key() {
    refused_relations(
        json!({"shop.contact": {}, "shop.note": {"via": "parent", "parent": "shop.contact"}}),
        "42703",
        "manifest $['relations']['shop.note']['via']: column \"parent\" of relation shop.note does not \
         exist",
    );
}

#[test]
fn parent_key_without_a_foreign_key() {
    refused_relations(
        json!({"shop.contact": {}, "shop.comment": {"via": "subject_id"}}),
        "42704",
        "manifest $['relations']['shop.comment']['via']: no foreign key on column \"subject_id\" of \
         relation shop.comment names its parent",
    );
}

#[test]
fn foreign_key_to_a_parent_that_is_not_declared() {
    refused_relations(
        json!({"shop.note": {"via": "contact_id"}}),
        "22023",
        "manifest $['relations']['shop.note']['parent']: relation shop.contact is not protected by the \
         manifest",
    );
}

#[test]
fn unknown_personal_column() {
    refused_relations(
        json!({"shop.contact": {"personal": ["email"]}}),
        "42703",
        "manifest $['relations']['shop.contact']['personal']: column \"email\" of relation shop.contact \
         does not exist",
    );
}

#[test]
fn personal_key() {
    refused_relations(
        json!({"shop.contact": {"personal": ["id"]}}),
        "22023",
        "manifest $['relations']['shop.contact']['personal']: column \"id\" of relation shop.contact is \
         part of the primary key",
    );
}

#[test]
fn personal_key_by_annotate() {
    let shop = Shop::contacts();
    let mut owner = shop.owner();
    for (columns, sqlstate, message) in [
        (
            "{id}",
            "22023",
            "column \"id\" of relation shop.contact cannot be personal",
        ),
        (
            "{x}",
            "42703",
            "column \"x\" of relation shop.contact does not exist",
        ),
        ("{NULL}", "22004", "an element of personal must not be null"),
    ] {
        let query = format!("SELECT tenant_guard.annotate('shop.contact', '{columns}')");
        expect_error(owner.batch_execute(&query), sqlstate, message);
    }
    owner
        .batch_execute("CREATE VIEW shop.other AS SELECT 1 AS id")
        .unwrap();
    expect_error(
        owner.batch_execute("SELECT tenant_guard.annotate('shop.other')"),
        "42809",
        "shop.other is a view",
    );
}

#[test]
fn unknown_database_role() {
    refused_relations(
        json!({"shop.contact": {"roles": ["nobody_of_this_name"]}}),
        "42704",
        "manifest $['relations']['shop.contact']['roles']: role \"nobody_of_this_name\" of the database \
         does not exist",
    );
}

#[test]
fn unknown_table_of_memberships() {
    let shop = Shop::with(SCHEMA);
    let mut wanted = manifest(&shop, &json!({}));
    wanted["membership"] = json!({"relation": "shop.member", "subject_column": "person", "account_column": "account_id"});
    refused(
        &shop,
        &wanted,
        "42P01",
        "manifest $['membership']['relation']: relation shop.member does not exist",
    );
    wanted["membership"]["relation"] = "shop.contact".into();
    refused(
        &shop,
        &wanted,
        "42703",
        "manifest $['membership']['subject_column']: column \"person\" of relation shop.contact does \
         not exist",
    );
}

#[test]
fn unknown_schema_to_govern() {
    let shop = Shop::empty();
    let mut wanted = manifest(&shop, &json!({}));
    wanted["governed_schemas"] = json!({"nowhere": {}});
    refused(
        &shop,
        &wanted,
        "3F000",
        "manifest $['governed_schemas']['nowhere']: schema \"nowhere\" does not exist",
    );
}

#[test]
fn rows_without_an_account() {
    let shop = Shop::with(&format!(
        "{SCHEMA};
         INSERT INTO shop.contact (id) VALUES (1), (2);
         INSERT INTO shop.message (at) VALUES ('2025-01-02')"
    ));
    let mut both = manifest(&shop, &json!({"shop.contact": {}, "shop.message": {}}));
    let message = "manifest $['relations']['shop.contact']: column \"account_id\" has null values: \
                   2 in shop.contact";
    refused(&shop, &both, "23502", message);
    let error = call(&mut shop.owner(), &both, true).unwrap_err();
    assert_eq!(
        error.as_db_error().unwrap().detail(),
        Some(
            format!(
                "{message}\nmanifest $['relations']['shop.message']: column \"account_id\" has null \
                 values: 1 in shop.message_2_1"
            )
            .as_str()
        )
    );
    both["relations"] = json!({"shop.contact": {"archetype": "shared_defaults"}});
    apply(&mut shop.owner(), &both);
}

#[test]
fn table_of_somebody_else() {
    let shop = Shop::with(SCHEMA);
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute("CREATE TABLE shop.foreign_table (account_id uuid)")
        .unwrap();
    let wanted = manifest(
        &shop,
        &json!({"shop.contact": {}, "shop.foreign_table": {}}),
    );
    refused(
        &shop,
        &wanted,
        "42501",
        "manifest $['relations']['shop.foreign_table']: must be owner of relation shop.foreign_table",
    );
}

#[test]
fn caller_who_is_no_admin() {
    let shop = Shop::with(SCHEMA);
    let mut app = shop.app();
    for call in [
        "apply_manifest('{}')",
        "export_manifest()",
        "drift()",
        "annotate('shop.contact')",
    ] {
        let error = app
            .batch_execute(&format!("SELECT tenant_guard.{call}"))
            .unwrap_err();
        assert_eq!(
            error.code(),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE),
            "{call}"
        );
    }
}

#[test]
fn lock_that_is_not_had_changes_nothing_and_a_second_try_succeeds() {
    let shop = Shop::with(SCHEMA);
    let before = everything(&shop);
    let wanted = manifest(&shop, &relations());
    let mut reader = shop.owner();
    let mut reading = reader.transaction().unwrap();
    reading.batch_execute("SELECT FROM shop.party").unwrap();
    let mut owner = shop.owner();
    owner.batch_execute("SET lock_timeout = '300ms'").unwrap();
    let error = call(&mut owner, &wanted, false).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
    assert!(
        error.to_string().contains("lock")
            || error
                .as_db_error()
                .unwrap()
                .message()
                .contains("shop.party")
    );
    reading.commit().unwrap();
    assert_eq!(everything(&shop), before);
    apply(&mut owner, &wanted);
}
