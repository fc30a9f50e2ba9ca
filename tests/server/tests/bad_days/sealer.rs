//! Faults in the background worker that seals: nobody is there to see an error, and the events wait.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tenant_guard_tests::{Cluster, Database, lines};

use super::points::points;
use crate::capture::{capture, run};

const PATIENCE: Duration = Duration::from_secs(60);

const UNSEALED: &str = "SELECT unsealed_events FROM tenant_guard.ledger_status()";

/// Has the sealer of a database run into a fault with the events of a first commit.
fn try_fault(cluster: &Arc<Cluster>, fault: &str) {
    let db = cluster.database();
    let logged = cluster.log().len();
    let mut client = db.superuser();
    run(
        &mut client,
        "SELECT tenant_guard.init_ledger(); CREATE TABLE item (key int PRIMARY KEY, account_id text)",
    );
    capture(&mut client, "item", "account_id", "");
    set(&db, &format!("fault_points.at = '{fault}'"));
    set(&db, "tenant_guard.seal_interval = '50ms'");
    let mut writer = db.superuser();
    run(
        &mut writer,
        "SET fault_points.at = ''; INSERT INTO item SELECT n, n % 3 FROM generate_series(1, 9) AS n",
    );
    let (point, action) = fault.split_once(' ').expect("a point and an action");
    // A round that was cancelled says nothing; the other faults show that its point is passed.
    let (said, ends) = match action {
        "error" => (Some(format!("tried again: 58030 fault at {point}")), false),
        "memory" => (Some("tried again: 53200 ".to_owned()), false),
        "cancel" => (None, false),
        "terminate" => (Some("terminating background worker".to_owned()), true),
        "exit" => (Some("exited with exit code 1".to_owned()), true),
        other => panic!("no fault {other}"),
    };
    if let Some(said) = said {
        await_log(cluster, logged, &said);
    }
    if ends {
        // Each new sealer would meet the fault anew.
        set(&db, "fault_points.at = ''");
    }
    // One that goes on meets it once. One that is gone is followed by another at a later commit.
    let deadline = Instant::now() + PATIENCE;
    let mut next = Instant::now();
    while lines(&mut client, UNSEALED) != ["0"] {
        assert!(
            Instant::now() < deadline,
            "{fault}: the events are not sealed"
        );
        thread::sleep(Duration::from_millis(20));
        if ends && Instant::now() > next {
            next = Instant::now() + Duration::from_millis(500);
            run(
                &mut writer,
                "UPDATE item SET account_id = account_id WHERE key = 1",
            );
        }
    }
    let sealed = "SELECT sum(events) = (SELECT count(*) FROM tenant_guard.audit_log),
            count(*) FILTER (WHERE block <> n)
        FROM (SELECT block, events, row_number() OVER (ORDER BY block) AS n
              FROM tenant_guard.ledger_block) AS b";
    assert_eq!(lines(&mut client, sealed), ["t|0"], "{fault}");
    let findings = lines(&mut client, "SELECT * FROM tenant_guard.verify_ledger()");
    assert!(findings.is_empty(), "{fault}: {findings:?}");
}

/// Waits until the server says this, after so much of its log.
fn await_log(cluster: &Cluster, after: usize, said: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !cluster.log()[after..].contains(said) {
        assert!(Instant::now() < deadline, "the fault does not fire: {said}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn set(db: &Database, setting: &str) {
    run(
        &mut db.superuser(),
        &format!("ALTER DATABASE {} SET {setting}", db.name()),
    );
}

#[test]
fn fault_in_the_sealer_delays_sealing_and_loses_nothing() {
    // Its log is of one fault at a time.
    let cluster = Cluster::start(&[]);
    for fault in [
        "seal.block_written error",
        "sealer.before_commit exit",
        "sealer.after_commit error",
    ] {
        try_fault(&cluster, fault);
    }
}

#[test]
#[ignore = "waits for a sealer at every point"]
fn every_fault_at_every_point_of_the_sealer_loses_nothing() {
    let cluster = Cluster::start(&[]);
    for point in points().iter().filter(|point| point.starts_with("seal")) {
        for action in ["error", "memory", "cancel", "terminate", "exit"] {
            try_fault(&cluster, &format!("{point} {action}"));
        }
    }
}
