//! Much of everything: a million accounts, thousands of protected relations.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, Cluster, lines};

use super::steps::sign_in;
use crate::capture::{capture, run};
use crate::isolation::Shop;

/// Most memory of its own that the server process of a session has had, in MB.
fn own_memory(session: &mut Client) -> u64 {
    let [pid] = lines(session, "SELECT pg_backend_pid()")
        .try_into()
        .unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (of("VmHWM") - of("RssFile") - of("RssShmem")) / 1024
}

/// Runs a statement and says how long it took.
fn timed(session: &mut Client, statement: &str) -> Vec<String> {
    let begun = Instant::now();
    let found = lines(session, statement);
    println!("{:.1} s: {statement}", begun.elapsed().as_secs_f32());
    found
}

#[test]
#[ignore = "writes a million events"]
fn million_accounts_are_sealed_and_verified_in_the_memory_that_is_documented() {
    let cluster = Cluster::start(&["max_wal_size=4GB", "shared_buffers=256MB"]);
    let db = cluster.database();
    let mut client = db.superuser();
    run(
        &mut client,
        "SELECT tenant_guard.init_ledger(); CREATE TABLE item (key int PRIMARY KEY, account_id text)",
    );
    capture(&mut client, "item", "account_id", "");
    for first in (0..1_000_000).step_by(100_000) {
        let last = first + 99_999;
        timed(
            &mut client,
            &format!(
                "INSERT INTO item SELECT n, 'account ' || n FROM generate_series({first}, {last}) AS n"
            ),
        );
    }
    let mut sealer = db.superuser();
    let sealed = timed(
        &mut sealer,
        "SELECT events >= 1000000, accounts >= 1000000 FROM tenant_guard.seal()",
    );
    assert_eq!(sealed, ["t|t"]);
    let mut verifier = db.superuser();
    let found = timed(&mut verifier, "SELECT * FROM tenant_guard.verify_ledger()");
    assert_eq!(found, [""; 0]);
    // 16 MB and 2 kB an account.
    for (what, session) in [("sealing", &mut sealer), ("verifying", &mut verifier)] {
        let used = own_memory(session);
        println!("{what}: {used} MB");
        assert!(used < 16 + 2 * 1000, "{what}: {used} MB");
    }
    // One more event of each of a few accounts is sealed without reading those that rest.
    run(
        &mut client,
        "UPDATE item SET key = -key WHERE key BETWEEN 1 AND 10",
    );
    let mut next = db.superuser();
    let sealed = timed(
        &mut next,
        "SELECT events, accounts FROM tenant_guard.seal()",
    );
    assert_eq!(sealed, ["10|10"]);
    println!("sealing ten: {} MB", own_memory(&mut next));
}

#[test]
#[ignore = "takes minutes"]
fn ten_thousand_protected_relations_are_compared_checked_dumped_and_used() {
    const TABLES: usize = 10_000;
    let cluster = Cluster::start(&["max_locks_per_transaction=1024", "shared_buffers=256MB"]);
    let shop = Shop::of(cluster.database());
    let mut owner = shop.owner();
    for first in (0..TABLES).step_by(500) {
        let ddl: String = (first..first + 500)
            .map(|n| format!("CREATE TABLE shop.t{n} (id int PRIMARY KEY, account_id uuid NOT NULL, name text);"))
            .collect();
        owner.batch_execute(&ddl).unwrap();
    }
    // All new in one transaction, then nothing to do.
    let manifest = format!(
        "SELECT phase, count(*) FROM tenant_guard.apply_manifest(
             jsonb_set(tenant_guard.export_manifest(), '{{relations}}',
                 (SELECT jsonb_object_agg('shop.t' || n, '{{}}'::jsonb)
                  FROM generate_series(0, {}) AS n))) GROUP BY 1 ORDER BY 1",
        TABLES - 1
    );
    let after = format!("after|{TABLES}");
    let applied = timed(&mut owner, &manifest);
    assert_eq!(applied, [after.clone(), format!("apply|{TABLES}")]);
    assert_eq!(timed(&mut owner, &manifest), [after]);
    let drift = "SELECT state, count(*) FROM tenant_guard.drift() GROUP BY 1";
    assert_eq!(timed(&mut owner, drift), [format!("pending|{TABLES}")]);
    println!("{} MB in that session", own_memory(&mut owner));
    let mut superuser = shop.db.superuser();
    let protected = "SELECT count(*) FROM tenant_guard.protected_member";
    assert_eq!(timed(&mut superuser, protected), [TABLES.to_string()]);
    let wrong = timed(
        &mut superuser,
        "SELECT code, count(*) FROM tenant_guard.check() WHERE code ~ '^(12|13|15|37|40)-' GROUP BY 1",
    );
    assert_eq!(wrong, [""; 0]);
    let begun = Instant::now();
    let mut dump = cluster.program("pg_dump");
    let dumped = dump.arg(shop.db.name()).stdout(Stdio::null()).status();
    assert!(dumped.unwrap().success());
    println!("{:.1} s: pg_dump", begun.elapsed().as_secs_f32());

    let begun = Instant::now();
    let mut app = shop.app();
    let mut transaction = app.transaction().unwrap();
    sign_in(&shop, &mut transaction, true).unwrap();
    let insert = format!("INSERT INTO shop.t7777 VALUES (1, '{ACCOUNT_A}', 'first')");
    transaction.batch_execute(&insert).unwrap();
    assert_eq!(lines(&mut transaction, "SELECT id FROM shop.t7777"), ["1"]);
    transaction.commit().unwrap();
    let first = begun.elapsed();
    println!(
        "{:.3} s: a new session's first transaction",
        first.as_secs_f32()
    );
    assert!(first.as_secs() < 5, "{first:?}");
    println!("{} MB in that session", own_memory(&mut app));
}
