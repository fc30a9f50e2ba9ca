//! Tokens and keys stay out of logs and of other sessions.

use tenant_guard_tests::{Issuer, await_lines, expect_error};

use super::{ACME, Fixture};

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
