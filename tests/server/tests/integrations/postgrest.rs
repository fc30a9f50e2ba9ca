//! PostgREST's recipe: its settings as the page gives them, its requests as it makes them.

use postgres::{Client, Error, NoTls};
use serde_json::json;
use tenant_guard_tests::{Cluster, Issuer, expect_error, lines};

use super::block;

/// The value of a setting in the page's configuration.
fn setting(name: &str) -> &'static str {
    let line = block("PostgREST", "ini")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
    let value = line.unwrap_or_else(|| panic!("the page does not set {name}"));
    value.trim().trim_matches('"')
}

/// One request: access mode, role and settings of the transaction, the pre-request function, the
/// query. `token` is what came in the Authorization header, if there was one.
fn request(
    client: &mut Client,
    method: &str,
    token: Option<&str>,
    role: &str,
    query: &str,
) -> Result<Vec<String>, Error> {
    let mode = if method == "GET" {
        "READ ONLY"
    } else {
        "READ WRITE"
    };
    let mut headers = json!({"host": "api.example", "accept": "*/*"});
    if let Some(token) = token {
        headers["authorization"] = format!("Bearer {token}").into();
    }
    // What PostgREST decoded; here as an attacker would like it to be.
    let claims = json!({"role": role, "account_id": "globex"}).to_string();
    let mut transaction = client.transaction()?;
    transaction.batch_execute(&format!("SET TRANSACTION {mode}"))?;
    transaction.execute(
        "SELECT set_config('search_path', $1, true), set_config('role', $2, true),
                set_config('request.jwt.claims', $3, true), set_config('request.method', $4, true),
                set_config('request.path', '/note', true), set_config('request.headers', $5, true),
                set_config('request.cookies', '{}', true)",
        &[
            &setting("db-schemas"),
            &role,
            &claims,
            &method,
            &headers.to_string(),
        ],
    )?;
    transaction.batch_execute(&format!("SELECT {}()", setting("db-pre-request")))?;
    let rows = transaction.query(query, &[])?;
    transaction.commit()?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[test]
fn postgrest_recipe_binds_each_request_to_its_own_token() {
    // The page's roles have the names it gives them, so they need a cluster of their own.
    let cluster = Cluster::start(&[]);
    let db = cluster.database();
    let mut superuser = db.superuser();
    superuser
        .batch_execute(&format!(
            "CREATE TABLE note (account_id text NOT NULL, body text);
             INSERT INTO note VALUES ('acme', 'anvil'), ('globex', 'laser');
             {}
             SELECT tenant_guard.protect('note')",
            block("PostgREST", "sql")
        ))
        .expect("the page's statements run");
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut superuser);
    let mut client = db
        .config("authenticator")
        .connect(NoTls)
        .expect("the role can connect");

    let read = "SELECT body FROM note";
    let write = "INSERT INTO note (body) VALUES ('rope') RETURNING body";
    let (acme, globex) = (issuer.token("acme"), issuer.token("globex"));
    let mut ask = |method, token, role, query| request(&mut client, method, token, role, query);
    let user = "web_user";
    assert_eq!(ask("GET", Some(&acme), user, read).unwrap(), ["anvil"]);
    assert_eq!(ask("GET", Some(&globex), user, read).unwrap(), ["laser"]);
    assert_eq!(ask("POST", Some(&acme), user, write).unwrap(), ["rope"]);
    assert_eq!(ask("GET", Some(&globex), user, read).unwrap(), ["laser"]);

    expect_error(
        ask("GET", None, user, read),
        "28000",
        "no identity is bound",
    );
    expect_error(
        ask("GET", Some("x"), user, read),
        "28000",
        "token is malformed",
    );
    let anonymous = setting("db-anon-role");
    expect_error(
        ask("GET", Some(&acme), anonymous, read),
        "42501",
        "permission denied for table note",
    );
    assert_eq!(
        lines(
            &mut superuser,
            "SELECT account_id FROM note WHERE body = 'rope'"
        ),
        ["acme"]
    );
}
