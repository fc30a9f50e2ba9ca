//! Dumps that several processes write and restore, and an upgrade to another major version.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Cluster, Database, lines};

use super::owners::{FINDINGS, check_works};
use super::points::check_ledger;
use super::steps::{insert, shop};
use crate::isolation::Shop;

/// Sealed and unsealed events, personal values, and some that were erased.
fn worked_in(db: Database) -> Shop {
    let shop = shop(db);
    for id in 10..30 {
        shop.within(ACCOUNT_A, |session| insert(session, id).unwrap());
    }
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "SELECT tenant_guard.erase_personal('{ACCOUNT_A}', ARRAY(
                 SELECT event_id FROM tenant_guard.personal_events('{ACCOUNT_A}', 'shop.contact',
                     ARRAY['{{\"id\": 12}}'])), 'Art. 17 GDPR')"
        ))
        .unwrap();
    superuser
        .batch_execute("SELECT * FROM tenant_guard.seal()")
        .unwrap();
    shop.within(ACCOUNT_A, |session| insert(session, 30).unwrap());
    shop
}

/// What a copy must have as well, whatever the server calls itself.
fn contents(db: &Database) -> Vec<String> {
    let mut superuser = db.superuser();
    [
        "SELECT relation, archetype FROM tenant_guard.protected_member ORDER BY 1",
        "SELECT c FROM shop.contact AS c ORDER BY id",
        "SELECT incarnation, xid, ordinal, leaf_hash, personal, personal_salt FROM tenant_guard.audit_log ORDER BY 1, 2, 3",
        "SELECT block, hash FROM tenant_guard.ledger_block ORDER BY 1",
        FINDINGS,
    ]
    .iter()
    .flat_map(|query| lines(&mut superuser, &query.replace("SELECT relation,", "SELECT name,")))
    .collect()
}

/// The product goes on in a copy.
#[track_caller]
fn check_copy(shop: Shop, copy: Database, before: &[String], id: usize) -> Shop {
    assert_eq!(contents(&copy), before);
    let copied = Shop { db: copy, ..shop };
    check_ledger(&copied, "copy");
    let ids = "SELECT id FROM shop.contact";
    assert_eq!(
        copied.within(ACCOUNT_B, |session| lines(session, ids)),
        ["2"]
    );
    check_works(&copied, id);
    copied
}

#[test]
fn dump_as_a_directory_by_four_and_as_tar_brings_everything_back() {
    let mut shop = worked_in(Database::new());
    let cluster = std::sync::Arc::clone(shop.db.cluster());
    let mut originals = Vec::new();
    for (format, jobs, id) in [("directory", Some("--jobs=4"), 31), ("tar", None, 32)] {
        let before = contents(&shop.db);
        let place = cluster
            .directory()
            .join(format!("{}_{format}", shop.db.name()));
        let dumped = cluster
            .program("pg_dump")
            .args(["--format", format, "--file"])
            .arg(&place)
            .args(jobs)
            .arg(shop.db.name())
            .output()
            .unwrap();
        assert!(
            dumped.status.success(),
            "{}",
            String::from_utf8_lossy(&dumped.stderr)
        );
        let copy = Database::empty();
        let restored = cluster
            .program("pg_restore")
            .args(["--exit-on-error", "--dbname", copy.name()])
            .args(jobs)
            .arg(&place)
            .output()
            .unwrap();
        assert!(
            restored.status.success(),
            "{}",
            String::from_utf8_lossy(&restored.stderr)
        );
        // A copy of the copy comes next.
        let Shop {
            db,
            issuer,
            owner,
            app,
        } = shop;
        originals.push(db);
        let like = Shop {
            db: Database::empty(),
            issuer,
            owner,
            app,
        };
        shop = check_copy(like, copy, &before, id);
    }
}

/// Fails, because a test that did nothing would pass, unless it was said that this is known.
fn without_upgrade(reason: &str) {
    let known = std::env::var_os("TENANT_GUARD_NO_UPGRADE").is_some_and(|value| value == "1");
    assert!(
        known,
        "{reason}, so this test shows nothing; TENANT_GUARD_NO_UPGRADE=1 does without it"
    );
}

#[test]
#[ignore = "needs the extension built for PostgreSQL 18"]
fn upgrade_to_18_loses_nothing() {
    let old = Cluster::start(&[]);
    let shop = worked_in(old.database());
    if shop.db.version() >= 18 {
        return without_upgrade("there is no newer version to upgrade to");
    }
    let unknown = "SELECT DISTINCT split_part(unnest(attoptions), '=', 1) FROM pg_attribute";
    let unknown = lines(&mut shop.db.superuser(), unknown);
    if !unknown.is_empty() {
        // 15.20 marks every column so, with the extension or without; 18.6 refuses such a table.
        return without_upgrade(&format!(
            "18 cannot take columns with {unknown:?} of this server"
        ));
    }
    let before = contents(&shop.db);
    let all = "SELECT code, object, detail FROM tenant_guard.check()
               WHERE code !~ '^(10|58|72)-' ORDER BY 1, 2, 3";
    let findings = lines(&mut shop.db.superuser(), all);
    let Some(new) = Cluster::upgrade_to("18", &old) else {
        return without_upgrade("there is no build for 18: run \"make build PG=18\"");
    };
    let upgraded = new.attach(shop.db.name());
    assert_eq!(upgraded.version(), 18);
    assert_eq!(lines(&mut upgraded.superuser(), all), findings);
    check_copy(shop, upgraded, &before, 31);
}
