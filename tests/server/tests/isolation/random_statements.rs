//! Statements that nobody would think of: sqlsmith makes them of what the catalog shows a tenant's session.

use std::ops::Range;
use std::process::Command;
use std::time::{Duration, Instant};

use postgres::{Client, Error, NoTls, SimpleQueryMessage};
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Cluster, lines};

use super::Shop;

const SETTINGS: &[&str] = &["fsync=off", "tenant_guard.allow_session_identity=on"];
/// Stands in every text of the other account.
const CANARY: &str = "canary";
/// Stands in every text of the session's own.
const OWN: &str = "feather";

/// Tables of every archetype, two accounts in them, what they did in the log and who read it.
fn shop(cluster: &std::sync::Arc<Cluster>) -> Shop {
    let shop = Shop::of(cluster.database());
    shop.run(&format!(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid NOT NULL, name text NOT NULL UNIQUE,
             labels text[], card jsonb, since date DEFAULT now(), amount numeric(9, 2));
         CREATE TABLE shop.note (id int PRIMARY KEY, contact_id int REFERENCES shop.contact, body text);
         CREATE TABLE shop.country (code char(2) PRIMARY KEY, name text);
         CREATE TABLE shop.entry (id int, account_id uuid, made timestamptz, what text,
             PRIMARY KEY (account_id, id)) PARTITION BY HASH (account_id);
         CREATE TABLE shop.entry_0 PARTITION OF shop.entry FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE shop.entry_1 PARTITION OF shop.entry FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE VIEW shop.noted WITH (security_barrier{invoker}) AS
             SELECT c.name, n.body FROM shop.contact AS c JOIN shop.note AS n ON n.contact_id = c.id;
         CREATE FUNCTION shop.longest(prefix text) RETURNS text LANGUAGE sql STABLE
             RETURN (SELECT max(name) FROM shop.contact WHERE name LIKE prefix || '%');
         GRANT SELECT ON shop.noted TO {app};
         INSERT INTO shop.country VALUES ('NL', 'the Netherlands'), ('BE', 'Belgium');
         SELECT tenant_guard.protect('shop.contact');
         SELECT tenant_guard.annotate('shop.contact', personal => '{{name}}');
         SELECT tenant_guard.protect('shop.note', archetype => 'child', via => 'contact_id');
         SELECT tenant_guard.protect('shop.country', archetype => 'reference');
         SELECT tenant_guard.protect('shop.entry');
         SELECT tenant_guard.audit_reads('shop.contact')",
        invoker = if shop.db.version() >= 15 { ", security_invoker" } else { "" },
        app = shop.app,
    ));
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute("SELECT tenant_guard.init_ledger()")
        .unwrap();
    for (account, text, ids) in [(ACCOUNT_A, OWN, 1..20), (ACCOUNT_B, CANARY, 20..40)] {
        shop.within(account, |session| {
            session.batch_execute(&fill(account, text, ids)).unwrap();
        });
    }
    // Statistics are made of the rows of all accounts.
    superuser
        .batch_execute("SELECT tenant_guard.seal(); ANALYZE")
        .unwrap();
    shop
}

fn fill(account: &str, text: &str, ids: Range<i32>) -> String {
    let Range { start, end } = ids;
    format!(
        "INSERT INTO shop.contact (id, account_id, name, labels, card, amount)
             SELECT n, '{account}', '{text} ' || n, ARRAY['{text}'], '{{\"kind\": \"{text}\"}}', n
             FROM generate_series({start}, {end} - 1) AS n;
         INSERT INTO shop.note SELECT n, n, '{text} ' || n FROM generate_series({start}, {end} - 1) AS n;
         INSERT INTO shop.entry SELECT n, '{account}', now(), '{text} ' || n FROM generate_series({start}, {end} - 1) AS n;
         SELECT count(*) FROM shop.contact;
         SELECT tenant_guard.record_event('{text}', '{text}', '{{\"{text}\": 1}}');
         UPDATE shop.contact SET amount = amount + 1"
    )
}

/// Statements made from this seed that name something of the product's or of ours. Every second seed leaves the catalog's own tables out.
fn statements(shop: &Shop, seed: u32) -> Vec<String> {
    let target = format!(
        "host={} user={} dbname={}",
        shop.db.cluster().directory().display(),
        shop.app,
        shop.db.name()
    );
    let mut command = Command::new("sqlsmith");
    command.args(["--dry-run", "--max-queries=500"]);
    command.args([format!("--seed={seed}"), format!("--target={target}")]);
    command.args(Some("--exclude-catalog").filter(|_| seed % 2 == 1));
    let output = command
        .output()
        .expect("sqlsmith is installed by make test-long");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    // Most are about PostgreSQL's own tables and functions alone.
    let ours = |statement: &&str| {
        ["shop.", "tenant_guard."]
            .iter()
            .any(|name| statement.contains(name))
    };
    let found: Vec<_> = text.split(";\n").filter(ours).map(str::to_owned).collect();
    assert!(
        found.len() > 50,
        "sqlsmith: {text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    found
}

/// What statements came to.
#[derive(Debug, Default)]
struct Tally {
    run: u32,
    answered: u32,
    /// Those that showed something of the session's own account.
    own: u32,
    /// Those that showed something of the other, with what they showed.
    other: Vec<(String, String)>,
}

impl Tally {
    fn take(&mut self, statement: &str, result: Result<Vec<SimpleQueryMessage>, Error>) {
        self.run += 1;
        let shown = match result {
            Ok(messages) => {
                self.answered += 1;
                tenant_guard_tests::rows(&messages).join("\n")
            }
            // Message, detail, hint and context: a key that is taken already is told in one of them.
            Err(error) => format!("{:?}", error.as_db_error()),
        };
        self.own += u32::from(shown.contains(OWN));
        // What a statement wrote itself is no secret.
        let secrets = [CANARY, ACCOUNT_B];
        if secrets
            .iter()
            .any(|secret| shown.contains(secret) && !statement.contains(secret))
        {
            self.other.push((statement.to_owned(), shown));
        }
    }
}

fn run(session: &mut Client, statements: &[String], tally: &mut Tally) {
    session
        .batch_execute("SET statement_timeout = '1s'; SET lock_timeout = '200ms'")
        .unwrap();
    for statement in statements {
        tally.take(statement, session.simple_query(statement));
        // A statement may end its own session.
        if session.is_closed() {
            return;
        }
    }
}

/// The rows of the other account, and whatever is said of it.
fn others(shop: &Shop) -> Vec<String> {
    let query = format!(
        "SELECT * FROM (SELECT c::text FROM shop.contact AS c WHERE account_id = '{ACCOUNT_B}'
             UNION ALL SELECT n::text FROM shop.note AS n WHERE contact_id BETWEEN 20 AND 39
             UNION ALL SELECT e::text FROM shop.entry AS e WHERE account_id = '{ACCOUNT_B}'
             UNION ALL SELECT c::text FROM shop.country AS c
             UNION ALL SELECT (account_id, action, data)::text FROM tenant_guard.audit_log
                 WHERE account_id = '{ACCOUNT_B}') AS t ORDER BY 1"
    );
    lines(&mut shop.db.superuser(), &query)
}

#[test]
#[ignore = "runs for two minutes, with sqlsmith"]
fn random_statements_of_a_tenant_show_and_change_nothing_of_another() {
    let cluster = Cluster::start(SETTINGS);
    let shop = shop(&cluster);
    let before = others(&shop);
    // Large objects are the role's that makes them, which a statement does now and then.
    let found = || shop.check_where("code, object, detail", "code <> '32-large-object'");
    let findings = found();

    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut seed = 0;
    while begun.elapsed() < Duration::from_secs(120) {
        let statements = statements(&shop, seed);
        for (at, statements) in statements.chunks(40).enumerate() {
            let mut session = shop.app();
            // Every fourth session is in no account.
            if at % 4 != 3 {
                let bind = "SELECT tenant_guard.authenticate($1, is_local => false)";
                // A session may revoke its token and those of its subject: each has another one.
                let mut claims = shop.issuer.claims(ACCOUNT_A);
                claims["sub"] = format!("{seed}-{at}").into();
                claims["jti"] = claims["sub"].clone();
                session
                    .execute(bind, &[&shop.issuer.sign(&claims)])
                    .unwrap();
            }
            run(&mut session, statements, &mut tally);
        }
        seed += 1;
    }

    assert_eq!(tally.other, [], "seeds up to {seed}");
    assert_eq!(others(&shop), before, "rows of the other account");
    println!(
        "{} statements, {} answered, {} showed rows of their own",
        tally.run, tally.answered, tally.own
    );
    assert!(
        tally.run > 1000 && tally.answered > tally.run / 5 && tally.own > 10,
        "{tally:?}"
    );
    let log = shop.db.server_log();
    for sign in ["terminated by signal", "PANIC", "panicked", "TRAP"] {
        let found = log.lines().find(|line| line.contains(sign));
        assert_eq!(found, None);
    }
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute("SELECT tenant_guard.seal()")
        .unwrap();
    let verified = lines(&mut superuser, "SELECT * FROM tenant_guard.verify_ledger()");
    assert!(verified.is_empty(), "{verified:?}");
    assert_eq!(found(), findings);
}

/// The same statements show the other account's rows to a session that no policy binds.
#[test]
#[ignore = "with sqlsmith"]
fn random_statements_of_a_role_that_bypasses_policies_do_show_others() {
    let cluster = Cluster::start(SETTINGS);
    let shop = shop(&cluster);
    let role = shop.db.role("bypass");
    shop.db
        .superuser()
        .batch_execute(&format!(
            "ALTER ROLE {role} BYPASSRLS; GRANT {app} TO {role};
             ALTER ROLE {role} SET default_transaction_read_only = on",
            app = shop.app
        ))
        .unwrap();
    let mut tally = Tally::default();
    for seed in [1, 3, 5, 7] {
        let config = cluster.config(shop.db.name(), &role);
        let mut session = config.connect(NoTls).unwrap();
        run(&mut session, &statements(&shop, seed), &mut tally);
    }
    assert!(!tally.other.is_empty(), "{tally:?}");
}
