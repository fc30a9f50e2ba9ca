//! Whose reads are audited, who decides, and what survives.

use tenant_guard_tests::{ACCOUNT_A, Database, expect_error, lines};

use super::{loaded, of_contacts, reads, rolled_back, shop};
use crate::isolation::{Shop, dump};

const AUDITED: &str = "SELECT relation FROM tenant_guard.read_audit ORDER BY relation::text";

#[test]
fn switching_reads_on_and_off_leaves_events() {
    let shop = shop();
    shop.run("SELECT tenant_guard.audit_reads('shop.contact')");
    shop.run("SELECT tenant_guard.audit_reads('shop.contact', false)");
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.contact");
    });
    assert_eq!(reads(&shop.db), [""; 0]);
    let events = "SELECT kind, action, relation, data FROM tenant_guard.audit_log
        WHERE action = 'audit_reads' ORDER BY xid, ordinal";
    let mut superuser = shop.db.superuser();
    assert_eq!(
        lines(&mut superuser, events),
        [
            "system|audit_reads|shop.contact|{\"enabled\":true}",
            "system|audit_reads|shop.contact|{\"enabled\":false}"
        ]
    );
    assert_eq!(lines(&mut superuser, AUDITED), [""; 0]);
}

#[test]
fn open_sessions_hear_of_it() {
    let shop = Shop::contacts();
    let mut session = shop.app();
    let mut read = || {
        let mut transaction = session.transaction().unwrap();
        shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
        lines(&mut transaction, "SELECT * FROM shop.contact");
        transaction.commit().unwrap();
    };
    read();
    shop.run("SELECT tenant_guard.audit_reads('shop.contact')");
    read();
    shop.run("SELECT tenant_guard.audit_reads('shop.contact', false)");
    read();
    assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|2|1")]);
}

#[test]
fn reads_are_audited_only_where_somebody_answers_for_the_relation() {
    let shop = Shop::contacts();
    shop.run("CREATE TABLE shop.plain (id int)");
    let mut owner = shop.owner();
    let mut refuse = |arguments: &str, code, message: &str| {
        let call = format!("SELECT tenant_guard.audit_reads({arguments})");
        expect_error(owner.batch_execute(&call), code, message);
    };
    refuse(
        "'shop.plain'",
        "55000",
        "relation shop.plain is neither protected nor audited",
    );
    refuse("NULL", "22004", "relation must not be null");
    refuse("'shop.contact', NULL", "22004", "enabled must not be null");
    refuse("'pg_class'", "42809", "pg_class");
    shop.run("SELECT tenant_guard.audit('shop.plain')");
    shop.run("SELECT tenant_guard.audit_reads('shop.plain')");
    let mut superuser = loaded(&shop.db);
    lines(&mut superuser, "SELECT * FROM shop.plain");
    assert_eq!(
        reads(&shop.db),
        ["read|SELECT|0|1||shop.plain|<null>"],
        "one that is audited only"
    );
}

#[test]
fn part_of_a_tree_is_named_by_its_root() {
    let shop = Shop::with(
        "CREATE TABLE shop.visit (account_id uuid, day int) PARTITION BY RANGE (day);
         CREATE TABLE shop.visit_1 PARTITION OF shop.visit FOR VALUES FROM (0) TO (10);
         SELECT tenant_guard.protect('shop.visit')",
    );
    let part = "SELECT tenant_guard.audit_reads('shop.visit_1')";
    let refused = shop.owner().batch_execute(part);
    expect_error(
        refused,
        "42809",
        "shop.visit_1 is a partition or child of shop.visit",
    );
}

#[test]
fn dropped_relation_is_forgotten() {
    let shop = shop();
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.contact");
    });
    let mut unguarded = shop.unguarded();
    unguarded.batch_execute("DROP TABLE shop.contact").unwrap();
    assert_eq!(lines(&mut unguarded, AUDITED), [""; 0]);
    assert_eq!(
        reads(&shop.db),
        [of_contacts("read|SELECT|2|1")],
        "what was read before"
    );
}

#[test]
fn dump_and_restore_keep_what_is_audited() {
    let shop = shop();
    let text = shop.db.pg_dump(&[]);
    let restored = Database::empty();
    restored.restore(&text);
    assert_eq!(lines(&mut restored.superuser(), AUDITED), ["shop.contact"]);
    let mut superuser = loaded(&restored);
    lines(&mut superuser, "SELECT * FROM shop.contact");
    assert_eq!(reads(&restored), ["read|SELECT|3|1||shop.contact|<null>"]);
    assert!(dump(&shop.db, &[]).contains("read_audit"));
}

#[test]
fn nobody_but_the_admin_who_owns_the_table_decides() {
    let shop = shop();
    let mut app = shop.app();
    for call in [
        "audit_reads('shop.contact', false)",
        "flush_reads()",
        "reads_status()",
    ] {
        let refused = app.batch_execute(&format!("SELECT tenant_guard.{call}"));
        let name = call.split('(').next().unwrap();
        expect_error(
            refused,
            "42501",
            &format!("permission denied for function {name}"),
        );
    }
    let refused = app.batch_execute("DELETE FROM tenant_guard.read_audit");
    expect_error(refused, "42501", "permission denied for table read_audit");
    let (auditor, admin) = (shop.db.role("auditor"), shop.db.role("admin"));
    shop.db
        .superuser()
        .batch_execute(&format!(
            "GRANT tenant_guard_auditor TO {auditor}; GRANT tenant_guard_admin TO {admin}"
        ))
        .unwrap();
    let mut auditor = shop.db.connect_as(&auditor);
    let off = "SELECT tenant_guard.audit_reads('shop.contact', false)";
    expect_error(
        auditor.batch_execute(off),
        "42501",
        "permission denied for function audit_reads",
    );
    // Who reads the log alone holds nobody's reads up.
    expect_error(
        auditor.batch_execute("SELECT tenant_guard.flush_reads()"),
        "42501",
        "permission denied for function flush_reads",
    );
    let refused = shop.db.connect_as(&admin).batch_execute(off);
    expect_error(refused, "42501", "must be owner of relation shop.contact");
    // Everybody may look for his own statements.
    assert_eq!(
        lines(
            &mut app,
            "SELECT tenant_guard.statement_fingerprint('select 1')
                 = tenant_guard.statement_fingerprint('SELECT ''secret'' -- x')"
        ),
        ["t"]
    );
}

#[test]
fn without_the_library_nothing_is_recorded_and_with_it_from_the_first_statement_on() {
    let shop = shop();
    lines(&mut shop.db.superuser(), "SELECT * FROM shop.contact");
    assert_eq!(reads(&shop.db), [""; 0]);
    let preload = format!(
        "ALTER DATABASE {} SET session_preload_libraries = 'tenant_guard'",
        shop.db.name()
    );
    shop.db.superuser().batch_execute(&preload).unwrap();
    lines(&mut shop.db.superuser(), "SELECT * FROM shop.contact");
    assert_eq!(reads(&shop.db), ["read|SELECT|3|1||shop.contact|<null>"]);
}

#[test]
fn role_whose_own_setting_leaves_the_library_out_is_found() {
    let shop = shop();
    let (db, app) = (shop.db.name(), &shop.app);
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "ALTER DATABASE {db} SET session_preload_libraries = 'tenant_guard';
             ALTER ROLE {app} SET session_preload_libraries = 'plpgsql'"
        ))
        .unwrap();
    let found = format!(
        "SELECT object, fix FROM tenant_guard.check()
         WHERE code = '75-reads-unseen' AND object IN ('{db}', '{app}')"
    );
    let fix = format!(
        "{app}|ALTER ROLE {app} IN DATABASE {db} SET session_preload_libraries = \
         'plpgsql', 'tenant_guard';"
    );
    assert_eq!(lines(&mut superuser, &found).join("; "), fix);
    let fix = fix.split_once('|').unwrap().1;
    superuser.batch_execute(fix).unwrap();
    assert_eq!(lines(&mut superuser, &found), [""; 0]);
}
