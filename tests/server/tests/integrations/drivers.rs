//! The drivers' recipes, directly and through PgBouncer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use postgres::NoTls;
use tenant_guard_tests::{Cluster, Database, Issuer, expect_error, feed};

use super::block;
use super::pooler::pooled;

// What the page shows, compiled.
include!("signed_in.rs");

const ACME: &str = "acme";
const GLOBEX: &str = "globex";

struct Fixture {
    cluster: Arc<Cluster>,
    db: Database,
    issuer: Issuer,
    app: String,
}

fn fixture() -> Fixture {
    let cluster = Cluster::start(&[]);
    let db = cluster.database();
    let app = db.role("app");
    db.superuser()
        .batch_execute(&format!(
            "CREATE TABLE note (account_id text NOT NULL, body text);
             INSERT INTO note VALUES ('{ACME}', 'anvil'), ('{GLOBEX}', 'laser');
             GRANT SELECT, INSERT ON note TO {app};
             SELECT tenant_guard.protect('note')"
        ))
        .expect("the table can be protected");
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut db.superuser());
    Fixture {
        cluster,
        db,
        issuer,
        app,
    }
}

impl Fixture {
    fn pooler(&self) -> PathBuf {
        self.cluster.pool(
            &[&self.app],
            &format!("{}\ndefault_pool_size = 1", block("PgBouncer", "ini")),
        )
    }
}

#[test]
fn rust_recipe_of_the_page_is_the_one_that_is_compiled() {
    assert_eq!(
        block("Rust", "rust"),
        include_str!("signed_in.rs").trim_end()
    );
}

#[test]
fn rust_recipe_signs_in_for_one_transaction() {
    let fixture = fixture();
    let pooler = fixture.pooler();
    for config in [
        fixture.db.config(&fixture.app),
        pooled(&fixture.db, &fixture.app, &pooler),
    ] {
        let mut client = config.connect(NoTls).expect("the role can connect");
        for (account, body) in [(ACME, "anvil"), (GLOBEX, "laser"), (ACME, "anvil")] {
            let token = fixture.issuer.token(account);
            let read = signed_in(&mut client, &token, |transaction| {
                transaction.query_typed("SELECT body FROM note", &[])
            });
            let bodies: Vec<String> = read.unwrap().iter().map(|row| row.get(0)).collect();
            assert_eq!(bodies, [body]);
        }
        let forgotten = client.query_typed("SELECT body FROM note", &[]);
        expect_error(
            forgotten,
            "28000",
            "no identity is bound to this transaction",
        );
        let refused = signed_in(&mut client, "nonsense", |_| Ok(()));
        expect_error(refused, "28000", "token is malformed");
    }
}

/// What follows the page's recipe in the program that is run.
const PSYCOPG_PROGRAM: &str = r#"
import sys

acme, globex = sys.stdin.read().split()
connection = connect("")
for token, body in [(acme, "anvil"), (globex, "laser"), (acme, "anvil")]:
    for _ in range(7):  # more often than psycopg waits before it prepares a statement
        with signed_in(connection, token):
            assert connection.execute("SELECT body FROM note").fetchall() == [(body,)]
with signed_in(connection, acme):
    connection.execute("INSERT INTO note (body) VALUES (%s)", ["rope"])
try:
    with signed_in(connection, acme):
        connection.execute("INSERT INTO note (body) VALUES (%s)", ["lost"])
        raise KeyError
except KeyError:
    pass
with signed_in(connection, acme):
    assert connection.execute("SELECT count(*) FROM note").fetchone() == (2,)
for broken in [lambda: connection.execute("SELECT body FROM note"),
               lambda: signed_in(connection, "nonsense").__enter__()]:
    try:
        broken()
    except psycopg.errors.InvalidAuthorizationSpecification:
        continue
    sys.exit("not refused")
print("whole")
"#;

#[test]
fn psycopg_recipe_signs_in_for_one_transaction() {
    let fixture = fixture();
    let pooler = fixture.pooler();
    let server = fixture.cluster.directory();
    for (host, port) in [(server, "5432"), (pooler.as_path(), "6432")] {
        fixture
            .db
            .superuser()
            .batch_execute("DELETE FROM note WHERE body = 'rope'")
            .expect("the superuser may");
        assert_eq!(run_psycopg(&fixture, host, port), "whole\n");
    }
}

fn run_psycopg(fixture: &Fixture, host: &Path, port: &str) -> String {
    let program = format!("{}\n{PSYCOPG_PROGRAM}", block("psycopg", "python"));
    let tokens = format!(
        "{} {}",
        fixture.issuer.token(ACME),
        fixture.issuer.token(GLOBEX)
    );
    let mut command = Command::new("/usr/bin/python3");
    command
        .args(["-c", &program])
        .env("PGHOST", host)
        .env("PGPORT", port)
        .env("PGUSER", &fixture.app)
        .env("PGDATABASE", fixture.db.name());
    let output = feed(command, tokens.as_bytes());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the program failed: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
