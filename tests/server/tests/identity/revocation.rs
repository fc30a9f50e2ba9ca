//! Revocation: tokens, sessions and subjects that are taken back reach every open session at its
//! next statement.

use postgres::Client;
use serde_json::{Value, json};
use tenant_guard_tests::{Database, Issuer, expect_error, lines};

use super::{ACME, run};

const REVOKED: &str = "the identity of this transaction has been revoked";
const REFUSED: &str = "token has been revoked";

struct Fixture {
    db: Database,
    issuer: Issuer,
    app: String,
}

impl Fixture {
    fn new() -> Self {
        let db = Database::new();
        let issuer = Issuer::eddsa("https://issuer.test");
        let app = db.role("app");
        issuer.register(&mut db.superuser());
        Self { db, issuer, app }
    }

    fn token(&self, changes: Value) -> String {
        let mut claims = self.issuer.claims(ACME);
        let Value::Object(changes) = changes else {
            panic!("changes are an object")
        };
        for (name, value) in changes {
            claims[name] = value;
        }
        self.issuer.sign(&claims)
    }

    /// A session whose open transaction is bound by the token.
    fn bound(&self, token: &str) -> Client {
        let mut client = self.db.connect_as(&self.app);
        run(&mut client, "BEGIN");
        client
            .execute("SELECT tenant_guard.authenticate($1)", &[&token])
            .expect("the token is valid");
        assert_eq!(
            lines(&mut client, "SELECT tenant_guard.account_id()"),
            [ACME]
        );
        client
    }

    #[track_caller]
    fn expect_refused(&self, token: &str) {
        let mut client = self.db.connect_as(&self.app);
        run(&mut client, "BEGIN");
        let refused = client.execute("SELECT tenant_guard.authenticate($1)", &[&token]);
        expect_error(refused, "28000", REFUSED);
    }
}

#[track_caller]
fn expect_revoked(client: &mut Client) {
    assert_eq!(
        lines(client, "SELECT tenant_guard.is_authenticated()"),
        ["f"]
    );
    expect_error(
        client.simple_query("SELECT tenant_guard.account_id()"),
        "28000",
        REVOKED,
    );
}

#[track_caller]
fn expect_valid(client: &mut Client) {
    assert_eq!(lines(client, "SELECT tenant_guard.account_id()"), [ACME]);
}

#[test]
fn revoked_token_ends_in_every_open_session_and_no_other_token_does() {
    let fixture = Fixture::new();
    let first = fixture.token(json!({"jti": "t1", "sid": "s1"}));
    let second = fixture.token(json!({"jti": "t2", "sid": "s1"}));
    let mut here = fixture.bound(&first);
    let mut there = fixture.bound(&first);
    let mut other = fixture.bound(&second);
    let mut by = fixture.bound(&first);
    run(&mut by, "SELECT tenant_guard.revoke_token(); COMMIT");
    expect_revoked(&mut here);
    expect_revoked(&mut there);
    expect_valid(&mut other);
    fixture.expect_refused(&first);
    run(&mut there, "ROLLBACK; BEGIN");
    // The very token this session has verified before.
    let refused = there.execute("SELECT tenant_guard.authenticate($1)", &[&first]);
    expect_error(refused, "28000", REFUSED);
}

#[test]
fn revoked_session_and_subject_end_all_their_tokens() {
    let fixture = Fixture::new();
    let at = |iat: i64, jti: &str, sid: &str, sub: &str| {
        fixture.token(json!({"jti": jti, "sid": sid, "sub": sub, "iat": iat}))
    };
    let (old, new) = (1_700_000_000, 1_700_000_100);
    let mut of_session = fixture.bound(&at(old, "a", "s1", "ann"));
    let mut of_subject = fixture.bound(&at(old, "b", "s2", "bob"));
    let mut issued_later = fixture.bound(&at(new, "c", "s3", "bob"));
    let mut undated = {
        let mut claims = fixture.issuer.claims(ACME);
        claims["sub"] = json!("bob");
        claims
            .as_object_mut()
            .expect("claims are an object")
            .remove("iat");
        fixture.bound(&fixture.issuer.sign(&claims))
    };
    let mut of_nobody = fixture.bound(&at(old, "d", "s4", "cid"));
    let admin = fixture.db.role("admin");
    run(
        &mut fixture.db.superuser(),
        &format!("GRANT tenant_guard_admin TO {admin}"),
    );
    let mut admin = fixture.db.connect_as(&admin);
    run(
        &mut admin,
        "SELECT tenant_guard.revoke_session('s1', 'https://issuer.test')",
    );
    run(
        &mut admin,
        "SELECT tenant_guard.revoke_session('s4', 'https://another.test')",
    );
    run(
        &mut admin,
        &format!("SELECT tenant_guard.revoke_subject('bob', to_timestamp({new}))"),
    );
    expect_revoked(&mut of_session);
    expect_revoked(&mut of_subject);
    expect_revoked(&mut undated);
    expect_valid(&mut issued_later);
    expect_valid(&mut of_nobody);
    assert_eq!(
        lines(
            &mut fixture.db.superuser(),
            "SELECT kind, action, data::jsonb FROM tenant_guard.audit_log ORDER BY xid"
        ),
        [
            r#"system|revoke_session|{"issuer": "https://issuer.test", "session": "s1"}"#,
            r#"system|revoke_session|{"issuer": "https://another.test", "session": "s4"}"#,
            r#"system|revoke_subject|{"issuer": null, "subject": "bob"}"#,
        ]
    );
}

#[test]
fn revocation_reaches_a_repeatable_read_transaction_and_its_prepared_plans() {
    let fixture = Fixture::new();
    run(
        &mut fixture.db.superuser(),
        &format!(
            "CREATE TABLE note (id int, account_id uuid NOT NULL);
             INSERT INTO note SELECT n, '{ACME}' FROM generate_series(1, 5000) n;
             SELECT tenant_guard.protect('note');
             GRANT SELECT ON note TO {}; ANALYZE note;",
            fixture.app
        ),
    );
    let token = fixture.token(json!({"jti": "t1"}));
    let mut client = fixture.db.connect_as(&fixture.app);
    run(
        &mut client,
        "SET plan_cache_mode = force_generic_plan; SET parallel_setup_cost = 0;
         SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
         SET parallel_leader_participation = off;
         BEGIN ISOLATION LEVEL REPEATABLE READ",
    );
    client
        .execute("SELECT tenant_guard.authenticate($1)", &[&token])
        .expect("the token is valid");
    run(&mut client, "PREPARE scan AS SELECT count(*) FROM note");
    let plan = lines(&mut client, "EXPLAIN EXECUTE scan");
    assert!(plan.iter().any(|line| line.contains("Gather")), "{plan:#?}");
    assert_eq!(lines(&mut client, "EXECUTE scan"), ["5000"]);
    let mut by = fixture.bound(&token);
    run(&mut by, "SELECT tenant_guard.revoke_token(); COMMIT");
    run(&mut client, "SAVEPOINT s");
    expect_error(client.simple_query("EXECUTE scan"), "28000", REVOKED);
    run(&mut client, "ROLLBACK TO s");
    expect_error(client.simple_query("EXECUTE scan"), "28000", REVOKED);
}

#[test]
fn revocation_that_is_rolled_back_never_was() {
    let fixture = Fixture::new();
    let token = fixture.token(json!({"jti": "t1"}));
    let mut client = fixture.bound(&token);
    run(
        &mut client,
        "SAVEPOINT s; SELECT tenant_guard.revoke_token()",
    );
    assert_eq!(
        lines(&mut client, "SELECT tenant_guard.is_authenticated()"),
        ["f"]
    );
    run(&mut client, "ROLLBACK TO s");
    expect_valid(&mut client);
    run(&mut client, "ROLLBACK");
    expect_valid(&mut fixture.bound(&token));
}

#[test]
fn only_what_a_token_has_can_be_revoked_and_only_ones_own_without_rights() {
    let fixture = Fixture::new();
    let mut client = fixture.bound(&fixture.token(json!({})));
    run(&mut client, "SAVEPOINT s");
    let refused = client.simple_query("SELECT tenant_guard.revoke_token()");
    expect_error(refused, "55000", "the token of this transaction has no id");
    run(&mut client, "ROLLBACK TO s");
    let refused = client.simple_query("SELECT tenant_guard.revoke_session()");
    expect_error(
        refused,
        "55000",
        "the token of this transaction has no session",
    );
    run(&mut client, "ROLLBACK");
    for own in ["revoke_token()", "revoke_session()", "revoke_subject()"] {
        let refused = client.simple_query(&format!("SELECT tenant_guard.{own}"));
        expect_error(refused, "28000", "no identity is bound");
    }
    for other in [
        "revoke_token('t')",
        "revoke_session('s')",
        "revoke_subject('s')",
    ] {
        let refused = client.simple_query(&format!("SELECT tenant_guard.{other}"));
        expect_error(refused, "42501", "permission denied for function");
    }
    let mut superuser = fixture.db.superuser();
    let refused = superuser.simple_query("SELECT tenant_guard.revoke_token('')");
    expect_error(refused, "22023", "what is revoked must not be empty");
    let refused = superuser.simple_query("SELECT tenant_guard.revoke_session(NULL)");
    expect_error(refused, "22004", "session must not be null");
}

#[test]
fn subject_may_sign_in_again_after_revoking_all_its_tokens() {
    let fixture = Fixture::new();
    let old = fixture.token(json!({"iat": 1_700_000_000}));
    let mut client = fixture.bound(&old);
    run(&mut client, "SELECT tenant_guard.revoke_subject(); COMMIT");
    fixture.expect_refused(&old);
    let mut superuser = fixture.db.superuser();
    let later = "SELECT extract(epoch FROM max(issued_before))::bigint + 1
                 FROM tenant_guard.revocation";
    let later: i64 = lines(&mut superuser, later)[0].parse().expect("a number");
    // Issued a second later, by a clock a little ahead of ours.
    expect_valid(&mut fixture.bound(&fixture.token(json!({"iat": later}))));
}

#[test]
fn revocations_of_tokens_that_must_have_expired_are_pruned() {
    let fixture = Fixture::new();
    let mut superuser = fixture.db.superuser();
    superuser
        .execute(
            "SELECT tenant_guard.add_issuer('https://short.test', $1, max_age => '1 hour')",
            &[&fixture.issuer.jwks()],
        )
        .expect("the issuer is sound");
    run(
        &mut superuser,
        "SELECT tenant_guard.revoke_subject('a', now() - interval '2 days', 'https://short.test');
         SELECT tenant_guard.revoke_subject('b', now() - interval '2 days', 'https://issuer.test');
         SELECT tenant_guard.revoke_token('c', 'https://short.test');
         SELECT tenant_guard.revoke_session('d', 'https://short.test');",
    );
    assert_eq!(
        lines(
            &mut superuser,
            "SELECT kind, name FROM tenant_guard.revocation ORDER BY name"
        ),
        ["subject|b", "token|c", "session|d"]
    );
}

/// Whoever holds a stolen token could revoke it in a transaction they leave open, and go on in
/// another session while the administrator's revocation waits.
#[test]
fn revocation_cannot_be_held_up_by_one_that_is_left_open() {
    let fixture = Fixture::new();
    let stolen = fixture.token(json!({"jti": "t1", "sid": "s1"}));
    let mut superuser = fixture.db.superuser();
    run(
        &mut superuser,
        "SELECT tenant_guard.init_ledger();
         INSERT INTO tenant_guard.revocation VALUES ('token', 'old', '', NULL, '2000-01-01')",
    );
    let mut open = fixture.bound(&stolen);
    run(&mut open, "SELECT tenant_guard.revoke_session()");
    let mut used = fixture.bound(&stolen);
    let name = fixture.issuer.name();
    run(
        &mut superuser,
        &format!(
            "SET lock_timeout = '5s';
             SELECT tenant_guard.revoke_session('s1', '{name}');"
        ),
    );
    expect_revoked(&mut used);
    run(&mut open, "ROLLBACK");
    fixture.expect_refused(&stolen);
}

#[test]
fn revoking_again_and_again_stores_one_revocation() {
    let fixture = Fixture::new();
    let token = fixture.token(json!({"jti": "t1", "sid": "s1"}));
    let mut client = fixture.bound(&token);
    run(
        &mut client,
        "SELECT tenant_guard.revoke_session() FROM generate_series(1, 100); COMMIT",
    );
    assert_eq!(
        lines(
            &mut fixture.db.superuser(),
            "SELECT count(*) FROM tenant_guard.revocation"
        ),
        ["1"]
    );
}
