//! What somebody who reads would have the log not say, or say.

use tenant_guard_tests::{ACCOUNT_A, Cluster, expect_error, lines};

use super::{loaded, reads, rolled_back, shop, shop_in};

#[test]
fn constant_of_a_statement_is_nowhere() {
    let cluster = Cluster::start(&[]);
    let shop = shop_in(&cluster);
    let secret = "Zq7PlumTree";
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    for statement in [
        format!("SELECT * FROM shop.contact WHERE name = '{secret}'"),
        format!("SELECT /* {secret} */ * FROM shop.contact WHERE name = E'{secret}\\''"),
        format!("SELECT * FROM shop.contact WHERE name = $x${secret}$x$ -- {secret}"),
        format!("SELECT * FROM shop.contact WHERE name IN ('{secret}', '1{secret}')"),
    ] {
        lines(&mut transaction, &statement);
    }
    transaction.rollback().unwrap();
    let mut found = false;
    for file in std::fs::read_dir("/dev/shm").unwrap().flatten() {
        let content = std::fs::read(file.path()).unwrap_or_default();
        let has = |text: &[u8]| content.windows(text.len()).any(|part| part == text);
        assert!(!has(secret.as_bytes()), "{}", file.path().display());
        found |= has(b"shop.contact") && has(shop.app.as_bytes());
    }
    assert!(found, "the buffer was looked at");
    assert_eq!(reads(&shop.db).len(), 2, "three of them are alike");
    let log =
        "SELECT count(*) FROM tenant_guard.audit_log AS l JOIN tenant_guard.audit_context AS c
            USING (incarnation, xid)
        WHERE strpos(l::text, 'PlumTree') > 0 OR strpos(c::text, 'PlumTree') > 0";
    let mut superuser = shop.db.superuser();
    assert_eq!(lines(&mut superuser, log), ["0"]);
    let shown = "SELECT count(*) FROM pg_stat_activity
        WHERE backend_type LIKE 'tenant_guard%' AND strpos(query, 'Plum' || 'Tree') > 0";
    assert_eq!(lines(&mut superuser, shown), ["0"]);
    assert!(!cluster.log().contains(secret));
}

#[test]
fn nobody_switches_the_record_off_for_himself() {
    let shop = shop();
    let mut session = shop.app();
    lines(&mut session, "SELECT tenant_guard.is_authenticated()");
    for setting in [
        "tenant_guard.read_buffer = 64",
        "tenant_guard.export_rows = 2000000000",
    ] {
        let refused = session.batch_execute(&format!("SET {setting}"));
        expect_error(refused, "42501", "permission denied to set parameter");
    }
    // Neither a role, nor a search path, nor another function's rights make it unseen.
    shop.db
        .superuser()
        .batch_execute(
            "CREATE SCHEMA likeness; GRANT USAGE ON SCHEMA likeness TO PUBLIC;
             CREATE TABLE likeness.read_audit (relation regclass)",
        )
        .unwrap();
    rolled_back(&shop, |session| {
        session
            .batch_execute("SET LOCAL search_path = likeness, shop")
            .unwrap();
        lines(session, "SELECT count(*) FROM contact");
    });
    assert_eq!(reads(&shop.db).len(), 1);
}

#[test]
fn application_cannot_forge_a_read() {
    let shop = shop();
    rolled_back(&shop, |session| {
        lines(session, "SELECT tenant_guard.record_event('read')");
    });
    shop.within(ACCOUNT_A, |session| {
        lines(
            session,
            "SELECT tenant_guard.record_event('read', 'shop.contact')",
        );
    });
    assert_eq!(reads(&shop.db), [""; 0], "its kind is application");
    let mut superuser = shop.db.superuser();
    let forged = "SELECT kind, action FROM tenant_guard.audit_log WHERE action = 'read'";
    assert_eq!(lines(&mut superuser, forged), ["application|read"]);
}

#[test]
fn what_our_own_code_reads_is_no_read() {
    let shop = shop();
    let mut superuser = loaded(&shop.db);
    for call in [
        "SELECT * FROM tenant_guard.check()",
        "SELECT * FROM tenant_guard.check_data()",
        "SELECT * FROM tenant_guard.verify_ledger()",
        "SELECT tenant_guard.protect('shop.contact')",
    ] {
        superuser.batch_execute(call).unwrap();
    }
    assert_eq!(reads(&shop.db), [""; 0]);
}
