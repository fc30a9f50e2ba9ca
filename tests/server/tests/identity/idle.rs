//! Sessions that were not used for too long.

use postgres::{Client, Error};
use serde_json::json;
use tenant_guard_tests::{Database, Issuer, expect_error, lines};

use super::{ACME, BETA, run};

const IDLE: &str = "token session has been idle for too long";

struct Fixture {
    db: Database,
    issuer: Issuer,
    client: Client,
    superuser: Client,
}

impl Fixture {
    fn new() -> Self {
        let db = Database::new();
        let issuer = Issuer::eddsa("https://issuer.test");
        let app = db.role("app");
        let mut superuser = db.superuser();
        issuer.register(&mut superuser);
        run(
            &mut superuser,
            &format!("SELECT tenant_guard.set_idle_timeout('{ACME}', '30 min')"),
        );
        let client = db.connect_as(&app);
        Self {
            db,
            issuer,
            client,
            superuser,
        }
    }

    /// A whole transaction of a session of an account.
    fn sign_in(&mut self, account: &str, session: &str, begin: &str) -> Result<(), Error> {
        let mut claims = self.issuer.claims(account);
        claims["sid"] = json!(session);
        let token = self.issuer.sign(&claims);
        run(&mut self.client, &format!("ROLLBACK; {begin}"));
        self.client
            .execute("SELECT tenant_guard.authenticate($1)", &[&token])?;
        self.client.batch_execute("COMMIT")
    }

    /// Lets time pass since the last use of all sessions.
    fn wait(&mut self, interval: &str) {
        let earlier = "UPDATE tenant_guard.session_use SET used_at = used_at - interval";
        run(&mut self.superuser, &format!("{earlier} '{interval}'"));
    }

    fn notes(&mut self) -> Vec<String> {
        lines(
            &mut self.superuser,
            "SELECT session, now() - used_at < '1 min' FROM tenant_guard.session_use ORDER BY 1, 2",
        )
    }
}

#[test]
fn session_unused_for_longer_than_allowed_is_refused() {
    let mut fixture = Fixture::new();
    fixture.sign_in(ACME, "s1", "BEGIN").unwrap();
    fixture.wait("29 min");
    fixture.sign_in(ACME, "s1", "BEGIN").unwrap();
    fixture.wait("29 min");
    fixture.sign_in(ACME, "s1", "BEGIN").unwrap();
    assert_eq!(fixture.notes(), ["s1|t"]);
    fixture.wait("32 min");
    expect_error(fixture.sign_in(ACME, "s1", "BEGIN"), "28000", IDLE);
    // Refusing is no use of the session.
    expect_error(fixture.sign_in(ACME, "s1", "BEGIN"), "28000", IDLE);
    fixture.sign_in(ACME, "s2", "BEGIN").unwrap();
}

#[test]
fn use_is_noted_once_a_minute_and_in_read_only_transactions() {
    let mut fixture = Fixture::new();
    for begin in [
        "BEGIN READ ONLY",
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
    ] {
        fixture.sign_in(ACME, "s1", begin).unwrap();
        fixture.sign_in(ACME, "s1", begin).unwrap();
        let recent = fixture
            .notes()
            .iter()
            .filter(|note| note.ends_with("|t"))
            .count();
        assert_eq!(recent, 1, "{begin}");
        fixture.wait("20 min");
    }
    fixture.sign_in(ACME, "s1", "BEGIN READ ONLY").unwrap();
    assert_eq!(
        fixture.notes(),
        ["s1|t"],
        "older notes go with the next one"
    );
    run(&mut fixture.client, "BEGIN READ ONLY");
    fixture.issuer.sign_in(&mut fixture.client, ACME);
    let refused = fixture.client.simple_query("CREATE TABLE x ()");
    expect_error(refused, "25006", "read-only transaction");
}

#[test]
fn sign_ins_of_one_session_do_not_wait_for_each_other() {
    let mut fixture = Fixture::new();
    let mut claims = fixture.issuer.claims(ACME);
    claims["sid"] = json!("s1");
    let token = fixture.issuer.sign(&claims);
    let app = fixture.db.role("other");
    let mut open: Vec<Client> = Vec::new();
    for _ in 0..4 {
        let mut client = fixture.db.connect_as(&app);
        run(&mut client, "SET lock_timeout = '1ms'; BEGIN");
        client
            .execute("SELECT tenant_guard.authenticate($1)", &[&token])
            .unwrap();
        open.push(client);
    }
    for client in &mut open {
        run(client, "COMMIT");
    }
    fixture.sign_in(ACME, "s1", "BEGIN").unwrap();
}

#[test]
fn timeout_is_the_accounts_own_or_the_common_one_or_none() {
    let mut fixture = Fixture::new();
    fixture.sign_in(BETA, "s1", "BEGIN").unwrap();
    assert_eq!(fixture.notes(), [""; 0], "no timeout, no note");
    run(
        &mut fixture.superuser,
        "SELECT tenant_guard.set_idle_timeout(NULL, '1 hour')",
    );
    fixture.sign_in(BETA, "s1", "BEGIN").unwrap();
    fixture.sign_in(ACME, "s2", "BEGIN").unwrap();
    fixture.wait("45 min");
    fixture.sign_in(BETA, "s1", "BEGIN").unwrap();
    expect_error(fixture.sign_in(ACME, "s2", "BEGIN"), "28000", IDLE);
    let lift = format!("SELECT tenant_guard.set_idle_timeout('{ACME}', NULL)");
    run(&mut fixture.superuser, &lift);
    fixture.sign_in(ACME, "s2", "BEGIN").unwrap();

    for (arguments, message) in [
        ("NULL, '1 month'", "after must be"),
        ("NULL, '-1 s'", "after must be"),
        ("'', '1 h'", "account is not an account id"),
    ] {
        let statement = format!("SELECT tenant_guard.set_idle_timeout({arguments})");
        expect_error(fixture.superuser.simple_query(&statement), "22023", message);
    }
    let refused = fixture
        .client
        .simple_query("SELECT tenant_guard.set_idle_timeout(NULL, NULL)");
    expect_error(refused, "42501", "permission denied for function");
}
