//! Who speaks: binding, ending and forging identities, through sessions of ordinary roles.

use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, Header};
use postgres::Client;
use serde_json::json;
use tenant_guard_tests::{Cluster, Database, Issuer, assert_ordinary, expect_error, lines};

pub(crate) const ACME: &str = "00000000-0000-0000-0000-00000000000a";
pub(crate) const BETA: &str = "00000000-0000-0000-0000-00000000000b";
const NO_IDENTITY: &str = "no identity is bound to this transaction";

/// A database with a table under a policy, an application role and one issuer.
pub(crate) struct Fixture {
    pub(crate) db: Database,
    pub(crate) issuer: Issuer,
    pub(crate) app: String,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Database::new(), Issuer::es256("https://issuer.test"))
    }

    /// On a cluster of its own, for what is planted where `check()` of every database looks.
    pub(crate) fn alone() -> Self {
        let db = Cluster::start(&[]).database();
        Self::with(db, Issuer::es256("https://issuer.test"))
    }

    pub(crate) fn with(db: Database, issuer: Issuer) -> Self {
        let app = db.role("app");
        let mut superuser = db.superuser();
        issuer.register(&mut superuser);
        superuser
            .batch_execute(&format!(
                "CREATE TABLE note (id int PRIMARY KEY, account_id uuid NOT NULL);
                 INSERT INTO note VALUES (1, '{ACME}'), (2, '{ACME}'), (3, '{BETA}');
                 ALTER TABLE note ENABLE ROW LEVEL SECURITY;
                 ALTER TABLE note FORCE ROW LEVEL SECURITY;
                 CREATE POLICY account ON note USING (account_id = tenant_guard.account_id());
                 GRANT SELECT ON note TO {app};"
            ))
            .expect("the fixture is sound");
        Self { db, issuer, app }
    }

    /// An ordinary session of the application.
    pub(crate) fn session(&self) -> Client {
        let mut client = self.db.connect_as(&self.app);
        assert_ordinary(&mut client);
        client
    }

    pub(crate) fn refuses(&self, token: &str, message: &str) {
        let refused = self
            .session()
            .query("SELECT tenant_guard.authenticate($1)", &[&token]);
        expect_error(refused, "28000", message);
    }
}

pub(crate) fn notes(client: &mut Client) -> Vec<String> {
    lines(client, "SELECT id FROM note ORDER BY id")
}

#[track_caller]
pub(crate) fn expect_no_identity(client: &mut Client) {
    expect_error(
        client.simple_query("SELECT id FROM note"),
        "28000",
        NO_IDENTITY,
    );
    assert_eq!(
        lines(client, "SELECT tenant_guard.is_authenticated()"),
        ["f"]
    );
}

pub(crate) fn run(client: &mut Client, statement: &str) {
    client
        .batch_execute(statement)
        .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
}

#[test]
fn tokens_of_every_algorithm_bind_their_account() {
    let db = Database::new();
    let app = db.role("app");
    let issuers = [
        Issuer::es256("https://es.test"),
        Issuer::rs256("https://rs.test"),
        Issuer::eddsa("https://ed.test"),
        Issuer::hs256("https://hs.test"),
    ];
    for issuer in issuers {
        issuer.register(&mut db.superuser());
        let mut client = db.connect_as(&app);
        let mut transaction = client.transaction().expect("a transaction begins");
        issuer.sign_in(&mut transaction, ACME);
        let account = lines(&mut transaction, "SELECT tenant_guard.account_id()");
        assert_eq!(account, [ACME], "{}", issuer.name());
    }
}

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
fn setting_the_variable_by_hand_is_refused() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    fixture.issuer.sign_in(&mut client, BETA);
    run(&mut client, "COMMIT");
    for attack in [
        "SET tenant_guard.identity = 'x'",
        "SET LOCAL tenant_guard.identity = 'x'",
        "SELECT set_config('tenant_guard.identity', 'x', true)",
        "SELECT set_config('tenant_guard.identity', 'x', false)",
        "UPDATE pg_settings SET setting = 'x' WHERE name = 'tenant_guard.identity'",
    ] {
        let refused = client.simple_query(attack);
        if !attack.starts_with("UPDATE") {
            expect_error(refused, "42501", "permission denied to set parameter");
        }
        expect_no_identity(&mut client);
    }
    let alter = format!("ALTER ROLE {} SET tenant_guard.identity = 'x'", fixture.app);
    expect_error(
        client.simple_query(&alter),
        "42501",
        "permission denied to set parameter",
    );
    for setting in [
        "on_missing_identity = 'empty'",
        "allow_session_identity = on",
    ] {
        let refused = client.simple_query(&format!("SET tenant_guard.{setting}"));
        expect_error(refused, "42501", "permission denied to set parameter");
    }
}

/// The bound value itself, taken from a session that holds a valid identity: the best thing an
/// attacker could plant.
pub(crate) fn stolen_value(fixture: &Fixture) -> String {
    let mut superuser = fixture.db.superuser();
    run(&mut superuser, "BEGIN");
    fixture.issuer.sign_in(&mut superuser, ACME);
    let value = lines(&mut superuser, "SHOW tenant_guard.identity").remove(0);
    assert!(value.contains(ACME), "the superuser sees the bound value");
    value
}

#[test]
fn granted_set_on_parameter_plants_nothing() {
    let fixture = Fixture::alone();
    let stolen = stolen_value(&fixture);
    let mut client = fixture.session();
    expect_no_identity(&mut client);
    run(
        &mut fixture.db.superuser(),
        &format!(
            "GRANT SET ON PARAMETER tenant_guard.identity TO {}",
            fixture.app
        ),
    );
    let planted = client.query(
        "SELECT set_config('tenant_guard.identity', $1, false)",
        &[&stolen],
    );
    expect_error(
        planted,
        "42501",
        "parameter \"tenant_guard.identity\" cannot be set",
    );
    expect_no_identity(&mut client);
    run(
        &mut fixture.db.superuser(),
        &format!(
            "REVOKE SET ON PARAMETER tenant_guard.identity FROM {}",
            fixture.app
        ),
    );
}

#[test]
fn superuser_cannot_set_it_either() {
    let fixture = Fixture::new();
    let stolen = stolen_value(&fixture);
    let mut superuser = fixture.db.superuser();
    run(&mut superuser, "SELECT tenant_guard.is_authenticated()");
    for scope in [true, false] {
        let planted = superuser.query(
            "SELECT set_config('tenant_guard.identity', $1, $2)",
            &[&stolen, &scope],
        );
        expect_error(
            planted,
            "42501",
            "parameter \"tenant_guard.identity\" cannot be set",
        );
    }
}

#[test]
fn planted_role_and_database_settings_choose_no_account() {
    let fixture = Fixture::alone();
    let stolen = stolen_value(&fixture).replace('\'', "''");
    // A session that has not loaded the library can plant anything.
    for target in [
        format!("ROLE {}", fixture.app),
        format!("DATABASE {}", fixture.db.name()),
        format!("ROLE {} IN DATABASE {}", fixture.app, fixture.db.name()),
    ] {
        let mut superuser = fixture.db.superuser();
        run(
            &mut superuser,
            &format!("ALTER {target} SET tenant_guard.identity = '{stolen}'"),
        );
        for preload in ["", "-c session_preload_libraries=tenant_guard"] {
            if preload.is_empty() {
                expect_no_identity(&mut fixture.session());
            } else {
                let alter = format!("ALTER {target} SET session_preload_libraries = tenant_guard");
                run(&mut superuser, &alter);
                expect_no_identity(&mut fixture.session());
                run(
                    &mut superuser,
                    &format!("ALTER {target} RESET session_preload_libraries"),
                );
            }
        }
        run(&mut superuser, &format!("ALTER {target} RESET ALL"));
    }
}

#[test]
fn pgoptions_choose_no_account() {
    let fixture = Fixture::new();
    let stolen = stolen_value(&fixture);
    let escaped: String = stolen
        .chars()
        .flat_map(|c| {
            if c == ' ' || c == '\\' {
                vec!['\\', c]
            } else {
                vec![c]
            }
        })
        .collect();
    let options = format!("-c tenant_guard.identity={escaped}");
    let mut client = fixture.db.connect_with_options(&fixture.app, &options);
    expect_no_identity(&mut client);
}

#[test]
fn configuration_file_chooses_no_account() {
    let cluster = Cluster::start(&["session_preload_libraries=tenant_guard"]);
    let fixture = Fixture::with(cluster.database(), Issuer::es256("https://issuer.test"));
    let stolen = stolen_value(&fixture).replace('\'', "''");
    let mut superuser = fixture.db.superuser();
    let refused = superuser.batch_execute(&format!(
        "ALTER SYSTEM SET tenant_guard.identity = '{stolen}'"
    ));
    expect_error(
        refused,
        "55P02",
        "parameter \"tenant_guard.identity\" cannot be changed",
    );
    let path = lines(&mut superuser, "SHOW config_file").remove(0);
    run(
        &mut superuser,
        &format!(
            "CREATE TABLE conf (line text);
             INSERT INTO conf VALUES ($$tenant_guard.identity = '{stolen}'$$);
             COPY conf TO PROGRAM $$cat >>'{path}'$$;
             SELECT pg_reload_conf();"
        ),
    );
    expect_no_identity(&mut fixture.session());
    cluster.restart();
    expect_no_identity(&mut fixture.session());
}

#[test]
fn forged_foreign_and_malformed_tokens_are_refused() {
    let fixture = Fixture::new();
    let issuer = &fixture.issuer;
    fixture.refuses("", "token is malformed");
    fixture.refuses("not a token", "token is malformed");
    fixture.refuses(
        &Issuer::es256("https://nobody.test").token(ACME),
        "names no known issuer",
    );
    fixture.refuses(
        &Issuer::es256(issuer.name()).token(ACME),
        "names no known key",
    );

    let mut impostor = Header::new(Algorithm::ES256);
    impostor.kid = Some(issuer.kid().to_owned());
    let forged = Issuer::es256(issuer.name()).sign_with(&impostor, &issuer.claims(ACME));
    fixture.refuses(&forged, "token signature is not valid");
    let mut wrong_type = Header::new(Algorithm::HS256);
    wrong_type.kid = Some(issuer.kid().to_owned());
    let wrong_type = Issuer::hs256(issuer.name()).sign_with(&wrong_type, &issuer.claims(ACME));
    fixture.refuses(&wrong_type, "token algorithm is not allowed for its key");

    let token = issuer.token(ACME);
    let [_, payload, _] = token.split('.').collect::<Vec<_>>()[..] else {
        unreachable!()
    };
    // {"alg":"none"} and {"alg":"none","typ":"JWT"}
    for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"] {
        fixture.refuses(&format!("{header}.{payload}."), "token is not signed");
    }

    let with = |name: &str, value: serde_json::Value| {
        let mut claims = issuer.claims(ACME);
        claims[name] = value;
        issuer.sign(&claims)
    };
    fixture.refuses(&with("exp", json!(1_000_000_000)), "token has expired");
    fixture.refuses(
        &with("nbf", json!(4_000_000_000_u64)),
        "token is not yet valid",
    );
    for shape in [json!(null), json!({"id": 1}), json!(1.5), json!([])] {
        fixture.refuses(
            &with("account_id", shape),
            "token account has an unusable shape",
        );
    }
    let mut anonymous = issuer.claims(ACME);
    anonymous
        .as_object_mut()
        .expect("claims are an object")
        .remove("account_id");
    fixture.refuses(&issuer.sign(&anonymous), "token names no account");
    anonymous
        .as_object_mut()
        .expect("claims are an object")
        .remove("iss");
    fixture.refuses(&issuer.sign(&anonymous), "token names no issuer");
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

/// Repeats a query until it gives `wanted`; the statements in between are client statements of
/// their own.
fn await_lines(client: &mut Client, query: &str, wanted: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while lines(client, query) != wanted {
        assert!(Instant::now() < deadline, "{query} never gave {wanted:?}");
    }
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
    claims["exp"] = json!(now[0].parse::<i64>().expect("a number") + 2);
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
fn rotated_and_dropped_keys_reach_open_sessions() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    fixture.issuer.sign_in(&mut client, ACME);
    run(&mut client, "COMMIT");

    let successor = Issuer::es256(fixture.issuer.name());
    let mut superuser = fixture.db.superuser();
    superuser
        .execute(
            "SELECT tenant_guard.set_issuer_keys($1, $2)",
            &[&successor.name(), &successor.jwks()],
        )
        .expect("the issuer is known");
    fixture.refuses(&fixture.issuer.token(ACME), "token names no known key");
    run(&mut client, "BEGIN");
    let refused = client.execute(
        "SELECT tenant_guard.authenticate($1)",
        &[&fixture.issuer.token(ACME)],
    );
    expect_error(refused, "28000", "token names no known key");
    run(&mut client, "ROLLBACK; BEGIN");
    successor.sign_in(&mut client, ACME);
    run(&mut client, "COMMIT");

    superuser
        .execute("SELECT tenant_guard.drop_issuer($1)", &[&successor.name()])
        .expect("the issuer is known");
    run(&mut client, "BEGIN");
    let refused = client.execute(
        "SELECT tenant_guard.authenticate($1)",
        &[&successor.token(ACME)],
    );
    expect_error(refused, "28000", "token names no known issuer");
}

#[test]
fn issuers_are_checked_and_kept_from_applications() {
    let fixture = Fixture::new();
    let mut superuser = fixture.db.superuser();
    let (name, keys) = (fixture.issuer.name(), fixture.issuer.jwks());
    let again = superuser.execute("SELECT tenant_guard.add_issuer($1, $2)", &[&name, &keys]);
    expect_error(
        again,
        "42710",
        "issuer \"https://issuer.test\" already exists",
    );
    let unknown = superuser.execute("SELECT tenant_guard.set_issuer_keys('x', $1)", &[&keys]);
    expect_error(unknown, "42704", "issuer \"x\" does not exist");
    expect_error(
        superuser.simple_query("SELECT tenant_guard.drop_issuer('x')"),
        "42704",
        "issuer \"x\" does not exist",
    );
    for unfit in [
        "{}",
        "[]",
        r#"{"keys": []}"#,
        r#"{"keys": [{"kty": "oct", "k": "AAAA"}]}"#,
    ] {
        let refused = superuser.simple_query(&format!(
            "SELECT tenant_guard.add_issuer('https://x', '{unfit}')"
        ));
        expect_error(refused, "22023", "");
        let refused = superuser.simple_query(&format!(
            "SELECT tenant_guard.set_issuer_keys('{name}', '{unfit}')"
        ));
        expect_error(refused, "22023", "");
    }
    let months = superuser.execute(
        "SELECT tenant_guard.add_issuer('https://x', $1, max_age => '1 month')",
        &[&keys],
    );
    expect_error(
        months,
        "22023",
        "max_age must be a non-negative interval without months",
    );
    assert_eq!(
        lines(&mut superuser, "SELECT count(*) FROM tenant_guard.issuer"),
        ["1"]
    );

    let mut client = fixture.session();
    let refused = client.execute("SELECT tenant_guard.add_issuer('https://x', $1)", &[&keys]);
    expect_error(
        refused,
        "42501",
        "permission denied for function add_issuer",
    );
    let refused = client.simple_query("SELECT * FROM tenant_guard.issuer");
    expect_error(refused, "42501", "permission denied for table issuer");
}

#[test]
fn admin_registers_issuers_without_being_superuser() {
    let db = Database::new();
    let admin = db.role("admin");
    run(
        &mut db.superuser(),
        &format!("GRANT tenant_guard_admin TO {admin}"),
    );
    let issuer = Issuer::hs256("https://issuer.test");
    let mut client = db.connect_as(&admin);
    issuer.register(&mut client);
    let refused = client.simple_query("SELECT keys FROM tenant_guard.issuer");
    expect_error(refused, "42501", "permission denied for table issuer");
}

#[test]
fn role_that_bypasses_row_security_cannot_sign_in() {
    let fixture = Fixture::new();
    let loose = fixture.db.role("loose");
    run(
        &mut fixture.db.superuser(),
        &format!("ALTER ROLE {loose} BYPASSRLS"),
    );
    let mut client = fixture
        .db
        .config(&loose)
        .connect(postgres::NoTls)
        .expect("the role can connect");
    let token = fixture.issuer.token(ACME);
    let refused = client.execute("SELECT tenant_guard.authenticate($1)", &[&token]);
    expect_error(
        refused,
        "42501",
        &format!("role \"{loose}\" bypasses row security"),
    );
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

#[test]
fn refused_literal_token_is_not_in_the_server_log() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    let token = Issuer::es256(fixture.issuer.name()).token(ACME);
    let secret = token
        .rsplit('.')
        .next()
        .expect("a token has a signature")
        .to_owned();
    let key =
        r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"a","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQ"}]}"#;
    for statement in [
        format!("SELECT tenant_guard.authenticate('{token}')"),
        format!("DO $$ BEGIN PERFORM tenant_guard.authenticate('{token}'); END $$"),
        format!("SELECT 1; SELECT tenant_guard.authenticate('{token}')"),
    ] {
        expect_error(
            client.simple_query(&statement),
            "28000",
            "token names no known key",
        );
    }
    let good = fixture.issuer.token(ACME);
    let later = format!("BEGIN; SELECT tenant_guard.authenticate('{good}'); SELECT 1/0");
    expect_error(client.simple_query(&later), "22012", "division by zero");
    let add = format!("SELECT tenant_guard.add_issuer('https://x', '{key}')");
    expect_error(fixture.db.superuser().simple_query(&add), "22023", "");
    let log = fixture.db.server_log();
    assert!(
        log.contains("token names no known key"),
        "the refusals are logged"
    );
    for text in [secret.as_str(), &good, "c2VjcmV0LXNlY3JldC1zZWNyZXQ"] {
        assert!(!log.contains(text), "a secret is in the server log");
    }
}

#[test]
fn running_statement_shows_no_token_to_others() {
    let fixture = Fixture::new();
    let token = fixture.issuer.token(ACME);
    let mut watcher = fixture.db.superuser();
    let mut client = fixture.session();
    let cancel = client.cancel_token();
    let runner = std::thread::spawn(move || {
        client.simple_query(&format!(
            "SELECT tenant_guard.authenticate('{token}'), pg_sleep(60)"
        ))
    });
    await_lines(
        &mut watcher,
        "SELECT query FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event = 'PgSleep'",
        &["<statement hidden by tenant_guard>"],
    );
    cancel
        .cancel_query(postgres::NoTls)
        .expect("the session can be cancelled");
    let ended = runner.join().expect("the thread ends");
    expect_error(ended, "57014", "canceling statement due to user request");
}

/// Keys are published before they are used and removed after: whoever follows that sees no refusal,
/// and a key that is gone verifies nothing from the next transaction of any session on.
#[test]
fn rotation_under_load_refuses_no_valid_token_and_accepts_no_retired_key() {
    use std::sync::atomic::{AtomicU64, Ordering};

    let fixture = Fixture::new();
    let rounds = 6;
    let signers: Vec<Issuer> = (0..=rounds)
        .map(|_| Issuer::es256("https://rotating.test"))
        .collect();
    let keys = |signers: &[Issuer]| {
        let all = signers.iter().map(|one| one.jwks()["keys"][0].clone());
        json!({ "keys": all.collect::<Vec<_>>() })
    };
    let mut superuser = fixture.db.superuser();
    signers[0].register(&mut superuser);
    // The key that signs; keys below `leaving` may be gone already, those below `retired` are.
    let (current, leaving, retired) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (transactions, finished) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = |client: &mut Client| {
        while finished.load(Ordering::SeqCst) == 0 {
            let with = current.load(Ordering::SeqCst);
            let token = signers[with as usize].token(ACME);
            run(client, "BEGIN");
            let outcome = client.execute("SELECT tenant_guard.authenticate($1)", &[&token]);
            let live = leaving.load(Ordering::SeqCst) <= with;
            assert!(outcome.is_ok() || !live, "{outcome:?}");
            run(client, "ROLLBACK");

            let gone = retired.load(Ordering::SeqCst) as usize;
            if gone > 0 {
                let token = signers[gone - 1].token(ACME);
                run(client, "BEGIN");
                let refused = client.execute("SELECT tenant_guard.authenticate($1)", &[&token]);
                expect_error(refused, "28000", "token names no known key");
                run(client, "ROLLBACK");
            }
            transactions.fetch_add(1, Ordering::SeqCst);
        }
    };
    let await_transactions = || {
        let enough = transactions.load(Ordering::SeqCst) + 60;
        while transactions.load(Ordering::SeqCst) < enough {
            assert!(finished.load(Ordering::SeqCst) == 0, "a session has failed");
            std::thread::yield_now();
        }
    };
    /// Ends the other threads' loops also when its own thread fails.
    struct Finish<'a>(&'a AtomicU64);
    impl Drop for Finish<'_> {
        fn drop(&mut self) {
            self.0.store(1, Ordering::SeqCst);
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let _finish = Finish(&finished);
                work(&mut fixture.session());
            });
        }
        let _finish = Finish(&finished);
        let mut set = |signers: &[Issuer]| {
            superuser
                .execute(
                    "SELECT tenant_guard.set_issuer_keys('https://rotating.test', $1)",
                    &[&keys(signers)],
                )
                .expect("the keys are sound");
        };
        await_transactions();
        for next in 1..=rounds {
            set(&signers[next - 1..=next]);
            current.store(next as u64, Ordering::SeqCst);
            await_transactions();
            leaving.store(next as u64, Ordering::SeqCst);
            set(&signers[next..=next]);
            retired.store(next as u64, Ordering::SeqCst);
            await_transactions();
        }
    });
}
