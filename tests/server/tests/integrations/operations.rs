//! The statements of docs/operations.md that watch over a database, run as they stand there.

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Cluster, Issuer, expect_error, lines};

use crate::isolation::Shop;

const PAGE: &str = include_str!("../../../../docs/operations.md");

/// The statements in their order on the page.
struct Watch {
    findings: &'static str,
    drift: &'static str,
    sealing: &'static str,
    reads: &'static str,
    ledger: &'static str,
    powers: &'static str,
    refusals: &'static str,
}

impl Watch {
    fn of_the_page() -> Self {
        let section = PAGE.split("## Watching it").nth(1).expect("it is there");
        let section = section.split("\n## ").next().expect("it ends");
        let statements: Vec<_> = section
            .split("```sql\n")
            .skip(1)
            .map(|block| block.split("\n```").next().expect("a block ends"))
            .collect();
        let [findings, drift, sealing, reads, ledger, powers, refusals] = statements[..] else {
            panic!("{} statements", statements.len());
        };
        Self {
            findings,
            drift,
            sealing,
            reads,
            ledger,
            powers,
            refusals,
        }
    }
}

/// A protected table whose reads are audited, in a cluster with little room for reads.
fn shop() -> Shop {
    let shop = Shop::of(Cluster::start(&["tenant_guard.read_buffer=64kB"]).database());
    shop.run(&format!(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text);
         INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}', 'ann'), (2, '{ACCOUNT_B}', 'bob');
         SELECT tenant_guard.protect('shop.contact');
         SELECT tenant_guard.audit_reads('shop.contact')"
    ));
    let mut superuser = shop.db.superuser();
    run(
        &mut superuser,
        &format!(
            "ALTER DATABASE {} SET session_preload_libraries = 'tenant_guard';
             SELECT tenant_guard.accept_finding(code, object, 'this fixture')
             FROM (SELECT DISTINCT code, object FROM tenant_guard.check()
                   WHERE code ~ '^(23|58|72)-') AS f",
            shop.db.name()
        ),
    );
    shop
}

#[track_caller]
fn run(client: &mut Client, statements: &str) {
    let done = client.batch_execute(statements);
    done.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
}

/// What an auditor is shown.
#[track_caller]
fn watched(shop: &Shop, statement: &str) -> Vec<String> {
    let mut session = shop.db.superuser();
    run(&mut session, "SET ROLE tenant_guard_auditor");
    lines(&mut session, statement)
}

/// No statement has anything to say.
#[track_caller]
fn quiet(shop: &Shop, watch: &Watch) {
    let found = "SELECT severity, code, object, detail FROM tenant_guard.check()
                 WHERE severity IN ('error', 'warning')";
    assert_eq!(watched(shop, found), [""; 0]);
    assert_eq!(watched(shop, watch.findings), ["0"]);
    assert_eq!(watched(shop, watch.drift), [""; 0]);
    for statement in [watch.sealing, watch.reads, watch.ledger, watch.refusals] {
        assert_eq!(watched(shop, statement), [""; 0], "{statement}");
    }
}

fn seal(shop: &Shop) {
    let mut superuser = shop.db.superuser();
    run(&mut superuser, "SELECT tenant_guard.flush_reads()");
    run(&mut superuser, "SELECT * FROM tenant_guard.seal()");
}

#[test]
fn statements_that_watch_find_nothing_in_a_sound_database_and_each_what_it_watches_for() {
    let (watch, shop) = (Watch::of_the_page(), shop());
    seal(&shop);
    quiet(&shop, &watch);
    let powers = watched(&shop, watch.powers);
    assert!(powers.iter().all(|row| row.starts_with("1|")), "{powers:?}");

    let mut unguarded = shop.unguarded();
    run(
        &mut unguarded,
        "ALTER TABLE shop.contact NO FORCE ROW LEVEL SECURITY",
    );
    assert_eq!(watched(&shop, watch.findings), ["1"]);
    run(
        &mut unguarded,
        "ALTER TABLE shop.contact FORCE ROW LEVEL SECURITY",
    );
    seal(&shop);
    quiet(&shop, &watch);

    run(
        &mut unguarded,
        "DROP POLICY tenant_guard_floor ON shop.contact",
    );
    let drift = watched(&shop, watch.drift);
    assert_eq!(drift.len(), 1, "{drift:?}");
    assert!(drift[0].starts_with("shop.contact|"), "{drift:?}");
    let statement = "SELECT statement FROM tenant_guard.drift() WHERE state = 'drift'";
    let mend = lines(&mut unguarded, statement).join(";");
    run(&mut unguarded, &mend);
    seal(&shop);
    quiet(&shop, &watch);

    // An hour passes for an event that nobody sealed.
    run(
        &mut unguarded,
        "ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard",
    );
    seal(&shop);
    shop.within(ACCOUNT_A, |t| {
        t.batch_execute("UPDATE shop.contact SET name = 'eve'")
            .unwrap();
    });
    let age = |by: &str| {
        format!(
            "UPDATE tenant_guard.audit_log SET occurred_at = occurred_at {by} interval '1 hour'
             WHERE data LIKE '%eve%'"
        )
    };
    run(&mut unguarded, &age("-"));
    let late = watched(&shop, watch.sealing);
    assert_eq!(late.len(), 1, "{late:?}");
    assert!(late[0].starts_with("1|"), "{late:?}");
    run(&mut unguarded, &age("+"));
    run(
        &mut unguarded,
        "ALTER TABLE tenant_guard.audit_log ENABLE ALWAYS TRIGGER tenant_guard_guard",
    );
    seal(&shop);
    quiet(&shop, &watch);

    run(&mut unguarded, "CREATE ROLE loader LOGIN BYPASSRLS");
    run(&mut unguarded, "SELECT * FROM tenant_guard.seal(true)");
    let powers = watched(&shop, watch.powers);
    assert!(
        powers[0].contains("|roles|") && powers[0].contains("loader"),
        "{powers:?}"
    );

    refuse_tokens(&shop);
    seal(&shop);
    assert_eq!(watched(&shop, watch.refusals), ["token_refused|2"]);

    flood(&shop);
    let lost = watched(&shop, watch.reads);
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(!lost[0].starts_with("0|"), "{lost:?}");

    run(
        &mut unguarded,
        "ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard;
         UPDATE tenant_guard.audit_log SET account_id = 'somebody' WHERE data LIKE '%eve%'",
    );
    let altered = watched(&shop, watch.ledger);
    assert!(
        altered.iter().any(|row| row.starts_with("event_altered|")),
        "{altered:?}"
    );
}

fn refuse_tokens(shop: &Shop) {
    let forger = Issuer::es256(shop.issuer.name());
    let authenticate = "SELECT tenant_guard.authenticate($1)";
    for token in [&forger.token(ACCOUNT_A), "rubbish"] {
        let refused = shop.app().execute(authenticate, &[&token]);
        expect_error(refused, "28000", "token ");
    }
}

/// More readers than the buffer has room for.
fn flood(shop: &Shop) {
    let mut session = shop.app();
    for number in 0..1000 {
        let mut claims = shop.issuer.claims(ACCOUNT_A);
        claims["sub"] = format!("visitor {number}").into();
        let mut t = session.transaction().unwrap();
        let token = shop.issuer.sign(&claims);
        t.execute("SELECT tenant_guard.authenticate($1)", &[&token])
            .unwrap();
        lines(&mut t, "SELECT * FROM shop.contact");
        t.rollback().unwrap();
    }
}
