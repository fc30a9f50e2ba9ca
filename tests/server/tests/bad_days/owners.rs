//! Owners that go, owners that come, and names that change while everybody works.

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Cluster, Database, expect_error, lines};

use super::points::{check_ledger, state};
use super::steps::{expect, insert, shop, sign_in};
use crate::isolation::Shop;

/// What is wrong with the protection of anything, but for what the fixture is.
pub(super) const FINDINGS: &str = "SELECT code, object, detail FROM tenant_guard.check()
    WHERE code ~ '^(12|13|15|37|40|5[1-79])-' ORDER BY 1, 2";
const DRIFT: &str = "SELECT object, detail FROM tenant_guard.drift() WHERE state = 'drift'";

/// Everything works: each account sees its own, what it writes is logged once, nothing drifted.
#[track_caller]
pub(super) fn check_works(shop: &Shop, id: usize) {
    shop.within(ACCOUNT_A, |session| insert(session, id).unwrap());
    let ids = "SELECT id FROM shop.contact ORDER BY 1";
    assert_eq!(shop.within(ACCOUNT_B, |session| lines(session, ids)), ["2"]);
    let mut superuser = shop.db.superuser();
    assert_eq!(lines(&mut superuser, FINDINGS), [""; 0]);
    assert_eq!(lines(&mut superuser, DRIFT), [""; 0]);
    let sealed = lines(&mut superuser, "SELECT events > 0 FROM tenant_guard.seal()");
    assert_eq!(sealed, ["t"]);
    check_ledger(shop, "after it");
}

#[test]
fn drop_owned_by_the_owner_of_tables_leaves_their_events() {
    let shop = shop(Database::new());
    let mut superuser = shop.db.superuser();
    let events = "SELECT count(*) FROM tenant_guard.audit_log WHERE relation = 'shop.contact' AND kind = 'row'";
    let before = lines(&mut superuser, events);
    let drop = format!("DROP OWNED BY {}", shop.owner);
    superuser.batch_execute(&drop).unwrap();
    assert_eq!(lines(&mut superuser, events), before);
    assert_eq!(lines(&mut superuser, FINDINGS), [""; 0]);
    let dropped = "SELECT relation FROM tenant_guard.audit_log
        WHERE action = 'ddl' AND data ~ 'DROP OWNED' AND relation IS NOT NULL ORDER BY 1";
    assert_eq!(
        lines(&mut superuser, dropped),
        ["shop.contact", "shop.seen"]
    );
    superuser
        .batch_execute("SELECT * FROM tenant_guard.seal()")
        .unwrap();
    let findings = "SELECT * FROM tenant_guard.verify_ledger()";
    assert_eq!(lines(&mut superuser, findings), [""; 0]);
}

#[test]
fn reassigned_tables_stay_protected_and_are_the_new_owners_to_change() {
    let shop = shop(Database::new());
    let mut superuser = shop.db.superuser();
    let heir = format!("{}_heir", shop.db.name());
    superuser
        .batch_execute(&format!(
            "CREATE ROLE {heir} NOLOGIN; GRANT tenant_guard_admin TO {heir};
             REASSIGN OWNED BY {} TO {heir}",
            shop.owner
        ))
        .unwrap();
    check_works(&shop, 10);
    expect_error(
        shop.owner()
            .batch_execute("SELECT tenant_guard.unprotect('shop.seen')"),
        "42501",
        "shop.seen",
    );
    superuser
        .batch_execute(&format!(
            "SET SESSION AUTHORIZATION {heir};
             SELECT tenant_guard.unprotect('shop.seen'); SELECT tenant_guard.protect('shop.seen')"
        ))
        .unwrap();
    check_works(&shop, 11);
}

/// A cluster of its own: the owner of the extension is a superuser that goes.
fn shop_of_installer() -> (Shop, Client) {
    let cluster = Cluster::start(&[]);
    let db = cluster.empty_database();
    let mut superuser = db.superuser();
    superuser
        .batch_execute(
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC;
             CREATE ROLE installer SUPERUSER; CREATE ROLE other_installer SUPERUSER;
             CREATE ROLE ordinary; SET ROLE installer; CREATE EXTENSION tenant_guard",
        )
        .unwrap();
    superuser.batch_execute("RESET ROLE").unwrap();
    (shop(db), superuser)
}

#[test]
fn owner_of_the_extension_goes_only_when_another_superuser_has_it() {
    let (shop, mut superuser) = shop_of_installer();
    let before = state(&mut superuser);
    for (command, code, message) in [
        (
            "DROP OWNED BY installer CASCADE",
            "55000",
            "the audit ledger holds events",
        ),
        ("REASSIGN OWNED BY installer TO ordinary", "42501", ""),
        ("DROP ROLE installer", "2BP01", "installer"),
    ] {
        expect_error(superuser.batch_execute(command), code, message);
        assert_eq!(state(&mut superuser), before, "{command}");
    }
    check_works(&shop, 10);
    superuser
        .batch_execute(
            "REASSIGN OWNED BY installer TO other_installer; DROP OWNED BY installer; DROP ROLE installer",
        )
        .unwrap();
    check_works(&shop, 11);
    shop.run(
        "SELECT tenant_guard.unprotect('shop.seen'); SELECT tenant_guard.protect('shop.seen')",
    );
    check_works(&shop, 12);
}

/// Code of the extension runs with its owner's rights. Without those of a superuser isolation, capture and sealing
/// go on, `check` says that it cannot look, and giving them back is all it takes.
#[test]
fn owner_of_the_extension_that_is_no_superuser_any_more_lets_nothing_through() {
    let (shop, mut superuser) = shop_of_installer();
    superuser
        .batch_execute("ALTER ROLE installer NOSUPERUSER")
        .unwrap();
    for (account, own) in [(ACCOUNT_A, &["1", "3"][..]), (ACCOUNT_B, &["2"])] {
        shop.within(account, |session| {
            let ids = "SELECT id FROM shop.contact ORDER BY 1";
            assert_eq!(lines(session, ids), own);
            let changed = session.execute("UPDATE shop.contact SET n = n + 1", &[]);
            assert_eq!(changed.unwrap(), own.len() as u64);
        });
    }
    let events = "SELECT count(*) FROM tenant_guard.audit_log WHERE action = 'update'";
    assert_eq!(lines(&mut superuser, events), ["3"]);
    superuser
        .batch_execute("SELECT * FROM tenant_guard.seal()")
        .unwrap();
    for looking in ["check", "drift"] {
        let look = format!("SELECT * FROM tenant_guard.{looking}()");
        expect_error(
            superuser.batch_execute(&look),
            "55000",
            "role \"installer\", which owns extension tenant_guard, is not superuser",
        );
    }
    superuser
        .batch_execute("ALTER ROLE installer SUPERUSER")
        .unwrap();
    check_works(&shop, 11);
}

#[test]
fn names_that_change_under_open_sessions_change_nothing_else() {
    let shop = shop(Database::new());
    let mut superuser = shop.db.superuser();
    let (app, owner) = (&shop.app, &shop.owner);
    let mut session = shop.app();
    let mut later = 10;
    let mut seen = |shop: &Shop, schema: &str, table: &str, account: &str| {
        later += 1;
        let mut transaction = session.transaction().unwrap();
        sign_in(shop, &mut transaction, true).unwrap();
        transaction
            .batch_execute(&format!(
                "INSERT INTO {schema}.{table} (id, {account}) VALUES ({later}, '{ACCOUNT_A}')"
            ))
            .unwrap();
        let ids = format!("SELECT count(*) FROM {schema}.{table} WHERE {account} <> '{ACCOUNT_A}'");
        assert_eq!(lines(&mut transaction, &ids), ["0"]);
        transaction.commit().unwrap();
    };
    seen(&shop, "shop", "contact", "account_id");
    let steps = [
        (
            "ALTER SCHEMA shop RENAME TO store".to_owned(),
            "store",
            "contact",
            "account_id",
        ),
        (
            "ALTER TABLE store.contact RENAME TO \"Person\"".to_owned(),
            "store",
            "\"Person\"",
            "account_id",
        ),
        // Capture knows columns by their names and refuses rows until it is told the new one.
        (
            "BEGIN; ALTER TABLE store.\"Person\" RENAME account_id TO client;
             SELECT tenant_guard.protect('store.\"Person\"', 'client'); COMMIT"
                .to_owned(),
            "store",
            "\"Person\"",
            "client",
        ),
        (
            format!("ALTER ROLE {app} RENAME TO {app}_new"),
            "store",
            "\"Person\"",
            "client",
        ),
        (
            format!("ALTER ROLE {owner} RENAME TO {owner}_new"),
            "store",
            "\"Person\"",
            "client",
        ),
    ];
    for (command, schema, table, account) in steps {
        superuser
            .batch_execute(&command)
            .unwrap_or_else(|error| panic!("{command}: {error:?}"));
        seen(&shop, schema, table, account);
        assert_eq!(lines(&mut superuser, FINDINGS), [""; 0], "{command}");
        assert_eq!(lines(&mut superuser, DRIFT), [""; 0], "{command}");
    }
    superuser
        .batch_execute(&format!(
            "ALTER ROLE {app}_new RENAME TO {app}; ALTER ROLE {owner}_new RENAME TO {owner};
             ALTER TABLE store.\"Person\" RENAME TO contact; ALTER SCHEMA store RENAME TO shop"
        ))
        .unwrap();
    superuser
        .batch_execute("SELECT * FROM tenant_guard.seal()")
        .unwrap();
    let events = "SELECT count(DISTINCT relation), count(*) FROM tenant_guard.audit_log
                  WHERE kind = 'row' AND action = 'insert' AND (relation ~ 'contact|Person')";
    expect(&shop, events, &["3|9"]);
    expect(&shop, "SELECT * FROM tenant_guard.verify_ledger()", &[]);
}
