//! Manifests of many relations: what each of them costs does not grow with how many there are.
//!
//! Counted in rows that are read, of tables and catalogs, which do not depend on how busy the machine is.

use std::ops::Range;

use tenant_guard_tests::Cluster;

use super::*;

/// Tables that are not protected yet.
fn tables(numbers: Range<usize>) -> Shop {
    let table = |n| {
        format!("CREATE TABLE shop.t{n} (id int PRIMARY KEY, account_id uuid NOT NULL, name text);")
    };
    // Nobody else's tables, and nobody who has plans made anew.
    let shop = Shop::of(Cluster::start(&["autovacuum=off"]).database());
    shop.run(&numbers.map(table).collect::<String>());
    shop
}

fn of(count: usize) -> String {
    format!(
        "SELECT count(*) FROM tenant_guard.apply_manifest(jsonb_set(tenant_guard.export_manifest(),
             '{{relations}}', (SELECT jsonb_object_agg('shop.t' || n, '{{}}'::jsonb)
                 FROM generate_series(1, {count}) AS n)))"
    )
}

const DRIFT: &str = "SELECT count(*) FROM tenant_guard.drift() WHERE state = 'drift'";

/// Runs a query in a session of its own: what it answers, and the rows read for that. Those of pg_attribute
/// are left out: what reads all relations at once scans it or looks them up, as the planner has it.
fn rows_read(shop: &Shop, query: &str) -> (String, i64) {
    let read = "SELECT sum(seq_tup_read + COALESCE(idx_tup_fetch, 0))::int8
        FROM pg_stat_xact_all_tables WHERE relname <> 'pg_attribute'";
    let mut session = shop.owner();
    let mut transaction = session.transaction().unwrap();
    let mut counted = |query| {
        let answer = lines(&mut transaction, query).concat();
        let read: i64 = transaction.query_one(read, &[]).unwrap().get(0);
        (answer, read)
    };
    // Counting reads rows too, as many each time.
    let (_, first) = counted("SELECT");
    let (_, second) = counted("SELECT");
    let (answer, third) = counted(query);
    transaction.commit().unwrap();
    (answer, third - second - (second - first))
}

/// What the second doubling adds, for each row that the first one did; 2 where each relation costs the same.
fn growth([few, more, most]: [i64; 3]) -> f64 {
    (most - more) as f64 / (more - few) as f64
}

#[test]
fn a_relation_costs_no_more_rows_the_more_of_them_there_are() {
    let sizes = [60, 120, 240];
    let figures = sizes.map(|size| {
        let shop = tables(1..size + 1);
        let (steps, new) = rows_read(&shop, &of(size));
        assert_eq!(steps, (2 * size).to_string());
        let (steps, again) = rows_read(&shop, &of(size));
        assert_eq!(steps, size.to_string());
        let (found, drift) = rows_read(&shop, DRIFT);
        assert_eq!(found, "0");
        [new, again, drift]
    });
    println!("{figures:?}");
    let [new, again, drift] = [0, 1, 2].map(|at| figures.map(|figure| figure[at]));
    assert!(growth(new) < 2.3, "new: {new:?}");
    for (what, [few, _, most]) in [("again", again), ("drift", drift)] {
        // Four times as many, and what is read once is read once.
        assert!(most <= 5 * few, "{what}: {few}, {most}");
    }
}

#[test]
fn one_that_differs_is_found_among_many() {
    let shop = tables(1..61);
    let mut owner = shop.owner();
    lines(&mut owner, &of(60));
    assert_eq!(lines(&mut owner, DRIFT), ["0"]);
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute("SET tenant_guard.guards = off")
        .unwrap();
    let found = "SELECT object, detail FROM tenant_guard.drift() WHERE state = 'drift'";
    for (alteration, detail) in [
        (
            "NO FORCE ROW LEVEL SECURITY",
            "row security is off or not forced",
        ),
        (
            "ALTER account_id DROP NOT NULL",
            "the account column may be null",
        ),
        (
            "ALTER account_id DROP DEFAULT",
            "the default of the account column was changed",
        ),
        (
            "DISABLE TRIGGER tenant_guard_capture",
            "a trigger does not fire always",
        ),
    ] {
        superuser
            .batch_execute(&format!("ALTER TABLE shop.t33 {alteration}"))
            .unwrap();
        // By a session that has kept its plans since before.
        let [line] = lines(&mut owner, found).try_into().unwrap();
        assert!(line.starts_with(&format!("shop.t33|{detail}")), "{line}");
        lines(&mut owner, &of(60));
        assert_eq!(lines(&mut owner, DRIFT), ["0"]);
    }
}

#[test]
fn plans_that_were_kept_find_the_tables_of_an_extension_that_came_back() {
    let shop = tables(1..2);
    let mut superuser = shop.db.superuser();
    let protect = "SELECT tenant_guard.protect('shop.t1')";
    let found = "SELECT detail FROM tenant_guard.drift() WHERE state = 'drift'";
    superuser.batch_execute(protect).unwrap();
    assert_eq!(lines(&mut superuser, found), [""; 0]);
    superuser
        .batch_execute(
            "SET tenant_guard.guards = off; DROP EXTENSION tenant_guard CASCADE;
             CREATE EXTENSION tenant_guard",
        )
        .unwrap();
    let registered = "SELECT count(*) FROM tenant_guard.protected_relation";
    assert_eq!(lines(&mut superuser, registered), ["0"]);
    superuser.batch_execute(protect).unwrap();
    assert_eq!(lines(&mut superuser, registered), ["1"]);
    assert_eq!(lines(&mut superuser, found), [""; 0]);
    superuser
        .batch_execute("ALTER TABLE shop.t1 NO FORCE ROW LEVEL SECURITY")
        .unwrap();
    assert_eq!(
        lines(&mut superuser, found),
        ["row security is off or not forced: ALTER TABLE ONLY shop.t1 FORCE ROW LEVEL SECURITY"]
    );
}

#[test]
fn settings_of_the_planner_are_the_sessions_again_afterwards() {
    let shop = tables(1..2);
    let mut owner = shop.owner();
    let settings = "SELECT current_setting('enable_seqscan'), current_setting('enable_hashjoin'),
        current_setting('enable_mergejoin'), current_setting('jit'),
        current_setting('join_collapse_limit')";
    let before = lines(&mut owner, settings);
    lines(&mut owner, "SELECT tenant_guard.protect('shop.t1')");
    assert_eq!(lines(&mut owner, settings), before);
    let refused = owner.batch_execute("SELECT tenant_guard.protect('pg_catalog.pg_class')");
    assert!(refused.is_err());
    assert_eq!(lines(&mut owner, settings), before);
    owner
        .batch_execute("SET enable_seqscan = off; SET join_collapse_limit = 3")
        .unwrap();
    let chosen = lines(&mut owner, settings);
    assert_ne!(chosen, before);
    lines(&mut owner, DRIFT);
    assert_eq!(lines(&mut owner, settings), chosen);
}
