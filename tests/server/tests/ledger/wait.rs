//! Waiting until an event is sealed.

use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use tenant_guard_tests::{
    ACCOUNT_A, ACCOUNT_B, Database, Issuer, await_lines, expect_error, lines,
};

use super::{add, database, findings, seal};
use crate::capture::run;

const WAIT: &str = "SELECT tenant_guard.wait_sealed(timeout => '60 s')";
const NOT_LONG: &str = "SELECT tenant_guard.wait_sealed(timeout => '100 ms')";

fn on(db: &Database, interval: &str) {
    let name = db.name();
    let set = format!("ALTER DATABASE {name} SET tenant_guard.seal_interval = '{interval}'");
    run(&mut db.superuser(), &set);
}

/// Records an event of the account in a transaction of its own; its id.
fn record(session: &mut Client, issuer: &Issuer, account: &str) -> String {
    let mut transaction = session.transaction().unwrap();
    issuer.sign_in(&mut transaction, account);
    let id = lines(
        &mut transaction,
        "SELECT tenant_guard.record_event('export')",
    );
    transaction.commit().unwrap();
    id[0].clone()
}

fn wait_for(id: &str) -> String {
    format!("SELECT tenant_guard.wait_sealed('{id}', '10 s')")
}

#[test]
fn waiting_has_the_sealer_work_at_once() {
    let db = database();
    on(&db, "1h");
    let mut client = db.superuser();
    for key in ["one", "two", "three"] {
        add(&mut client, key, "a");
        let begun = Instant::now();
        assert_eq!(lines(&mut client, WAIT), ["t"]);
        assert!(begun.elapsed() < Duration::from_secs(50));
    }
    let sealed = "SELECT sum(events) FROM tenant_guard.ledger_block";
    assert_eq!(lines(&mut client, sealed), ["3"]);
    assert_eq!(findings(&mut client), [""; 0]);
}

#[test]
fn without_sealing_the_wait_ends_with_its_time() {
    let db = database();
    let mut client = db.superuser();
    assert_eq!(lines(&mut client, NOT_LONG), ["t"]);
    add(&mut client, "one", "a");
    assert_eq!(lines(&mut client, NOT_LONG), ["f"]);
    seal(&mut client);
    assert_eq!(lines(&mut client, NOT_LONG), ["t"]);
}

#[test]
fn somebody_elses_sealing_ends_the_wait() {
    let db = database();
    let (mut client, mut other) = (db.superuser(), db.superuser());
    add(&mut client, "one", "a");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| lines(&mut client, WAIT));
        let query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                     AND query LIKE '%wait\\_sealed%' AND wait_event = 'Extension'";
        await_lines(&mut other, query, &["1"]);
        seal(&mut other);
        assert_eq!(waiting.join().unwrap(), ["t"]);
    });
}

#[test]
fn wait_can_be_cancelled() {
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    run(&mut client, "SET statement_timeout = '100ms'");
    expect_error(client.batch_execute(WAIT), "57014", "statement timeout");
}

/// Nobody can seal what is not committed, so the wait would only end with its time.
#[test]
fn wait_inside_the_writing_transaction_is_refused() {
    let db = database();
    on(&db, "50ms");
    let mut client = db.superuser();
    for begin in [
        "BEGIN; INSERT INTO item VALUES ('one', 'a')",
        "BEGIN; SAVEPOINT s; INSERT INTO item VALUES ('one', 'a'); RELEASE s",
    ] {
        run(&mut client, begin);
        expect_error(
            client.batch_execute(WAIT),
            "55000",
            "this transaction has events of its own, which are sealed after it commits",
        );
        run(&mut client, "ROLLBACK");
    }
    // A transaction that wrote something else may wait.
    run(&mut client, "BEGIN; CREATE TABLE unaudited (n int)");
    assert_eq!(lines(&mut client, WAIT), ["t"]);
    run(&mut client, "ROLLBACK");
}

#[test]
fn what_is_committed_later_is_not_waited_for() {
    let db = database();
    let (mut client, mut open) = (db.superuser(), db.superuser());
    run(&mut open, "BEGIN; INSERT INTO item VALUES ('late', 'a')");
    add(&mut client, "one", "a");
    seal(&mut client);
    assert_eq!(lines(&mut client, NOT_LONG), ["t"]);
    run(&mut open, "COMMIT");
    assert_eq!(lines(&mut client, NOT_LONG), ["f"]);
}

#[test]
fn account_waits_for_its_own_events_only() {
    let db = database();
    on(&db, "50ms");
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut db.superuser());
    let mut app = db.connect_as(&db.role("app"));
    let own = record(&mut app, &issuer, ACCOUNT_A);
    let others = record(&mut app, &issuer, ACCOUNT_B);
    let mut client = db.superuser();
    add(&mut client, "one", "");
    let system = lines(
        &mut client,
        "SELECT format('%s-%s-%s', lpad(to_hex(incarnation), 16, '0'), xid, ordinal)
         FROM tenant_guard.audit_log WHERE relation = 'public.item'",
    )
    .remove(0);

    expect_error(app.batch_execute(&wait_for(&own)), "28000", "no identity");
    expect_error(app.batch_execute(WAIT), "28000", "no identity");
    let mut transaction = app.transaction().unwrap();
    issuer.sign_in(&mut transaction, ACCOUNT_A);
    assert_eq!(lines(&mut transaction, &wait_for(&own)), ["t"]);
    assert_eq!(lines(&mut transaction, WAIT), ["t"]);
    transaction.commit().unwrap();
    let unknown = format!("{}-999999999-0", &own[..16]);
    for id in [&others, &system, &unknown] {
        let mut transaction = app.transaction().unwrap();
        issuer.sign_in(&mut transaction, ACCOUNT_A);
        expect_error(
            transaction.batch_execute(&wait_for(id)),
            "42704",
            &format!("event \"{id}\" does not exist"),
        );
    }
    for id in [&own, &others, &system] {
        assert_eq!(lines(&mut client, &wait_for(id)), ["t"]);
    }
}

#[test]
fn auditor_waits_for_every_event() {
    let db = database();
    on(&db, "50ms");
    let auditor = db.role("auditor");
    let mut client = db.superuser();
    run(
        &mut client,
        &format!("GRANT tenant_guard_auditor TO {auditor}"),
    );
    add(&mut client, "one", "a");
    assert_eq!(lines(&mut db.connect_as(&auditor), WAIT), ["t"]);
}

#[test]
fn unfit_arguments_are_refused() {
    let db = database();
    let mut client = db.superuser();
    for id in ["", "x", "1-2-3", "0000000000000000-01-0"] {
        expect_error(
            client.batch_execute(&wait_for(id)),
            "22023",
            "event_id is not an event id",
        );
    }
    expect_error(
        client.batch_execute("SELECT tenant_guard.wait_sealed(timeout => '1 month')"),
        "22023",
        "timeout",
    );
}
