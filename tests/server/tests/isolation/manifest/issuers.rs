//! Issuers in a manifest, without their secrets.

use tenant_guard_tests::{ACCOUNT_A, Issuer, expect_error};

use super::*;

const NAME: &str = "https://issuer.example";

#[test]
fn export_has_settings_and_no_keys() {
    let shop = Shop::empty();
    shop.db
        .superuser()
        .batch_execute(
            r#"SELECT tenant_guard.add_issuer('secret', '{"keys":[{"kty":"oct",
               "k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}',
               algorithms => '{HS512,HS256}', audiences => '{b,a}', leeway => '1 min 30 s',
               max_age => '1 day', require_exp => false,
               claim_paths => '{"account": ["app", "tenant"], "subject": ["sub"]}')"#,
        )
        .unwrap();
    let exported = export(&mut shop.owner());
    assert_eq!(
        exported["issuers"]["secret"],
        json!({
            "algorithms": ["HS256", "HS512"], "audiences": ["a", "b"], "leeway": "PT1M30S",
            "max_age": "P1D", "require_exp": false, "claim_paths": {"account": ["app", "tenant"]}
        })
    );
    assert!(!exported.to_string().contains("keys"));
}

#[test]
fn issuer_is_made_altered_and_dropped_and_its_keys_stay() {
    let shop = Shop::empty();
    let mut owner = shop.owner();
    let before = export(&mut owner);
    let issuer = Issuer::es256("https://second.example");
    let mut wanted = before.clone();
    wanted["issuers"]["https://second.example"] =
        json!({"keys": issuer.jwks(), "audiences": ["nobody"]});
    let made = apply(&mut owner, &wanted);
    wanted["issuers"]["https://second.example"] = json!({"leeway": "PT1M"});
    let altered = apply(&mut owner, &wanted);
    assert_eq!(
        altered[0].statement,
        "SELECT tenant_guard.alter_issuer('https://second.example', leeway => 'PT1M')"
    );
    assert_eq!(export(&mut owner), wanted);

    let mut session = shop.db.connect_as(&shop.app);
    let mut transaction = session.transaction().unwrap();
    issuer.sign_in(&mut transaction, ACCOUNT_A);
    transaction.commit().unwrap();

    for step in [&altered[0], &made[0]] {
        owner.batch_execute(step.reverse.as_ref().unwrap()).unwrap();
    }
    assert_eq!(export(&mut owner), before);
}

#[test]
fn issuer_left_out_is_dropped_and_comes_back_with_its_public_keys() {
    let shop = Shop::empty();
    let mut owner = shop.owner();
    let mut wanted = export(&mut owner);
    wanted["issuers"] = json!({});
    let steps = apply(&mut owner, &wanted);
    assert_eq!(
        steps[0].statement,
        format!("SELECT tenant_guard.drop_issuer('{NAME}')")
    );
    owner
        .batch_execute(steps[0].reverse.as_ref().unwrap())
        .unwrap();
    shop.owner()
        .batch_execute("CREATE TABLE shop.empty (account_id uuid)")
        .unwrap();
    shop.within(ACCOUNT_A, |_| ());
}

#[test]
fn unknown_issuer_without_keys() {
    let shop = Shop::empty();
    let mut wanted = export(&mut shop.owner());
    wanted["issuers"]["new"] = json!({});
    expect_error(
        call(&mut shop.owner(), &wanted, false),
        "22023",
        "manifest $['issuers']['new']['keys']: is missing, and the issuer is not registered yet",
    );
}

#[test]
fn secret_in_a_manifest() {
    let shop = Shop::empty();
    let mut wanted = export(&mut shop.owner());
    wanted["issuers"]["new"] = json!({"keys": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}});
    let error = call(&mut shop.owner(), &wanted, true).unwrap_err();
    let text = format!("{:?}", error.as_db_error().unwrap());
    assert!(!text.contains("c2VjcmV0"), "{text}");
    expect_error(
        call(&mut shop.owner(), &wanted, false),
        "22023",
        "manifest $['issuers']['new']['keys']['keys'][0]['k']: is a secret, which a manifest must not \
         hold",
    );
}

#[test]
fn issuer_with_secrets_left_out() {
    let shop = Shop::empty();
    shop.db
        .superuser()
        .batch_execute(
            r#"SELECT tenant_guard.add_issuer('secret', '{"keys":[{"kty":"oct",
               "k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}')"#,
        )
        .unwrap();
    let mut wanted = export(&mut shop.owner());
    wanted["issuers"].as_object_mut().unwrap().remove("secret");
    expect_error(
        call(&mut shop.owner(), &wanted, false),
        "55000",
        "manifest $['issuers']['secret']: is left out, but its secret keys could not be given back: \
         drop it with drop_issuer",
    );
}

#[test]
fn settings_that_fit_no_key_by_alter_issuer() {
    let shop = Shop::empty();
    let mut owner = shop.owner();
    expect_error(
        owner.batch_execute(&format!(
            "SELECT tenant_guard.alter_issuer('{NAME}', algorithms => '{{RS256}}')"
        )),
        "22023",
        "key set has no key for any of the allowed algorithms",
    );
    expect_error(
        owner.batch_execute("SELECT tenant_guard.alter_issuer('nobody')"),
        "42704",
        "issuer \"nobody\" does not exist",
    );
    expect_error(
        owner.batch_execute(&format!(
            "SELECT tenant_guard.alter_issuer('{NAME}', leeway => '1 month')"
        )),
        "22023",
        "leeway must be a non-negative interval without months, of at most a million days",
    );
}

#[test]
fn identity_sources_are_declared_changed_and_taken_back() {
    let shop = Shop::with(
        "CREATE TABLE shop.account (id uuid PRIMARY KEY, active boolean);
         CREATE TABLE shop.member (person text, account_id uuid, role text)",
    );
    let mut owner = shop.owner();
    let before = export(&mut owner);
    let mut wanted = before.clone();
    wanted["membership"] = json!({"relation": "shop.member", "subject_column": "person",
        "account_column": "account_id", "role_column": "role"});
    wanted["account_relation"] =
        json!({"relation": "shop.account", "key_column": "id", "active_column": "active"});
    apply(&mut owner, &wanted);
    assert_eq!(export(&mut owner), wanted);
    apply(&mut owner, &before);
    assert_eq!(export(&mut owner), before);
}
