//! The log's partitions: which event stands where, and how the months to come get theirs.

use postgres::{Client, GenericClient};
use tenant_guard_tests::{Database, expect_error, lines};

use super::{capture, database, log, run, switch_guards_off};
use crate::ledger::{findings, seal};

/// The partition of the log that events go to now.
pub(crate) fn this_month() -> String {
    partition("audit_log", 0)
}

/// The partition of a table for the month after so many.
fn partition(table: &str, after: i32) -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970")
        .as_micros();
    let mut month = tenant_guard_core::month::Month::of(seconds as i64);
    for _ in 0..after {
        month = month.next();
    }
    format!("tenant_guard.{}", month.partition_of(table))
}

const DEFAULT: &str = "tenant_guard.audit_log_default";

/// How many events stand in each partition of the log.
const WHERE: &str = "SELECT tableoid::regclass, count(*) FROM tenant_guard.audit_log
    GROUP BY 1 ORDER BY tableoid::regclass::text";

/// Partitions of the log and its contexts with their bounds, those by default last.
const BOUNDS: &str = "SELECT c.oid::regclass, pg_get_expr(c.relpartbound, c.oid)
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent IN ('tenant_guard.audit_log'::regclass,
        'tenant_guard.audit_context'::regclass)
    ORDER BY c.relname ~ 'default', c.relname";

/// A table whose changes are captured, in a database whose ledger nobody has written to.
fn audited() -> (Database, Client) {
    let db = database();
    let mut client = db.superuser();
    run(&mut client, "CREATE TABLE t (account_id int, v text)");
    capture(&mut client, "t", "account_id", "");
    (db, client)
}

/// Takes a partition away as a superuser can.
fn drop_partition(client: &mut Client, name: &str) {
    switch_guards_off(client);
    run(client, &format!("DROP TABLE {name}"));
}

fn is_there(client: &mut impl GenericClient, name: &str) -> bool {
    lines(client, &format!("SELECT to_regclass('{name}') IS NOT NULL")) == ["t"]
}

#[test]
fn partitions_are_months_of_utc_whatever_the_session_reckons_in() {
    let db = Database::new();
    let mut client = db.superuser();
    run(
        &mut client,
        "SET timezone = 'Pacific/Kiritimati'; SET datestyle = 'SQL, DMY';
         SELECT tenant_guard.init_ledger();
         SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'",
    );
    let months = "SELECT format('tenant_guard.%s_%s|FOR VALUES FROM (''%s'') TO (''%s'')', t,
            to_char(m, 'YYYY_MM'), to_char(m, 'YYYY-MM-DD HH24:MI:SS+00'),
            to_char(m + interval '1 month', 'YYYY-MM-DD HH24:MI:SS+00'))
         FROM unnest(ARRAY['audit_context', 'audit_log']) AS t, generate_series(
            date_trunc('month', now() AT TIME ZONE 'UTC'),
            date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months',
            interval '1 month') AS m
         ORDER BY t, m";
    let mut expected = lines(&mut client, months);
    expected.push("tenant_guard.audit_context_default|DEFAULT".to_owned());
    expected.push("tenant_guard.audit_log_default|DEFAULT".to_owned());
    assert_eq!(lines(&mut client, BOUNDS), expected);
}

#[test]
fn event_stands_in_its_month_with_its_context() {
    let (_db, mut client) = audited();
    run(
        &mut client,
        "SET timezone = 'Pacific/Kiritimati'; SET quote_all_identifiers = on;
         INSERT INTO t SELECT 1 FROM generate_series(1, 3); RESET quote_all_identifiers",
    );
    assert_eq!(lines(&mut client, WHERE), [format!("{}|3", this_month())]);
    let contexts = "SELECT tableoid::regclass FROM tenant_guard.audit_context";
    assert_eq!(
        lines(&mut client, contexts),
        [partition("audit_context", 0)]
    );
}

#[test]
fn event_of_a_month_without_a_partition_is_kept_and_sealed() {
    let (db, mut client) = audited();
    let mut other = db.superuser();
    run(&mut client, "INSERT INTO t VALUES (1)");
    // The writer knows the partition; the months are taken away under it.
    run(&mut client, "TRUNCATE t");
    switch_guards_off(&mut other);
    run(
        &mut other,
        &format!(
            "ALTER TABLE tenant_guard.audit_log DETACH PARTITION {}",
            this_month()
        ),
    );
    run(&mut client, "INSERT INTO t VALUES (2), (3)");
    assert_eq!(lines(&mut client, WHERE), [format!("{DEFAULT}|2")]);
    assert_eq!(seal(&mut client), ["1|2|2"]);
    assert_eq!(lines(&mut client, WHERE), [format!("{DEFAULT}|2")]);
}

#[test]
fn month_that_stands_in_the_default_partition_stays_there_and_the_next_ones_do_not() {
    let (_db, mut client) = audited();
    for after in [0, 1, 2] {
        drop_partition(&mut client, &partition("audit_log", after));
    }
    run(&mut client, "INSERT INTO t VALUES (1)");
    assert_eq!(seal(&mut client), ["1|1|1"]);
    let made = [0, 1, 2].map(|after| is_there(&mut client, &partition("audit_log", after)));
    assert_eq!(made, [false, true, true]);
    run(&mut client, "INSERT INTO t VALUES (2)");
    assert_eq!(seal(&mut client), ["2|1|1"]);
    assert_eq!(lines(&mut client, WHERE), [format!("{DEFAULT}|2")]);
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn sealing_makes_months_ahead_and_keeps_nobody_waiting() {
    let (db, mut client) = audited();
    let (mut reader, mut sealer) = (db.superuser(), db.superuser());
    let last = partition("audit_log", 2);
    drop_partition(&mut client, &last);
    let add = "INSERT INTO t VALUES (1)";
    // Somebody reads the log, a dump for instance: a lock that a new partition would wait for.
    run(
        &mut reader,
        "BEGIN; SELECT count(*) FROM tenant_guard.audit_log",
    );
    run(&mut sealer, "SET lock_timeout = '1 ms'");
    run(&mut client, add);
    assert_eq!(seal(&mut sealer), ["1|1|1"]);
    assert!(!is_there(&mut client, &last));
    run(&mut reader, "COMMIT");
    // A transaction that goes on would keep readers out until it ends.
    run(&mut client, add);
    run(&mut sealer, "BEGIN; SELECT tenant_guard.seal(); COMMIT");
    assert!(!is_there(&mut client, &last));
    assert_eq!(seal(&mut sealer), [""; 0]);
    assert!(is_there(&mut client, &last));
    let delete = format!("DELETE FROM {last}");
    expect_error(client.batch_execute(&delete), "55000", "is append-only");
    run(&mut client, add);
    assert_eq!(seal(&mut sealer), ["3|1|1"]);
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn much_in_the_default_partition_is_read_for_new_months_only_on_demand() {
    let (_db, mut client) = audited();
    for after in [0, 2] {
        drop_partition(&mut client, &partition("audit_log", after));
    }
    // A row a block.
    run(
        &mut client,
        &format!(
            "ALTER TABLE {DEFAULT} SET (fillfactor = 10);
             INSERT INTO t SELECT 1, repeat(md5(i::text), 20) FROM generate_series(1, 8300) AS i"
        ),
    );
    let blocks = format!("SELECT pg_relation_size('{DEFAULT}') / 8192 > 8192");
    assert_eq!(lines(&mut client, &blocks), ["t"]);
    let last = partition("audit_log", 2);
    assert_eq!(seal(&mut client), ["1|8300|1"]);
    assert!(!is_there(&mut client, &last));
    run(&mut client, "SELECT tenant_guard.init_ledger()");
    assert!(is_there(&mut client, &last));
    assert!(!is_there(&mut client, &this_month()));
}

/// A boundary that lies seconds ahead, in the place of a month's end.
#[test]
fn transaction_over_a_boundary_is_one_transaction_in_two_partitions() {
    let (_db, mut client) = audited();
    drop_partition(&mut client, &this_month());
    let boundary = lines(
        &mut client,
        "SELECT to_char((clock_timestamp() + interval '4 s') AT TIME ZONE 'UTC',
            'YYYY-MM-DD HH24:MI:SS.US+00')",
    )
    .remove(0);
    let (before, after) = (
        "tenant_guard.audit_log_2001_01",
        "tenant_guard.audit_log_2001_02",
    );
    for (name, from, until) in [
        (
            before,
            "'2001-01-01 00:00:00+00'".to_owned(),
            format!("'{boundary}'"),
        ),
        (
            after,
            format!("'{boundary}'"),
            "'2500-01-01 00:00:00+00'".to_owned(),
        ),
    ] {
        // The months that were made ahead are in the way of the second.
        for ahead in [1, 2] {
            run(
                &mut client,
                &format!("DROP TABLE IF EXISTS {}", partition("audit_log", ahead)),
            );
        }
        run(
            &mut client,
            &format!(
                "CREATE TABLE {name} (LIKE tenant_guard.audit_log INCLUDING ALL,
                     PRIMARY KEY (incarnation, xid, ordinal));
                 ALTER TABLE tenant_guard.audit_log ATTACH PARTITION {name}
                     FOR VALUES FROM ({from}) TO ({until})"
            ),
        );
    }
    run(
        &mut client,
        &format!(
            "BEGIN; INSERT INTO t VALUES (1, 'a'), (1, 'b');
             SELECT pg_sleep(extract(epoch FROM timestamptz '{boundary}' - clock_timestamp()) + 0.01);
             SAVEPOINT s; INSERT INTO t VALUES (1, 'lost'); ROLLBACK TO s;
             INSERT INTO t VALUES (1, 'c'); UPDATE t SET v = 'd' WHERE v = 'c'; COMMIT"
        ),
    );
    assert_eq!(
        lines(&mut client, WHERE),
        [format!("{before}|2"), format!("{after}|2")]
    );
    assert_eq!(
        log(
            &mut client,
            "action, ordinal, count(*) OVER (PARTITION BY xid, context)"
        ),
        ["insert|0|4", "insert|1|4", "insert|3|4", "update|4|4"]
    );
    assert_eq!(seal(&mut client), ["1|4|1"]);
    assert_eq!(findings(&mut client), [""; 0]);
    // What looks like an earlier month's goes where it belongs, too.
    let split = format!("ALTER TABLE tenant_guard.audit_log DETACH PARTITION {before}");
    run(&mut client, &split);
    assert_eq!(
        findings(&mut client),
        ["event_set_changed|1|1|<null>|<null>|2 events fewer than sealed"]
    );
}

#[test]
fn events_are_read_in_the_order_of_the_ledger_without_a_sort() {
    let (_db, mut client) = audited();
    run(
        &mut client,
        "INSERT INTO t SELECT i % 7 FROM generate_series(1, 2000) AS i; ANALYZE",
    );
    run(
        &mut client,
        "SET enable_sort = off; SET enable_bitmapscan = off",
    );
    for (table, order) in [("audit_log", "ordinal"), ("audit_context", "number")] {
        let plan = lines(
            &mut client,
            &format!(
                "EXPLAIN (COSTS OFF) SELECT * FROM tenant_guard.{table} AS t
                 WHERE incarnation = 1 AND xid >= 5 AND xid <= 100000 AND xid <> ALL ('{{7,9}}')
                 ORDER BY t.incarnation, t.xid, t.{order}"
            ),
        );
        let nodes = plan.iter().map(|line| line.trim_start());
        let sorts = nodes
            .clone()
            .filter(|node| node.starts_with("->  Sort"))
            .count();
        let scans = nodes
            .filter(|node| node.contains("Index Scan using"))
            .count();
        assert_eq!(
            (plan[0].as_str(), sorts, scans),
            ("Merge Append", 0, 4),
            "{plan:#?}"
        );
    }
}

#[test]
fn partition_that_is_taken_off_or_altered_shows_in_the_configuration_of_the_next_block() {
    let (_db, mut client) = audited();
    run(&mut client, "INSERT INTO t VALUES (1)");
    seal(&mut client);
    let (month, last) = (this_month(), partition("audit_log", 2));
    switch_guards_off(&mut client);
    run(
        &mut client,
        &format!(
            "ALTER TABLE {month} DISABLE TRIGGER tenant_guard_guard; INSERT INTO t VALUES (2);
             ALTER TABLE tenant_guard.audit_log DETACH PARTITION {last}; DROP TABLE {last}"
        ),
    );
    run(&mut client, "BEGIN; SELECT tenant_guard.seal(); COMMIT");
    let changes = "SELECT h.change, h.entry->>'table', h.entry->>'enabled'
         FROM tenant_guard.capture_history() WITH ORDINALITY AS h
         WHERE h.block = 2 AND h.part = 'ledger' ORDER BY h.entry->>'table', h.change DESC";
    let bare = |name: &str| name.replace("tenant_guard.", "");
    assert_eq!(
        lines(&mut client, changes),
        [
            format!("removed|{}|always", bare(&month)),
            format!("added|{}|disabled", bare(&month)),
            format!("removed|{}|always", bare(&last)),
        ]
    );
}

#[test]
fn worker_makes_months_ahead() {
    let (db, mut client) = audited();
    let last = partition("audit_context", 2);
    drop_partition(&mut client, &last);
    let name = db.name();
    let set = format!("ALTER DATABASE {name} SET tenant_guard.seal_interval = '1h'");
    run(&mut client, &set);
    let mut client = db.superuser();
    run(&mut client, "INSERT INTO t VALUES (1)");
    assert_eq!(
        lines(&mut client, "SELECT tenant_guard.wait_sealed()"),
        ["t"]
    );
    for _ in 0..1_000 {
        if is_there(&mut client, &last) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no partition within 10 seconds");
}

#[test]
fn blocks_are_looked_for_in_the_partitions_that_hold_them() {
    let (db, mut client) = audited();
    let scans = "SELECT sum(pg_stat_get_xact_numscans(indexrelid))
         FROM pg_index WHERE indrelid = 'tenant_guard.audit_log_default'::regclass";
    let mut looks_into_an_empty_partition = |rounds| {
        for round in rounds {
            run(&mut client, &format!("INSERT INTO t VALUES ({round}, 'x')"));
            assert_eq!(seal(&mut client).len(), 1);
        }
        // A session of its own, which has counted nothing yet.
        let mut verifier = db.superuser();
        run(&mut verifier, "BEGIN");
        assert_eq!(findings(&mut verifier), [""; 0]);
        lines(&mut verifier, scans)[0].parse::<i32>().unwrap()
    };
    let few = looks_into_an_empty_partition(0..8);
    let many = looks_into_an_empty_partition(8..24);
    // The planner may look into an index, too.
    assert!(few.abs_diff(many) <= 2, "{few} and {many}");
    // A row of another month with a transaction of this one is read with it.
    switch_guards_off(&mut client);
    run(
        &mut client,
        "ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard;
         INSERT INTO tenant_guard.audit_log SELECT (jsonb_populate_record(l,
             '{\"occurred_at\": \"2001-01-01 00:00:00+00\", \"ordinal\": 7}')).*
         FROM tenant_guard.audit_log AS l WHERE account_id = '6'",
    );
    let codes = "SELECT code, block, account_id FROM tenant_guard.verify_ledger() ORDER BY 1";
    assert_eq!(
        lines(&mut client, codes),
        ["event_altered|7|6", "event_set_changed|7|6"]
    );
}
