//! Servers that go on elsewhere: a promoted standby, recovery to a point in time, pg_upgrade. No
//! event is lost, none is sealed twice, what was witnessed before still binds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use tenant_guard_tests::{Cluster, Database, lines};

use super::concurrent::ACCOUNTS_THAT_DIFFER;
use super::verification::found_since;
use super::{add, audit_items, checkpoint, findings, findings_against, seal};
use crate::capture::run;

const EPOCHS: &str = "SELECT block, epoch, timeline, events, adopted <> ''
                      FROM tenant_guard.ledger_block ORDER BY block";

/// Events and how many of them blocks hold.
const COUNTS: &str = "SELECT (SELECT count(*) FROM tenant_guard.audit_log),
                             (SELECT sum(events) FROM tenant_guard.ledger_block)";

/// A cluster of its own with an audited table.
fn primary(settings: &[&str]) -> (Arc<Cluster>, Database) {
    let cluster = Cluster::start(settings);
    let db = cluster.database();
    let mut client = db.superuser();
    run(&mut client, "SELECT tenant_guard.init_ledger()");
    audit_items(&mut client);
    (cluster, db)
}

/// Returns once a query gives this line.
#[track_caller]
fn await_line(client: &mut Client, query: &str, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while lines(client, query) != [expected] {
        assert!(
            Instant::now() < deadline,
            "{query} never gives {expected}, but {:?}",
            lines(client, query)
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// The ledger holds every item of the table, each sealed once, and nothing else.
#[track_caller]
fn check_ledger(client: &mut Client) {
    let differ = "SELECT key FROM item FULL JOIN
                      (SELECT row_key::json ->> 'key', count(*) FROM tenant_guard.audit_log
                       GROUP BY 1) AS logged (key, events) USING (key)
                  WHERE item IS NULL OR events IS DISTINCT FROM 1";
    assert_eq!(lines(client, differ), [""; 0]);
    let [counts] = lines(client, COUNTS).try_into().unwrap();
    let (events, sealed) = counts.split_once('|').unwrap();
    assert_eq!(events, sealed);
    assert_eq!(lines(client, ACCOUNTS_THAT_DIFFER), [""; 0]);
    assert_eq!(findings(client), [""; 0]);
}

#[test]
fn promoted_standby_seals_what_was_left_and_opens_an_epoch() {
    let (cluster, db) = primary(&[]);
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    assert_eq!(seal(&mut client), ["1|1|1"]);
    let first = checkpoint(&mut client);
    let backup = cluster.backup("standby");
    let conninfo = format!(
        "primary_conninfo=host={} user=postgres",
        cluster.directory().display()
    );
    let standby = Cluster::of_backup(&backup, "standby", &[&conninfo]);
    let copy = standby.attach(db.name());
    let mut reader = copy.superuser();

    add(&mut client, "two", "a");
    assert_eq!(seal(&mut client), ["2|1|1"]);
    let earlier = checkpoint(&mut client);
    add(&mut client, "unsealed", "b");
    let name = db.name();
    run(
        &mut client,
        &format!("BEGIN; INSERT INTO item VALUES ('late', 'b'); PREPARE TRANSACTION '{name}'"),
    );
    run(&mut client, "CREATE TABLE replicated ()");
    await_line(
        &mut reader,
        "SELECT to_regclass('replicated') IS NOT NULL",
        "t",
    );
    // A standby verifies and shows what it has.
    assert_eq!(findings_against(&mut reader, &earlier), [""; 0]);
    assert_eq!(checkpoint(&mut reader), earlier);
    assert_eq!(found_since(&mut reader, &first), [""; 0]);
    for part in ["part => 1, parts => 2", "part => 2, parts => 2"] {
        let call = format!("SELECT * FROM tenant_guard.verify_ledger({part})");
        assert_eq!(lines(&mut reader, &call), [""; 0]);
    }
    let status = "SELECT events, unsealed_events, sealer FROM tenant_guard.ledger_status()";
    assert_eq!(lines(&mut reader, status), ["3|1|standby"]);

    run(&mut reader, "SELECT pg_promote()");
    await_line(&mut reader, "SELECT pg_is_in_recovery()", "f");
    add(&mut reader, "after", "a");
    assert_eq!(seal(&mut reader), ["3|2|2"]);
    run(&mut reader, &format!("COMMIT PREPARED '{name}'"));
    assert_eq!(seal(&mut reader), ["4|1|1"]);
    assert_eq!(
        lines(&mut reader, EPOCHS),
        ["1|1|1|1|f", "2|1|1|1|f", "3|2|2|2|f", "4|2|2|1|f"]
    );
    let newest = checkpoint(&mut reader);
    for kept in [&first, &earlier, &newest] {
        assert_eq!(found_since(&mut reader, kept), [""; 0]);
    }
    check_ledger(&mut reader);
    assert_eq!(findings_against(&mut reader, &earlier), [""; 0]);
    // The old server that goes on is another ledger from there on, and its checkpoints say so.
    assert_eq!(seal(&mut client), ["3|1|1"]);
    let fork = checkpoint(&mut client);
    assert_eq!(
        findings_against(&mut reader, &fork),
        ["checkpoint_mismatch"]
    );
    assert_ne!(fork.lines().next(), checkpoint(&mut reader).lines().next());
}

#[test]
fn recovery_to_the_middle_of_a_load_loses_and_doubles_no_event() {
    let (cluster, db) = primary(&[]);
    let archive = cluster.directory().join("archive");
    let archive = archive.display();
    cluster.configure(&format!(
        "archive_mode = on
         archive_command = 'mkdir -p {archive} && cp %p {archive}/%f'
         tenant_guard.seal_interval = '20ms'\n"
    ));
    cluster.restart();
    let mut client = db.superuser();
    add(&mut client, "before the backup", "a");
    let backup = cluster.backup("middle");
    let mut earlier = String::new();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..4 {
            let (db, stop) = (&db, &stop);
            scope.spawn(move || {
                let mut writer = db.superuser();
                for made in 0.. {
                    if stop.load(Relaxed) {
                        return;
                    }
                    add(
                        &mut writer,
                        &format!("{number}.{made}"),
                        &format!("{}", made % 3),
                    );
                }
            });
        }
        let blocks = "SELECT count(*) > 5 FROM tenant_guard.ledger_block";
        await_line(&mut client, blocks, "t");
        earlier = checkpoint(&mut client);
        run(&mut client, "SELECT pg_create_restore_point('middle')");
        let blocks = "SELECT count(*) > 15 FROM tenant_guard.ledger_block";
        await_line(&mut client, blocks, "t");
        stop.store(true, Relaxed);
    });
    run(&mut client, "SELECT pg_switch_wal()");
    let recovered = Cluster::of_backup(
        &backup,
        "recovery",
        &[
            "archive_mode=off",
            &format!("restore_command=cp {archive}/%f %p"),
            "recovery_target_name=middle",
            "recovery_target_action=promote",
        ],
    );
    let copy = recovered.attach(db.name());
    let mut reader = copy.superuser();
    await_line(&mut reader, "SELECT pg_is_in_recovery()", "f");
    let fewer = "SELECT count(*) FROM tenant_guard.audit_log";
    let (there, here) = (lines(&mut client, fewer), lines(&mut reader, fewer));
    assert!(there[0].parse::<i64>().unwrap() > here[0].parse().unwrap());
    assert_eq!(findings(&mut reader), [""; 0]);
    // Its transaction ids are those that the old timeline went on to use.
    add(&mut reader, "after", "a");
    seal(&mut reader);
    let epochs = "SELECT epoch, timeline FROM tenant_guard.ledger_block GROUP BY 1, 2 ORDER BY 1";
    assert_eq!(lines(&mut reader, epochs), ["1|1", "2|2"]);
    check_ledger(&mut reader);
    assert_eq!(findings_against(&mut reader, &earlier), [""; 0]);
    let latest = checkpoint(&mut client);
    assert_eq!(
        findings_against(&mut reader, &latest),
        ["checkpoint_mismatch"]
    );
}

/// Nothing inside tells a copy of the disk from the original; two checkpoints of one name and
/// size with different roots do.
#[test]
fn cloned_data_directory_is_shown_by_witnesses_alone() {
    let (cluster, db) = primary(&[]);
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    seal(&mut client);
    let clone = Cluster::of_backup(&cluster.backup("clone"), "none", &[]);
    let copy = clone.attach(db.name());
    let mut other = copy.superuser();
    let mut forks = Vec::new();
    for (client, key) in [(&mut client, "here"), (&mut other, "there")] {
        add(client, key, "a");
        assert_eq!(seal(client), ["2|1|1"]);
        check_ledger(client);
        forks.push(checkpoint(client));
    }
    let parts = |checkpoint: &str| {
        checkpoint.rsplit_once('\n').map(|_| {
            let mut lines = checkpoint.lines();
            (
                format!("{:?} {:?}", lines.next(), lines.next()),
                lines.next().map(str::to_owned),
            )
        })
    };
    let (here, there) = (parts(&forks[0]).unwrap(), parts(&forks[1]).unwrap());
    assert_eq!(here.0, there.0);
    assert_ne!(here.1, there.1);
    assert_eq!(
        findings_against(&mut client, &forks[1]),
        ["checkpoint_mismatch"]
    );
}
