//! The log's tables: who may write them, what somebody adds to them, and how they outlive the
//! extension.

use tenant_guard_tests::{Database, expect_error, lines};

use super::partitions::this_month;
use super::{capture, database, log, run, switch_guards_off};

#[test]
fn log_refuses_everybody_elses_writes() {
    let db = database();
    let mut superuser = db.superuser();
    let app = db.role("app");
    run(
        &mut superuser,
        &format!("GRANT tenant_guard_admin, tenant_guard_auditor TO {app}"),
    );
    let tables = lines(
        &mut superuser,
        "SELECT c.oid::regclass FROM pg_class c
         WHERE relnamespace = 'tenant_guard'::regnamespace AND relkind IN ('r', 'p')
           AND relname ~ '^(audit|ledger)_' ORDER BY 1",
    );
    // Two of them with partitions for three months and one for the rest.
    assert_eq!(tables.len(), 8 + 2 * 4);
    let mut session = db.connect_as(&app);
    for role in ["origin", "replica"] {
        run(
            &mut superuser,
            &format!("SET session_replication_role = {role}"),
        );
        for table in &tables {
            for statement in [
                format!("INSERT INTO {table} SELECT * FROM {table}"),
                format!("UPDATE {table} SET incarnation = 0").replace(
                    "incarnation",
                    if ["_account", "_checkpoint", "_pruned"]
                        .iter()
                        .any(|end| table.ends_with(end))
                    {
                        "size"
                    } else if table.ends_with("_retention") {
                        "keep"
                    } else if table.ends_with("_leaf") {
                        "block"
                    } else {
                        "incarnation"
                    },
                ),
                format!("DELETE FROM {table}"),
                format!("TRUNCATE {table}"),
            ] {
                expect_error(
                    superuser.batch_execute(&statement),
                    "55000",
                    "is append-only",
                );
                expect_error(
                    session.batch_execute(&statement),
                    "42501",
                    "permission denied",
                );
            }
            assert_eq!(
                lines(&mut session, &format!("SELECT count(*) FROM {table}")).len(),
                1
            );
        }
    }
}

/// Lets the next statement write the log's tables, as a superuser can.
const GUARD_OFF: &str = "SET tenant_guard.guards = off;
    ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard";

#[test]
fn indexes_that_somebody_adds_are_maintained() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE EXTENSION amcheck; CREATE EXTENSION btree_gin;
         CREATE TABLE t (id int PRIMARY KEY, account_id int, v text);",
    );
    capture(&mut client, "t", "account_id", "");
    run(
        &mut client,
        "INSERT INTO t SELECT i, i % 3, i FROM generate_series(1, 100) AS i",
    );
    let indexes = [
        "expression ON tenant_guard.audit_log (upper(action), (data::jsonb ->> 'v'))",
        "part ON tenant_guard.audit_log (ordinal) WHERE action = 'update'",
        "words ON tenant_guard.audit_log USING gin (to_tsvector('simple', data))",
        "plain ON tenant_guard.audit_log USING hash (account_id)",
        "block_range ON tenant_guard.audit_log USING brin (occurred_at)",
    ];
    for (i, index) in indexes.iter().enumerate() {
        run(&mut client, &format!("CREATE INDEX {index}"));
        run(
            &mut client,
            &format!("INSERT INTO t VALUES ({}, 1, 'x')", 1000 + i),
        );
    }
    run(
        &mut client,
        &format!("CREATE UNIQUE INDEX one ON {} (leaf_hash)", this_month()),
    );
    run(&mut client, "UPDATE t SET v = v || '!'");
    let condition_by_index = |client: &mut _, condition: &str, index: &str| {
        run(client, "SET enable_seqscan = off");
        let count = format!("SELECT count(*) FROM tenant_guard.audit_log WHERE {condition}");
        let plan = lines(client, &format!("EXPLAIN {count}")).join("\n");
        let of_month = this_month().replace("tenant_guard.", "") + index;
        assert!(plan.contains(&of_month), "{plan}");
        lines(client, &count)
    };
    for (condition, index, expected) in [
        ("upper(action) = 'UPDATE'", "_upper_expr_idx", "105"),
        ("action = 'update' AND ordinal < 5", "_ordinal_idx", "5"),
        (
            "to_tsvector('simple', data) @@ 'x'",
            "_to_tsvector_idx",
            "10",
        ),
        ("account_id = '2'", "_account_id_idx", "66"),
    ] {
        assert_eq!(
            condition_by_index(&mut client, condition, index),
            [expected]
        );
    }
    let trees = format!(
        "SELECT count(bt_index_check(i.indexrelid, true)::text) FROM pg_index AS i
         JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam
         WHERE i.indrelid = '{}'::regclass AND a.amname = 'btree'",
        this_month()
    );
    assert_eq!(lines(&mut client, &trees), ["4"]);
    run(
        &mut client,
        &format!(
            "CREATE UNIQUE INDEX few ON {} ((ordinal / 1000000)) WHERE account_id = '77'",
            this_month()
        ),
    );
    run(&mut client, "INSERT INTO t VALUES (7001, 77, 'first')");
    expect_error(
        client.batch_execute("INSERT INTO t VALUES (7002, 77, 'second')"),
        "23505",
        "few",
    );
    run(
        &mut client,
        "DROP INDEX tenant_guard.few; INSERT INTO t VALUES (7002, 77, 'second')",
    );
    assert_eq!(lines(&mut client, &trees), ["4"]);
}

#[test]
fn index_added_meanwhile_by_another_session_is_seen() {
    let db = database();
    let (mut writer, mut other) = (db.superuser(), db.superuser());
    run(&mut writer, "CREATE TABLE t (account_id int)");
    capture(&mut writer, "t", "account_id", "");
    run(&mut writer, "INSERT INTO t VALUES (1)");
    run(
        &mut other,
        "CREATE INDEX late ON tenant_guard.audit_log (account_id)",
    );
    run(&mut writer, "INSERT INTO t VALUES (2)");
    assert_eq!(
        lines(
            &mut other,
            "SET enable_seqscan = off;
             SELECT account_id FROM tenant_guard.audit_log WHERE account_id = '2'"
        ),
        ["2"]
    );
    run(&mut other, "DROP INDEX tenant_guard.late");
    run(&mut writer, "INSERT INTO t VALUES (3)");
    assert_eq!(log(&mut other, "account_id"), ["1", "2", "3"]);
}

#[test]
fn index_added_after_a_savepoint_gave_the_lock_back_is_seen() {
    let db = database();
    let (mut writer, mut other) = (db.superuser(), db.superuser());
    run(&mut writer, "CREATE TABLE t (account_id int)");
    capture(&mut writer, "t", "account_id", "");
    run(
        &mut writer,
        "BEGIN; SAVEPOINT s; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
    );
    run(&mut writer, "ROLLBACK TO s");
    run(
        &mut other,
        "SET lock_timeout = '5 s';
         CREATE INDEX late ON tenant_guard.audit_log (account_id)",
    );
    run(
        &mut writer,
        "INSERT INTO t VALUES (3); INSERT INTO t VALUES (4)",
    );
    expect_error(
        other.batch_execute("SET lock_timeout = '100 ms'; DROP INDEX tenant_guard.late"),
        "55P03",
        "lock timeout",
    );
    run(&mut writer, "COMMIT; SET enable_seqscan = off");
    assert_eq!(
        lines(
            &mut writer,
            "SELECT account_id FROM tenant_guard.audit_log WHERE account_id > '' ORDER BY 1"
        ),
        ["3", "4"]
    );
}

#[test]
fn altered_log_refuses_the_change() {
    let db = database();
    let mut client = db.superuser();
    run(&mut client, "CREATE TABLE t (account_id int)");
    capture(&mut client, "t", "account_id", "");
    run(
        &mut client,
        "INSERT INTO t VALUES (1); SET tenant_guard.guards = off",
    );
    for (alter, back) in [
        ("ADD COLUMN extra int", None),
        ("RENAME target TO aim", Some("RENAME aim TO target")),
        (
            "ADD CONSTRAINT late UNIQUE (leaf_hash) DEFERRABLE",
            Some("DROP CONSTRAINT late"),
        ),
    ] {
        // A unique key of all partitions would have to hold the time.
        let table = match alter.contains("UNIQUE") {
            true => this_month(),
            false => "tenant_guard.audit_log".to_owned(),
        };
        run(&mut client, &format!("BEGIN; ALTER TABLE {table} {alter}"));
        let name = this_month().replace("tenant_guard.", "");
        expect_error(
            client.batch_execute("INSERT INTO t VALUES (2)"),
            "55000",
            &format!("ledger table \"{name}\" was altered"),
        );
        run(&mut client, "ROLLBACK");
        if let Some(back) = back {
            run(&mut client, &format!("ALTER TABLE {table} {alter}"));
            expect_error(
                client.batch_execute("INSERT INTO t VALUES (2)"),
                "55000",
                "altered",
            );
            run(&mut client, &format!("ALTER TABLE {table} {back}"));
        }
        run(&mut client, "INSERT INTO t VALUES (3)");
    }
    run(
        &mut client,
        "BEGIN; DROP TABLE tenant_guard.audit_log CASCADE",
    );
    expect_error(
        client.batch_execute("INSERT INTO t VALUES (4)"),
        "55000",
        "does not exist",
    );
    run(&mut client, "ROLLBACK; INSERT INTO t VALUES (4)");
    run(&mut client, "DROP TABLE tenant_guard.ledger_leaf");
    expect_error(
        client.batch_execute("SELECT tenant_guard.init_ledger()"),
        "55000",
        "ledger table \"ledger_leaf\" is lost",
    );
}

#[test]
fn ledger_outlives_the_extension_and_is_adopted() {
    let db = database();
    let mut client = db.superuser();
    run(&mut client, "CREATE TABLE t (account_id int)");
    capture(&mut client, "t", "account_id", "");
    run(&mut client, "INSERT INTO t VALUES (1)");
    switch_guards_off(&mut client);
    run(&mut client, "DROP EXTENSION tenant_guard CASCADE");
    run(&mut client, "INSERT INTO t VALUES (2)");
    assert_eq!(log(&mut client, "account_id"), ["1"]);
    run(&mut client, "CREATE EXTENSION tenant_guard");
    expect_error(
        client.batch_execute("DELETE FROM tenant_guard.audit_log"),
        "55000",
        "append-only",
    );
    capture(&mut client, "t", "account_id", "");
    run(&mut client, "INSERT INTO t VALUES (3)");
    assert_eq!(log(&mut client, "account_id"), ["1", "3"]);
    run(&mut client, "SELECT tenant_guard.init_ledger()");
    assert_eq!(log(&mut client, "account_id"), ["1", "3"]);
    let members = "SELECT count(*) FROM pg_depend
        WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
          AND (classid = 'pg_trigger'::regclass
               OR objid = 'tenant_guard.audit_log'::regclass AND classid = 'pg_class'::regclass)";
    assert_eq!(lines(&mut client, members), ["0"]);
}

#[test]
fn guard_that_was_switched_off_comes_back() {
    let db = database();
    let mut client = db.superuser();
    let delete = "DELETE FROM tenant_guard.audit_log";
    run(&mut client, GUARD_OFF);
    run(&mut client, delete);
    run(&mut client, "SELECT tenant_guard.init_ledger()");
    expect_error(client.batch_execute(delete), "55000", "append-only");
}

#[test]
fn ledger_is_dumped_and_restored_whole() {
    let db = database();
    let mut client = db.superuser();
    run(&mut client, "CREATE TABLE t (account_id int, v text)");
    capture(&mut client, "t", "account_id", "");
    run(&mut client, "INSERT INTO t VALUES (1, 'x'), (2, NULL)");
    let (plain, archive, routed) = (Database::empty(), Database::empty(), Database::empty());
    plain.restore(&db.pg_dump(&[]));
    routed.restore(&db.pg_dump(&["--load-via-partition-root"]));
    archive.pg_restore(&["--single-transaction"], &db.pg_dump(&["--format=custom"]));
    let log_of = |client: &mut _| {
        lines(
            client,
            "TABLE tenant_guard.audit_log ORDER BY incarnation, xid, ordinal",
        )
    };
    let original = log_of(&mut client);
    assert_eq!(original.len(), 2);
    for copy in [plain, archive, routed] {
        let mut restored = copy.superuser();
        assert_eq!(log_of(&mut restored), original);
        let of_month = format!("SELECT count(*) FROM {}", this_month());
        assert_eq!(lines(&mut restored, &of_month), ["2"]);
        expect_error(
            restored.batch_execute("DELETE FROM tenant_guard.audit_log"),
            "55000",
            "append-only",
        );
        run(
            &mut restored,
            "SELECT tenant_guard.init_ledger(); INSERT INTO t VALUES (3)",
        );
        assert_eq!(
            lines(
                &mut restored,
                "SELECT count(*), count(DISTINCT incarnation)
                                  FROM tenant_guard.audit_log"
            ),
            ["3|2"]
        );
        assert_eq!(
            lines(
                &mut restored,
                "SELECT has_table_privilege('tenant_guard_auditor', 'tenant_guard.audit_log',
                                            'SELECT')"
            ),
            ["t"]
        );
    }
}

#[test]
fn two_sessions_that_begin_the_ledger_make_one() {
    let db = Database::new();
    let (mut one, mut two) = (db.superuser(), db.superuser());
    run(&mut one, "BEGIN; SELECT tenant_guard.init_ledger()");
    let second = std::thread::spawn(move || two.batch_execute("SELECT tenant_guard.init_ledger()"));
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!second.is_finished(), "the second waits for the first");
    run(&mut one, "COMMIT");
    second.join().unwrap().unwrap();
    assert_eq!(log(&mut one, "1"), [""; 0]);
}

#[test]
fn ledger_planted_before_the_extension_is_not_adopted() {
    let db = Database::empty();
    let mut client = db.superuser();
    let eve = db.role("eve");
    run(
        &mut client,
        &format!(
            "CREATE SCHEMA tenant_guard;
             GRANT USAGE, CREATE ON SCHEMA tenant_guard TO {eve};
             SET ROLE {eve}"
        ),
    );
    // A trigger of hers would run with the rights of the extension's owner at the next seal().
    for table in [
        "audit_log",
        "audit_context",
        "ledger_account",
        "ledger_pruned",
        "ledger_block",
        "ledger_leaf",
        "ledger_checkpoint",
        "ledger_retention",
    ] {
        let planted = format!("CREATE TABLE tenant_guard.{table} (block bigint)");
        run(&mut client, &planted);
    }
    run(&mut client, "RESET ROLE");
    let message = format!("ledger table \"audit_log\" belongs to role \"{eve}\"");
    expect_error(
        client.batch_execute("CREATE EXTENSION tenant_guard"),
        "55000",
        &message,
    );
}
