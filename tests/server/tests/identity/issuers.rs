//! Who signs: keys registered, rotated, removed.

use postgres::Client;
use serde_json::json;
use tenant_guard_tests::{Database, Issuer, expect_error, lines};

use super::{ACME, Fixture, run};

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
