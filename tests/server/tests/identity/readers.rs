//! What the readers return.

use serde_json::json;
use tenant_guard_tests::{expect_error, lines};

use super::{ACME, Fixture, notes, run};

#[test]
fn account_of_another_shape_than_the_column_is_an_error() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    fixture.issuer.sign_in(&mut client, "007");
    expect_error(
        client.simple_query("SELECT id FROM note"),
        "22P02",
        "account of the current identity is not of type uuid",
    );
    run(&mut client, "ROLLBACK; BEGIN");
    fixture.issuer.sign_in(&mut client, "007");
    let refused = client.simple_query("SELECT tenant_guard.account_id_bigint()");
    expect_error(
        refused,
        "22P02",
        "account of the current identity is not of type bigint",
    );
    run(&mut client, "ROLLBACK; BEGIN");
    fixture.issuer.sign_in(&mut client, "007");
    assert_eq!(
        lines(&mut client, "SELECT tenant_guard.account_id_text()"),
        ["007"]
    );
    let refused = client.simple_query("SELECT tenant_guard.user_id()");
    expect_error(
        refused,
        "22P02",
        "subject of the current identity is not of type uuid",
    );
}

#[test]
fn readers_return_what_the_token_says() {
    let fixture = Fixture::new();
    let mut claims = fixture
        .issuer
        .claims("00000000-0000-0000-0000-00000000000A");
    claims["sub"] = json!("11111111-2222-3333-4444-555555555555");
    claims["roles"] = json!(["owner", "agent"]);
    claims["sid"] = json!("session-1");
    claims["nested"] = json!({"level": 12_345_678_901_234_567_890_u64, "name": "x"});
    let token = fixture.issuer.sign(&claims);
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    let exp = claims["exp"].to_string();
    let returned = client
        .query_one("SELECT tenant_guard.authenticate($1)->>'exp'", &[&token])
        .expect("the token is valid");
    assert_eq!(returned.get::<_, String>(0), exp);
    let rows = lines(
        &mut client,
        "SELECT tenant_guard.account_id(), tenant_guard.account_id_text(), tenant_guard.subject(),
                tenant_guard.user_id(), tenant_guard.roles(), tenant_guard.has_role('agent'),
                tenant_guard.has_role('admin'), tenant_guard.session_id(),
                tenant_guard.claim('nested', 'level'), tenant_guard.claim('nested', 'missing'),
                tenant_guard.claims() #>> '{nested,level}', tenant_guard.is_authenticated()",
    );
    assert_eq!(
        rows,
        [format!(
            "{ACME}|{ACME}|11111111-2222-3333-4444-555555555555|\
             11111111-2222-3333-4444-555555555555|{{owner,agent}}|t|f|session-1|\
             12345678901234567890|<null>|12345678901234567890|t"
        )]
    );
}

#[test]
fn missing_identity_may_be_empty_instead_of_an_error() {
    let fixture = Fixture::new();
    run(
        &mut fixture.db.superuser(),
        &format!(
            "ALTER ROLE {} SET tenant_guard.on_missing_identity = 'empty'",
            fixture.app
        ),
    );
    let mut client = fixture.session();
    assert_eq!(
        lines(&mut client, "SELECT tenant_guard.account_id()"),
        ["<null>"]
    );
    assert_eq!(notes(&mut client), [""; 0]);
    run(&mut client, "BEGIN");
    fixture.issuer.sign_in(&mut client, ACME);
    assert_eq!(notes(&mut client), ["1", "2"]);
}
