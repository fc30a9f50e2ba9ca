//! Dumps: restored whole, in parts, over what is there, and by pg_upgrade.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, feed, lines};

use super::super::{Shop, dump};
use super::done;

/// Protected tables, partitions, a governed schema and a ledger with events.
fn shop() -> Shop {
    let shop = Shop::with(
        "CREATE TABLE shop.t (id int PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.m (account_id uuid, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.m1 PARTITION OF shop.m FOR VALUES IN (1);
         SELECT tenant_guard.protect_schema('shop');
         CREATE TABLE shop.later (LIKE shop.t INCLUDING ALL);
         CREATE TABLE shop.m2 PARTITION OF shop.m FOR VALUES IN (2)",
    );
    done(
        &mut shop.db.superuser(),
        &format!(
            "INSERT INTO shop.t VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
             INSERT INTO shop.m VALUES ('{ACCOUNT_A}', 1), ('{ACCOUNT_B}', 2)"
        ),
    );
    shop
}

#[track_caller]
fn assert_same(shop: &Shop, restored: &Database) {
    let schema = ["--schema=shop"];
    // The copy made by LIKE took the names of these constraints before the table that is dumped first.
    let unnamed = |dump: String| {
        dump.replace(" CONSTRAINT t_id_not_null1 NOT NULL", " NOT NULL")
            .replace(" CONSTRAINT t_account_id_not_null1 NOT NULL", " NOT NULL")
    };
    assert_eq!(
        unnamed(dump(restored, &schema)),
        unnamed(dump(&shop.db, &schema))
    );
    for table in ["audit_log", "protection_member", "governed_schema"] {
        let rows = format!("SELECT count(*) FROM tenant_guard.{table}");
        let before = lines(&mut shop.db.superuser(), &rows);
        assert_eq!(lines(&mut restored.superuser(), &rows), before, "{table}");
    }
    let findings = "SELECT * FROM tenant_guard.check() WHERE severity <> 'info' AND code !~ '^(0[2345]|1[01]|3[45]|6[4568]|70|72|73)-'";
    assert_eq!(lines(&mut restored.superuser(), findings), [""; 0]);
    let session = &mut restored.connect_as(&shop.app);
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_B);
    assert_eq!(lines(&mut t, "SELECT id FROM shop.t"), ["2"]);
    t.rollback().unwrap();
    // The guards are there as well.
    super::refused(
        &mut restored.superuser(),
        "ALTER TABLE shop.t DISABLE ROW LEVEL SECURITY",
        "42501",
        "cannot disable row security",
    );
}

#[test]
fn dump_is_restored_plain_as_archive_and_in_sections() {
    let shop = shop();
    let plain = Database::empty();
    plain.restore(&shop.db.pg_dump(&[]));
    assert_same(&shop, &plain);

    let archive = shop.db.pg_dump(&["--format=custom"]);
    let whole = Database::empty();
    whole.pg_restore(&["--single-transaction"], &archive);
    assert_same(&shop, &whole);

    let parts = Database::empty();
    for section in ["pre-data", "data", "post-data"] {
        parts.pg_restore(&["--section", section], &archive);
    }
    assert_same(&shop, &parts);
}

#[test]
fn dump_is_restored_over_what_is_there_with_the_guards_off() {
    let shop = shop();
    let archive = shop.db.pg_dump(&["--format=custom"]);
    let restored = Database::empty();
    restored.pg_restore(&[], &archive);
    let mut command = restored.cluster().program("pg_restore");
    command
        .env("PGOPTIONS", "-c tenant_guard.guards=off")
        .args(["--exit-on-error", "--clean", "--if-exists", "--dbname"])
        .arg(restored.name());
    let output = feed(command, &archive);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_same(&shop, &restored);
}

#[test]
fn cleaning_a_database_whose_ledger_holds_events_is_refused_with_the_guards_on() {
    let shop = shop();
    let archive = shop.db.pg_dump(&["--format=custom"]);
    let mut command = shop.db.cluster().program("pg_restore");
    command
        .args(["--single-transaction", "--clean", "--if-exists", "--dbname"])
        .arg(shop.db.name());
    let output = feed(command, &archive);
    assert!(!output.status.success());
    let before = "SELECT count(*) > 0 FROM tenant_guard.audit_log";
    assert_eq!(lines(&mut shop.db.superuser(), before), ["t"]);
}
