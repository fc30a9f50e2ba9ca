//! Further ways in: PostgREST's requests, jobs that act for somebody, a look at a token.

use postgres::Client;
use serde_json::json;
use tenant_guard_tests::{Database, Issuer, expect_error, lines};

use super::{ACME, run};

fn fixture() -> (Database, Issuer, String) {
    let db = Database::new();
    let issuer = Issuer::es256("https://issuer.test");
    issuer.register(&mut db.superuser());
    let app = db.role("app");
    (db, issuer, app)
}

/// What PostgREST does at the start of a request: headers, claims and role set locally, then the
/// pre-request function.
fn request(
    client: &mut Client,
    headers: &serde_json::Value,
    claims: &str,
) -> Result<(), postgres::Error> {
    run(client, "ROLLBACK; BEGIN");
    client.execute(
        "SELECT set_config('request.headers', $1, true), set_config('request.jwt.claims', $2, true)",
        &[&headers.to_string(), &claims],
    )?;
    client.batch_execute("SELECT tenant_guard.authenticate_request()")
}

#[test]
fn postgrest_request_is_bound_by_its_bearer_token() {
    let (db, issuer, app) = fixture();
    let mut client = db.connect_as(&app);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let headers =
            json!({"host": "x", "authorization": format!("{scheme} {}", issuer.token(ACME))});
        request(&mut client, &headers, "").expect("the token is valid");
        assert_eq!(
            lines(&mut client, "SELECT tenant_guard.account_id()"),
            [ACME]
        );
    }
    run(&mut client, "COMMIT");
    assert_eq!(
        lines(&mut client, "SELECT tenant_guard.is_authenticated()"),
        ["f"]
    );
}

#[test]
fn request_without_a_token_has_no_identity_whatever_its_claims_say() {
    let (db, _, app) = fixture();
    let mut client = db.connect_as(&app);
    let forged = json!({"account_id": ACME, "role": "app", "exp": 4_000_000_000_u64}).to_string();
    request(&mut client, &json!({"host": "x"}), &forged).expect("an anonymous request");
    assert_eq!(
        lines(&mut client, "SELECT tenant_guard.is_authenticated()"),
        ["f"]
    );
    run(&mut client, "ROLLBACK");
    run(&mut client, "SELECT tenant_guard.authenticate_request()");
    assert_eq!(
        lines(&mut client, "SELECT tenant_guard.is_authenticated()"),
        ["f"]
    );
}

#[test]
fn request_with_an_unusable_authorization_is_refused() {
    let (db, issuer, app) = fixture();
    let token = issuer.token(ACME);
    let mut client = db.connect_as(&app);
    for (headers, message) in [
        (
            json!({"authorization": "Basic YTpi"}),
            "no usable bearer token",
        ),
        (json!({"authorization": token}), "no usable bearer token"),
        (
            json!({"authorization": ["Bearer x"]}),
            "no usable bearer token",
        ),
        (
            json!({"authorization": "Bearer x", "Authorization": "Bearer y"}),
            "no usable bearer token",
        ),
        (json!(["authorization"]), "no usable bearer token"),
        (json!({"authorization": "Bearer "}), "token is malformed"),
        (
            json!({"authorization": format!("Bearer {token},{token}")}),
            "token is malformed",
        ),
        (
            json!({"authorization": format!("Bearer {}", Issuer::es256("https://x").token(ACME))}),
            "token names no known issuer",
        ),
    ] {
        expect_error(request(&mut client, &headers, ""), "28000", message);
    }
}

#[test]
fn headers_that_repeat_the_authorization_or_are_huge_are_refused() {
    let (db, issuer, app) = fixture();
    let bearer = format!("\"authorization\": \"Bearer {}\"", issuer.token(ACME));
    let mut client = db.connect_as(&app);
    let mut refused = |headers: &str| {
        client
            .batch_execute("ROLLBACK; BEGIN")
            .expect("a transaction can begin");
        client
            .execute(
                "SELECT set_config('request.headers', $1, true)",
                &[&headers],
            )
            .expect("anybody can set it");
        let request = client.simple_query("SELECT tenant_guard.authenticate_request()");
        expect_error(request, "28000", "no usable bearer token");
    };
    refused(&format!("{{{bearer}, {bearer}}}"));
    let filler = "x".repeat(1 << 20);
    refused(&format!("{{{bearer}, \"filler\": \"{filler}\"}}"));
}

#[test]
fn acting_for_an_account_is_granted_to_nobody_and_always_an_event() {
    let (db, _, app) = fixture();
    let mut client = db.connect_as(&app);
    let act = format!("SELECT tenant_guard.act_as('{ACME}', 'nightly', '{{ops}}', 'invoices')");
    expect_error(
        client.simple_query(&act),
        "42501",
        "permission denied for function act_as",
    );
    let admin = db.role("admin");
    let mut superuser = db.superuser();
    run(
        &mut superuser,
        &format!("GRANT tenant_guard_admin TO {admin}"),
    );
    let refused = db.connect_as(&admin).simple_query(&act);
    expect_error(refused, "42501", "permission denied for function act_as");

    run(
        &mut superuser,
        &format!(
            "GRANT EXECUTE ON FUNCTION tenant_guard.act_as(text, text, text[], text) TO {app}"
        ),
    );
    for without in ["NULL", "''", "' '"] {
        let act = format!("SELECT tenant_guard.act_as('{ACME}', 'x', reason => {without})");
        expect_error(client.simple_query(&act), "22023", "reason must say why");
    }
    run(&mut client, &format!("BEGIN; {act}"));
    assert_eq!(
        lines(
            &mut client,
            "SELECT tenant_guard.account_id(), tenant_guard.subject(), tenant_guard.roles(),
                    tenant_guard.claim('reason')"
        ),
        [format!("{ACME}|nightly|{{ops}}|invoices")]
    );
    run(&mut client, "COMMIT");
    assert_eq!(
        lines(
            &mut superuser,
            "SELECT kind, action, account_id, subject, session_role = $$APP$$, data::jsonb->>'reason'
             FROM tenant_guard.audit_event"
                .replace("APP", &app)
                .as_str()
        ),
        [format!("system|act_as|{ACME}|nightly|t|invoices")]
    );
}

#[test]
fn token_is_explained_to_administrators_only() {
    let (db, issuer, app) = fixture();
    let admin = db.role("admin");
    run(
        &mut db.superuser(),
        &format!("GRANT tenant_guard_admin TO {admin}"),
    );
    let mut client = db.connect_as(&admin);
    let mut explain = |token: &str, what: &str| {
        let query = format!("SELECT {what} FROM tenant_guard.verify_token($1) AS t");
        let row = client
            .query_one(&query, &[&token])
            .expect("explaining never fails");
        row.get::<_, Option<String>>(0)
    };
    let good = issuer.token(ACME);
    assert_eq!(explain(&good, "t->>'accepted'").as_deref(), Some("true"));
    assert_eq!(explain(&good, "t->'accounts'->>0").as_deref(), Some(ACME));
    assert_eq!(explain(&good, "t->>'algorithm'").as_deref(), Some("ES256"));
    assert_eq!(
        explain(&good, "t->>'key_id'").as_deref(),
        Some(issuer.kid())
    );
    assert_eq!(explain(&good, "t->>'reason'"), None);
    let mut claims = issuer.claims(ACME);
    claims["exp"] = json!(1_000_000_000);
    let expired = issuer.sign(&claims);
    assert_eq!(
        explain(&expired, "t->>'reason'").as_deref(),
        Some("expired")
    );
    assert_eq!(
        explain(&expired, "t->'claims'->>'exp'").as_deref(),
        Some("1000000000")
    );
    let foreign = Issuer::es256("https://x").token(ACME);
    assert_eq!(
        explain(&foreign, "t->>'reason'").as_deref(),
        Some("unknown_issuer")
    );
    assert_eq!(
        explain(&foreign, "t->>'issuer'").as_deref(),
        Some("https://x")
    );
    assert_eq!(
        explain("nonsense", "t->>'reason'").as_deref(),
        Some("malformed")
    );
    let bound = client.query_one("SELECT tenant_guard.is_authenticated()", &[]);
    assert!(!bound.expect("it never raises").get::<_, bool>(0));

    let refused = db
        .connect_as(&app)
        .execute("SELECT tenant_guard.verify_token('x')", &[]);
    expect_error(
        refused,
        "42501",
        "permission denied for function verify_token",
    );
}
