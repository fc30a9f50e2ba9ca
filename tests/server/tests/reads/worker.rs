//! The sealer writes reads into the log, with nobody's help.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use tenant_guard_tests::{ACCOUNT_A, Cluster, Database, await_lines, lines};

use super::{READS, loaded, of_contacts, rolled_back, shop, shop_in};
use crate::capture::switch_guards_off;
use crate::isolation::Shop;

fn switch_on(db: &Database) {
    let interval = format!(
        "ALTER DATABASE {} SET tenant_guard.seal_interval = '50ms'",
        db.name()
    );
    db.superuser().batch_execute(&interval).unwrap();
}

#[test]
fn read_starts_the_sealer_which_writes_and_seals_it() {
    let shop = shop();
    switch_on(&shop.db);
    let mut session = shop.app();
    let mut transaction = session.build_transaction().read_only(true).start().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    lines(&mut transaction, "SELECT * FROM shop.contact");
    transaction.commit().unwrap();
    let mut superuser = shop.db.superuser();
    await_lines(&mut superuser, READS, &[&of_contacts("read|SELECT|2|1")]);
    let unsealed = "SELECT unsealed_events FROM tenant_guard.ledger_status()";
    await_lines(&mut superuser, unsealed, &["0"]);
    let findings = "SELECT * FROM tenant_guard.verify_ledger()";
    assert_eq!(lines(&mut superuser, findings), [""; 0]);
}

#[test]
fn long_copy_is_written_while_it_runs_and_its_end_later() {
    let shop = shop();
    switch_on(&shop.db);
    let mut superuser = shop.db.superuser();
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    transaction
        .batch_execute("DECLARE c CURSOR FOR SELECT * FROM shop.contact; FETCH 1 FROM c")
        .unwrap();
    // Nobody does anything meanwhile.
    await_lines(
        &mut superuser,
        READS,
        &[&of_contacts("read|SELECT|unknown|1")],
    );
    transaction.batch_execute("CLOSE c").unwrap();
    transaction.rollback().unwrap();
    await_lines(
        &mut superuser,
        READS,
        &[
            &of_contacts("read|SELECT|unknown|1"),
            &of_contacts("read|SELECT|1|1"),
        ],
    );
}

#[test]
fn sealer_leaves_when_there_is_nothing_to_write() {
    let shop = shop();
    switch_on(&shop.db);
    let idle = format!(
        "ALTER DATABASE {} SET tenant_guard.sealer_idle = '100ms'",
        shop.db.name()
    );
    shop.db.superuser().batch_execute(&idle).unwrap();
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.contact");
    });
    let mut superuser = shop.db.superuser();
    await_lines(&mut superuser, READS, &[&of_contacts("read|SELECT|2|1")]);
    let sealers = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE backend_type = 'tenant_guard sealer' AND datname = '{}'",
        shop.db.name()
    );
    await_lines(&mut superuser, &sealers, &["0"]);
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.contact");
    });
    let again = of_contacts("read|SELECT|2|1");
    await_lines(&mut superuser, READS, &[&again, &again]);
}

#[test]
fn server_that_is_stopped_writes_what_waits() {
    let cluster = Cluster::start(&["tenant_guard.seal_interval=1h"]);
    let shop = shop_in(&cluster);
    let read = || {
        rolled_back(&shop, |session| {
            lines(session, "SELECT * FROM shop.contact");
        });
    };
    // The first round comes at once, the next one in an hour.
    let sealer = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE backend_type = 'tenant_guard sealer' AND datname = '{}'",
        shop.db.name()
    );
    read();
    await_lines(&mut shop.db.superuser(), &sealer, &["1"]);
    let sealed = "SELECT count(*) > 0 FROM tenant_guard.ledger_block";
    await_lines(&mut shop.db.superuser(), sealed, &["t"]);
    read();
    read();
    cluster.restart();
    let expected = format!("read|SELECT|0|1|{ACCOUNT_A}|shop.contact|<null>");
    let found = lines(&mut shop.db.superuser(), READS);
    assert_eq!(found, [expected.clone(), expected.clone(), expected]);
}

#[test]
fn databases_that_were_dropped_give_their_buffers_up_first() {
    let cluster = Cluster::start(&["max_worker_processes=8", "tenant_guard.seal_interval=0"]);
    let shops: Vec<_> = (0..8).map(|_| shop_in(&cluster)).collect();
    for shop in &shops {
        rolled_back(shop, |session| {
            lines(session, "SELECT * FROM shop.contact");
        });
    }
    // Of all but the one used longest ago, in which nothing waits any more.
    let mut shops = shops.into_iter();
    let used_longest_ago = shops.next().unwrap();
    assert_eq!(super::reads(&used_longest_ago.db).len(), 1);
    drop(shops);
    let _new = shop_in(&cluster);
    let status = "SELECT buffer_bytes FROM tenant_guard.reads_status()";
    let kept = lines(&mut used_longest_ago.db.superuser(), status);
    assert_eq!(kept, ["4194304"]);
}

#[test]
fn ledger_that_cannot_be_sealed_keeps_no_read_out() {
    let cluster = Cluster::start(&["tenant_guard.seal_interval=50ms"]);
    let shop = shop_in(&cluster);
    let mut superuser = shop.db.superuser();
    let read = || {
        rolled_back(&shop, |session| {
            lines(session, "SELECT * FROM shop.contact");
        });
    };
    let written = "SELECT count(*) FROM tenant_guard.audit_log WHERE action = 'read'";
    let unsealed = "SELECT unsealed_events FROM tenant_guard.ledger_status()";
    read();
    await_lines(&mut superuser, written, &["1"]);
    await_lines(&mut superuser, unsealed, &["0"]);
    switch_guards_off(&mut superuser);
    superuser
        .batch_execute(
            "ALTER TABLE tenant_guard.ledger_account DISABLE TRIGGER tenant_guard_guard;
             UPDATE tenant_guard.ledger_account SET state = '\\x00'",
        )
        .unwrap();
    let failing = "SELECT sealer LIKE 'failing%' FROM tenant_guard.ledger_status()";
    for number in 2..=6 {
        read();
        await_lines(&mut superuser, written, &[&number.to_string()]);
        await_lines(&mut superuser, failing, &["t"]);
    }
}

#[test]
fn server_that_is_killed_loses_what_waits_and_nothing_that_was_written() {
    let cluster = Cluster::start(&[]);
    let shop = shop_in(&cluster);
    let read = || {
        rolled_back(&shop, |session| {
            lines(session, "SELECT * FROM shop.contact");
        });
    };
    read();
    lines(
        &mut shop.db.superuser(),
        "SELECT tenant_guard.flush_reads()",
    );
    read();
    cluster.kill();
    cluster.restart_after_kill();
    let mut superuser = shop.db.superuser();
    let expected = format!("read|SELECT|0|1|{ACCOUNT_A}|shop.contact|<null>");
    assert_eq!(super::reads(&shop.db).join(";"), expected);
    let status = "SELECT buffer_bytes, used_bytes FROM tenant_guard.reads_status()";
    assert_eq!(lines(&mut superuser, status), ["4194304|0"]);
    read();
    assert_eq!(super::reads(&shop.db), [expected.clone(), expected]);
}

#[test]
fn standby_writes_reads_into_the_servers_log() {
    let primary = Cluster::start(&[]);
    let shop = shop_in(&primary);
    let conninfo = format!(
        "primary_conninfo=host={} user=postgres application_name=near",
        primary.directory().display()
    );
    let standby = Cluster::of_backup(&primary.backup("near"), "standby", &[&conninfo]);
    let mut reader = loaded(&standby.attach(shop.db.name()));
    lines(
        &mut reader,
        "SELECT * FROM shop.contact WHERE name = 'Zq7PlumTree'",
    );
    let mut text = String::new();
    reader
        .copy_out("COPY shop.contact TO STDOUT")
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let log = standby.log();
    for what in ["SELECT", "COPY"] {
        let line = format!("tenant_guard: {what} of shop.contact on a standby: account \"\"");
        assert!(log.contains(&line), "{log}");
    }
    assert!(!log.contains("PlumTree"), "{log}");
    assert_eq!(
        lines(
            &mut reader,
            "SELECT unbuffered_reads FROM tenant_guard.reads_status()"
        ),
        ["2"]
    );
}

#[test]
#[ignore = "reads for twenty seconds"]
fn sixteen_clients_at_five_thousand_reads_a_second_lose_nothing() {
    const CLIENTS: u32 = 16;
    const READS: u32 = 5_000 * 20 / CLIENTS;
    let cluster = Cluster::start(&["tenant_guard.seal_interval=1s"]);
    let shop = Shop::of(cluster.database());
    shop.run(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid);
         SELECT tenant_guard.audit('shop.contact');
         SELECT tenant_guard.audit_reads('shop.contact')",
    );
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut session = loaded(&shop.db);
                let statement = session
                    .prepare("SELECT id FROM shop.contact WHERE id = $1")
                    .unwrap();
                let started = Instant::now();
                for number in 0..READS {
                    session.query(&statement, &[&1]).unwrap();
                    let due = started + Duration::from_secs(20) * number / READS;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            });
        }
    });
    let mut superuser = shop.db.superuser();
    let written = "SELECT count(*), sum((data::json ->> 'executions')::bigint)
        FROM tenant_guard.audit_log WHERE action = 'read'";
    let all = (CLIENTS * READS).to_string();
    await_lines(&mut superuser, written, &[&format!("{all}|{all}")]);
    let lost = "SELECT lost_reads, unbuffered_reads FROM tenant_guard.reads_status()";
    assert_eq!(lines(&mut superuser, lost), ["0|0"]);
}
