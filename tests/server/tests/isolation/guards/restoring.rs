//! Dumps: restored whole, in parts, over what is there, and by pg_upgrade.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Cluster, Database, await_lines, feed, lines};

use super::super::{Shop, dump};
use super::done;

/// Protected tables, partitions, a governed schema and a ledger with events.
fn shop() -> Shop {
    shop_in(Database::new())
}

fn shop_in(db: Database) -> Shop {
    let shop = Shop::of(db);
    shop.run(
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

/// What a database must have again: the dump of its schema and the rows of tables of ours.
fn state(db: &Database) -> (String, Vec<String>) {
    // The copy made by LIKE took the names of these constraints before the table that is dumped first.
    let unnamed = |dump: String| {
        dump.replace(" CONSTRAINT t_id_not_null1 NOT NULL", " NOT NULL")
            .replace(" CONSTRAINT t_account_id_not_null1 NOT NULL", " NOT NULL")
    };
    let rows = [
        "(SELECT count(*) FROM tenant_guard.audit_log)",
        "(SELECT count(*) FROM tenant_guard.protection_member)",
        "(SELECT string_agg(g::text, ' ') FROM tenant_guard.governed_schema AS g)",
    ];
    let rows = format!("SELECT {}", rows.join(", "));
    let rows = lines(&mut db.superuser(), &rows);
    (unnamed(dump(db, &["--schema=shop"])), rows)
}

#[track_caller]
fn assert_same(shop: &Shop, restored: &Database) {
    assert_holds(shop, state(&shop.db), restored);
}

#[track_caller]
fn assert_holds(shop: &Shop, before: (String, Vec<String>), restored: &Database) {
    assert_eq!(state(restored), before);
    let findings = "SELECT * FROM tenant_guard.check() WHERE severity <> 'info' AND code !~ '^(0[2345]|1[01]|3[45]|58|6[4568]|70|72|73)-'";
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
fn upgraded_cluster_isolates_and_goes_on_with_the_ledger_in_another_epoch() {
    let old = Cluster::start(&[]);
    let shop = shop_in(old.database());
    let mut client = shop.db.superuser();
    lines(&mut client, "SELECT tenant_guard.seal()");
    let [earlier] = lines(&mut client, "SELECT tenant_guard.checkpoint()")
        .try_into()
        .unwrap();
    done(
        &mut client,
        &format!("INSERT INTO shop.t VALUES (3, '{ACCOUNT_A}')"),
    );
    let status = "SELECT blocks, unsealed_events FROM tenant_guard.ledger_status()";
    assert_eq!(lines(&mut client, status), ["1|1"]);
    drop(client);
    let before = state(&shop.db);

    let new = Cluster::upgrade_of(&old);
    let upgraded = new.attach(shop.db.name());
    assert_holds(&shop, before, &upgraded);
    let mut client = upgraded.superuser();
    assert_eq!(lines(&mut client, status), ["1|1"]);
    let verify = format!("SELECT * FROM tenant_guard.verify_ledger(against => '{earlier}')");
    assert_eq!(lines(&mut client, &verify), [""; 0]);
    done(
        &mut client,
        &format!(
            "SET ROLE {}; CREATE TABLE shop.after (account_id uuid); RESET ROLE;
             INSERT INTO shop.after VALUES ('{ACCOUNT_A}'), ('{ACCOUNT_B}')",
            shop.owner
        ),
    );
    let session = &mut upgraded.connect_as(&shop.app);
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_B);
    assert_eq!(
        lines(&mut t, "SELECT account_id FROM shop.after"),
        [ACCOUNT_B]
    );
    t.rollback().unwrap();
    lines(&mut client, "SELECT tenant_guard.seal()");
    let epochs = "SELECT block, epoch, adopted <> '' FROM tenant_guard.ledger_block
                  ORDER BY block";
    assert_eq!(lines(&mut client, epochs), ["1|1|f", "2|2|t"]);
    let sealed = "SELECT (SELECT count(*) FROM tenant_guard.audit_log)
                      = (SELECT sum(events) FROM tenant_guard.ledger_block)";
    assert_eq!(lines(&mut client, sealed), ["t"]);
    assert_eq!(lines(&mut client, &verify), [""; 0]);
}

/// A database with the schema of another one, sealed in the background.
fn schema_of(archive: &[u8]) -> Database {
    let restored = Database::empty();
    let sealed = "SET tenant_guard.seal_interval = '20ms'";
    let sealed = format!("ALTER DATABASE {} {sealed}", restored.name());
    done(&mut restored.superuser(), &sealed);
    restored.pg_restore(&["--schema-only"], archive);
    restored
}

/// Returns once the sealer has had a round since now, for which it is woken as by a command of the restore.
#[track_caller]
fn await_round(db: &Database) {
    let client = &mut db.superuser();
    let [now] = lines(client, "SELECT clock_timestamp()")
        .try_into()
        .unwrap();
    done(
        client,
        "SET tenant_guard.guards = off; ALTER TABLE tenant_guard.ledger_leaf DISABLE TRIGGER ALL;
         ALTER TABLE tenant_guard.ledger_leaf ENABLE TRIGGER ALL",
    );
    let round = format!("SELECT last_round > '{now}' FROM tenant_guard.ledger_status()");
    await_lines(client, &round, &["t"]);
}

#[test]
fn sealer_makes_no_block_amid_a_restore_of_data_alone() {
    const BLOCKS: &str = "SELECT block, hash FROM tenant_guard.ledger_block ORDER BY block";
    const VERIFY: &str = "SELECT * FROM tenant_guard.verify_ledger()";
    let shop = shop();
    let mut client = shop.db.superuser();
    lines(&mut client, "SELECT tenant_guard.seal()");
    let add = format!("INSERT INTO shop.t VALUES (3, '{ACCOUNT_A}')");
    done(&mut client, &add);
    lines(&mut client, "SELECT tenant_guard.seal()");
    // What is not sealed goes along as well.
    let add = format!("INSERT INTO shop.t VALUES (4, '{ACCOUNT_B}')");
    done(&mut client, &add);
    let blocks = lines(&mut client, BLOCKS);
    assert_eq!(blocks.len(), 2);
    let archive = shop.db.pg_dump(&["--format=custom"]);

    // The sealer has its turn before the blocks come, before the leaves come, and after all.
    let halves = schema_of(&archive);
    let mut script = halves.cluster().program("pg_restore");
    script.args(["--data-only", "--disable-triggers", "--file=-"]);
    let script = String::from_utf8(feed(script, &archive).stdout).expect("text");
    // One session's \restrict would be the next one's mistake.
    let restricts =
        |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
    let lines_of = script.split_inclusive('\n');
    let script: String = lines_of.filter(|line| !restricts(line)).collect();
    let mut rest = script.as_str();
    let mut pieces = Vec::new();
    for table in ["ledger_block", "ledger_leaf"] {
        let begin = format!("ALTER TABLE tenant_guard.{table} DISABLE TRIGGER ALL");
        let (piece, _) = rest.split_once(&begin).expect("the table is in the dump");
        rest = &rest[piece.len()..];
        pieces.push(piece);
    }
    pieces.push(rest);
    for piece in pieces {
        let piece = format!("SET tenant_guard.guards = off;\n{piece}");
        let output = halves.psql(&["-v", "ON_ERROR_STOP=1"], piece.as_bytes());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        await_round(&halves);
    }
    // As it is done.
    let whole = schema_of(&archive);
    let mut command = whole.cluster().program("pg_restore");
    command
        .env("PGOPTIONS", "-c tenant_guard.guards=off")
        .args(["--exit-on-error", "--data-only", "--disable-triggers"])
        .args(["--dbname", whole.name()]);
    let output = feed(command, &archive);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    await_round(&whole);

    for restored in [halves, whole] {
        let mut client = restored.superuser();
        assert_eq!(lines(&mut client, BLOCKS), blocks);
        assert_eq!(lines(&mut client, VERIFY), [""; 0]);
        // The next event is sealed, and with it what the restore left.
        let add = format!("INSERT INTO shop.t VALUES (5, '{ACCOUNT_A}')");
        done(&mut client, &add);
        let status = "SELECT unsealed_events, blocks FROM tenant_guard.ledger_status()";
        await_lines(&mut client, status, &["0|3"]);
        assert_eq!(lines(&mut client, VERIFY), [""; 0]);
    }
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
