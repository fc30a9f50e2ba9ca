//! The hostile tokens of `tests/vectors/jwt/hostile.json`, each presented by an ordinary session.

use postgres::Client;
use tenant_guard_tests::{Database, assert_ordinary, lines};

use crate::identity::run;
use crate::tokens::{Registered, Suite};

fn register(client: &mut Client, issuer: &Registered) {
    let paths = serde_json::Value::Object(issuer.claim_paths.clone());
    let add = "SELECT tenant_guard.add_issuer($1, $2, $3, $4, $5, '0 s',
                                              make_interval(days => $6), $7)";
    let added = client.execute(
        add,
        &[
            &issuer.issuer,
            &issuer.jwks(),
            &issuer.algorithms,
            &issuer.audiences,
            &paths,
            &issuer.max_age_days,
            &issuer.require_exp,
        ],
    );
    added.unwrap_or_else(|error| panic!("{}: {error:?}", issuer.issuer));
}

fn literal(text: Option<&str>) -> String {
    text.map_or("NULL".into(), |text| {
        format!("'{}'", text.replace('\'', "''"))
    })
}

/// SQLSTATE and message, of a token written into the statement: that is where logs would show it.
fn refusal(client: &mut Client, token: &str, account: Option<&str>) -> Option<(String, String)> {
    let (token, account) = (literal(Some(token)), literal(account));
    let statement = format!("SELECT tenant_guard.authenticate({token}, {account})");
    let error = client.simple_query(&statement).err()?;
    let error = error.as_db_error().expect("the server answers");
    assert_eq!((error.detail(), error.where_()), (None, None));
    Some((error.code().code().into(), error.message().into()))
}

/// What a log could show of a token: long runs of base64url.
fn pieces(token: &str) -> impl Iterator<Item = &str> {
    let runs =
        token.split(|letter: char| !letter.is_ascii_alphanumeric() && !"-_".contains(letter));
    runs.filter(|run| run.len() >= 20)
}

#[test]
fn hostile_tokens_bind_nothing_and_leave_no_trace_in_the_log() {
    let suite = Suite::read();
    let db = Database::new();
    for issuer in &suite.issuers {
        register(&mut db.superuser(), issuer);
    }
    let mut client = db.connect_as(&db.role("app"));
    assert_ordinary(&mut client);

    let mut failures = Vec::new();
    let mut presented = Vec::new();
    run(&mut client, "BEGIN");
    for rule in &suite.rules {
        for case in &rule.cases {
            let (token, _) = suite.tokens(case);
            run(&mut client, "SAVEPOINT hostile");
            let outcome = refusal(&mut client, &token, case.account.as_deref());
            run(&mut client, "ROLLBACK TO hostile");
            let bound = lines(&mut client, "SELECT tenant_guard.is_authenticated()");
            let expected = Some(("28000".into(), suite.message(case)));
            if outcome != expected || bound != ["f"] {
                failures.push(format!(
                    "{}, {}: {outcome:?}, {bound:?}",
                    rule.rule, case.name
                ));
            }
            presented.push(token);
        }
    }
    run(&mut client, "ROLLBACK");
    assert!(failures.is_empty(), "{}", failures.join("\n"));

    // The session that refused them all still takes the good ones.
    for rule in &suite.rules {
        let (_, valid) = suite.tokens(&rule.cases[0]);
        assert_eq!(refusal(&mut client, &valid, None), None, "{}", rule.rule);
    }

    let log = db.server_log();
    assert!(
        log.contains("token signature is not valid"),
        "refusals are logged"
    );
    for piece in presented.iter().flat_map(|token| pieces(token)) {
        assert!(
            !log.contains(piece),
            "a piece of a token is in the server log"
        );
    }
}
