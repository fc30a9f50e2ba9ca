//! How long an identity lasts, and that a transaction has one account.

use serde_json::json;
use tenant_guard_tests::{Database, Issuer, await_lines, expect_error, lines};

use super::{ACME, BETA, Fixture, NO_IDENTITY, expect_no_identity, notes, run};

#[test]
fn one_pooled_session_serves_each_transaction_its_own_account() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    fixture.issuer.sign_in(&mut client, ACME);
    assert_eq!(notes(&mut client), ["1", "2"]);
    run(&mut client, "COMMIT");
    expect_no_identity(&mut client);
    run(&mut client, "BEGIN");
    fixture.issuer.sign_in(&mut client, BETA);
    assert_eq!(notes(&mut client), ["3"]);
    run(&mut client, "COMMIT");
}

#[test]
fn nothing_outlives_commit_rollback_or_reset() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    for end in [
        "COMMIT",
        "ROLLBACK",
        "COMMIT AND CHAIN",
        "ROLLBACK AND CHAIN",
    ] {
        run(&mut client, "BEGIN");
        fixture.issuer.sign_in(&mut client, ACME);
        run(&mut client, end);
        assert_eq!(
            lines(&mut client, "SELECT tenant_guard.is_authenticated()"),
            ["f"],
            "{end}"
        );
        expect_error(
            client.simple_query("SELECT id FROM note"),
            "28000",
            NO_IDENTITY,
        );
        run(&mut client, "ROLLBACK");
    }
    for end in ["RESET ALL", "SELECT tenant_guard.sign_out()"] {
        run(&mut client, "BEGIN");
        fixture.issuer.sign_in(&mut client, ACME);
        run(&mut client, end);
        assert_eq!(
            lines(&mut client, "SELECT tenant_guard.is_authenticated()"),
            ["f"],
            "{end}"
        );
        run(&mut client, "ROLLBACK");
    }
    run(&mut client, "DISCARD ALL");
    expect_no_identity(&mut client);
}

#[test]
fn rollback_to_a_savepoint_takes_the_identity_back() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN; SAVEPOINT before");
    fixture.issuer.sign_in(&mut client, ACME);
    run(&mut client, "ROLLBACK TO before");
    assert_eq!(
        lines(&mut client, "SELECT tenant_guard.is_authenticated()"),
        ["f"]
    );
    fixture.issuer.sign_in(&mut client, ACME);
    run(
        &mut client,
        "SAVEPOINT after; SELECT tenant_guard.sign_out(); ROLLBACK TO after",
    );
    assert_eq!(notes(&mut client), ["1", "2"]);
    run(&mut client, "COMMIT");
}

#[test]
fn second_account_in_one_transaction_is_refused() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    let second = fixture.issuer.token(BETA);
    for between in [
        "SELECT 1",
        "RESET ALL",
        "SELECT tenant_guard.sign_out()",
        "ROLLBACK TO start",
        "RELEASE start",
        "DECLARE open CURSOR FOR SELECT id FROM note; FETCH open; RESET ALL",
    ] {
        run(&mut client, "BEGIN; SAVEPOINT start");
        fixture.issuer.sign_in(&mut client, ACME);
        run(&mut client, between);
        let refused = client.query("SELECT tenant_guard.authenticate($1)", &[&second]);
        expect_error(
            refused,
            "55000",
            "this transaction is bound to another account",
        );
        run(&mut client, "ROLLBACK");
    }
}

#[test]
fn same_account_may_sign_in_again() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    fixture.issuer.sign_in(&mut client, ACME);
    run(&mut client, "RESET ALL");
    fixture.issuer.sign_in(&mut client, ACME);
    assert_eq!(notes(&mut client), ["1", "2"]);
    run(&mut client, "ROLLBACK");
}

#[test]
fn token_met_again_returns_its_own_claims() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    let tokens = ["first", "second"].map(|id| {
        let mut claims = fixture.issuer.claims(ACME);
        claims["jti"] = id.into();
        (fixture.issuer.sign(&claims), claims)
    });
    for (token, claims) in tokens.iter().cycle().take(6) {
        let mut transaction = client.transaction().unwrap();
        let row = transaction
            .query_one("SELECT tenant_guard.authenticate($1)", &[token])
            .unwrap();
        assert_eq!(row.get::<_, serde_json::Value>(0), *claims);
        transaction.commit().unwrap();
    }
}

#[test]
fn holdable_cursor_keeps_another_account_out() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    fixture.issuer.sign_in(&mut client, ACME);
    run(
        &mut client,
        "DECLARE held CURSOR WITH HOLD FOR SELECT id FROM note ORDER BY id; COMMIT",
    );
    run(&mut client, "BEGIN");
    let second = fixture.issuer.token(BETA);
    let refused = client.query("SELECT tenant_guard.authenticate($1)", &[&second]);
    expect_error(
        refused,
        "55000",
        "a holdable cursor of another account is open",
    );
    run(&mut client, "ROLLBACK; BEGIN");
    fixture.issuer.sign_in(&mut client, ACME);
    assert_eq!(lines(&mut client, "FETCH ALL held"), ["1", "2"]);
    run(&mut client, "COMMIT; CLOSE held; BEGIN");
    fixture.issuer.sign_in(&mut client, BETA);
    assert_eq!(notes(&mut client), ["3"]);
    run(&mut client, "COMMIT");
}

#[test]
fn refused_token_leaves_the_transaction_without_identity() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN; SAVEPOINT s");
    let refused = client.query("SELECT tenant_guard.authenticate('x.y.z')", &[]);
    expect_error(refused, "28000", "token is malformed");
    run(&mut client, "ROLLBACK TO s");
    fixture.issuer.sign_in(&mut client, BETA);
    assert_eq!(notes(&mut client), ["3"]);
}

#[test]
fn expiry_is_judged_at_every_statement() {
    let db = Database::new();
    let issuer = Issuer::eddsa("https://short.test");
    let app = db.role("app");
    db.superuser()
        .execute(
            "SELECT tenant_guard.add_issuer($1, $2, leeway => '0')",
            &[&issuer.name(), &issuer.jwks()],
        )
        .expect("the issuer is sound");
    let mut client = db.connect_as(&app);
    let now = lines(
        &mut client,
        "SELECT floor(extract(epoch FROM clock_timestamp()))::bigint",
    );
    let mut claims = issuer.claims(ACME);
    claims["exp"] = json!(now[0].parse::<i64>().expect("a number") + 5);
    let token = issuer.sign(&claims);
    run(&mut client, "BEGIN");
    client
        .execute("SELECT tenant_guard.authenticate($1)", &[&token])
        .expect("still valid");
    assert_eq!(
        lines(&mut client, "SELECT tenant_guard.is_authenticated()"),
        ["t"]
    );
    await_lines(
        &mut client,
        "SELECT tenant_guard.is_authenticated()",
        &["f"],
    );
    let refused = client.simple_query("SELECT tenant_guard.account_id()");
    expect_error(
        refused,
        "28000",
        "the identity of this transaction has expired",
    );
    run(&mut client, "ROLLBACK; BEGIN");
    // The very token this session has verified before.
    let refused = client.execute("SELECT tenant_guard.authenticate($1)", &[&token]);
    expect_error(refused, "28000", "token has expired");
}

#[test]
fn session_identity_is_off_and_never_inside_a_block() {
    let fixture = Fixture::new();
    let authenticate = "SELECT tenant_guard.authenticate($1, is_local => false)";
    let (acme, beta) = (fixture.issuer.token(ACME), fixture.issuer.token(BETA));
    let mut client = fixture.session();
    let refused = client.execute(authenticate, &[&acme]);
    expect_error(refused, "55000", "session identity is not allowed");
    expect_no_identity(&mut client);

    run(
        &mut fixture.db.superuser(),
        &format!(
            "ALTER ROLE {} SET tenant_guard.allow_session_identity = on",
            fixture.app
        ),
    );
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    let refused = client.execute(authenticate, &[&acme]);
    expect_error(
        refused,
        "55000",
        "session identity cannot be bound inside a transaction block",
    );
    run(&mut client, "ROLLBACK");
    client
        .execute(authenticate, &[&acme])
        .expect("allowed for this role");
    assert_eq!(notes(&mut client), ["1", "2"]);
    let refused = client.execute(authenticate, &[&beta]);
    expect_error(
        refused,
        "55000",
        "this transaction is bound to another account",
    );
    run(&mut client, "BEGIN; RESET ALL");
    let refused = client.execute("SELECT tenant_guard.authenticate($1)", &[&beta]);
    expect_error(
        refused,
        "55000",
        "this transaction is bound to another account",
    );
    run(&mut client, "ROLLBACK; SELECT tenant_guard.sign_out()");
    client
        .execute(authenticate, &[&beta])
        .expect("nobody is signed in");
    assert_eq!(notes(&mut client), ["3"]);
    run(&mut client, "DISCARD ALL");
    expect_no_identity(&mut client);
}

#[test]
fn local_identity_outside_a_block_warns() {
    let fixture = Fixture::new();
    let (mut client, notices) = fixture.db.connect_with_notices(&fixture.app);
    fixture.issuer.sign_in(&mut client, ACME);
    assert_eq!(
        notices.take(),
        ["25P01: authenticate with is_local can only be used in transaction blocks"]
    );
    expect_no_identity(&mut client);
}

#[test]
fn parallel_workers_see_exactly_the_account() {
    let fixture = Fixture::new();
    run(
        &mut fixture.db.superuser(),
        &format!(
            "CREATE TABLE big (id int, account_id uuid NOT NULL, filler text);
             INSERT INTO big SELECT n, CASE n % 4 WHEN 0 THEN '{ACME}'::uuid ELSE '{BETA}' END,
                 repeat('x', 200) FROM generate_series(1, 40000) AS n;
             ALTER TABLE big ENABLE ROW LEVEL SECURITY;
             ALTER TABLE big FORCE ROW LEVEL SECURITY;
             CREATE POLICY account ON big USING (account_id = tenant_guard.account_id());
             GRANT SELECT ON big TO {};
             ANALYZE big;",
            fixture.app
        ),
    );
    let mut client = fixture.session();
    run(
        &mut client,
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
         SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
         SET parallel_leader_participation = off; BEGIN",
    );
    fixture.issuer.sign_in(&mut client, ACME);
    let plan = lines(
        &mut client,
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
         SELECT id FROM big WHERE filler IS NOT NULL",
    );
    let at = |text: &str| plan.iter().position(|line| line.contains(text));
    assert!(at("Workers Launched: 2").is_some(), "{plan:#?}");
    assert!(
        at("account_id = tenant_guard.account_id()") > at("Parallel Seq Scan"),
        "{plan:#?}"
    );
    assert!(at("Parallel Seq Scan") > at("Gather"), "{plan:#?}");
    assert_eq!(
        lines(
            &mut client,
            "SELECT count(*), min(id % 4), max(id % 4) FROM big"
        ),
        ["10000|0|0"]
    );
}
