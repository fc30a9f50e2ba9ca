//! The buffer between reads and the log.

use tenant_guard_tests::{ACCOUNT_A, Cluster, expect_error, lines};

use super::{of_contacts, reads, rolled_back, shop, shop_in};
use crate::isolation::Shop;

const STATUS: &str = "SELECT buffer_bytes, used_bytes, lost_reads, lost_refusals, unbuffered_reads
    FROM tenant_guard.reads_status()";

#[test]
fn there_is_no_buffer_before_reads_are_audited() {
    let shop = Shop::contacts();
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.contact");
    });
    assert_eq!(lines(&mut shop.db.superuser(), STATUS), ["0|0|0|0|0"]);
    shop.run("SELECT tenant_guard.audit_reads('shop.contact')");
    assert_eq!(lines(&mut shop.db.superuser(), STATUS), ["4194304|0|0|0|0"]);
}

#[test]
fn what_finds_no_room_is_counted_and_said() {
    let cluster = Cluster::start(&["tenant_guard.read_buffer=64kB"]);
    let shop = shop_in(&cluster);
    let mut session = shop.app();
    for number in 0..1000 {
        // Somebody else each time: reads of one session fold where the buffer is half full.
        let mut claims = shop.issuer.claims(ACCOUNT_A);
        claims["sub"] = format!("visitor {number}").into();
        let mut transaction = session.transaction().unwrap();
        let sign_in = "SELECT tenant_guard.authenticate($1)";
        let token = shop.issuer.sign(&claims);
        transaction.execute(sign_in, &[&token]).unwrap();
        lines(&mut transaction, "SELECT * FROM shop.contact");
        transaction.rollback().unwrap();
    }
    let mut superuser = shop.db.superuser();
    let count = |client: &mut postgres::Client, query: &str| {
        lines(client, query)[0].parse::<i64>().unwrap()
    };
    let lost = count(
        &mut superuser,
        "SELECT lost_reads FROM tenant_guard.reads_status()",
    );
    assert!(lost > 500, "{lost} of 1000 are lost");
    let kept = reads(&shop.db).len() as i64;
    assert_eq!(kept + lost, 1000);
    let said = "SELECT kind, data FROM tenant_guard.audit_log WHERE action = 'reads_lost'";
    assert_eq!(
        lines(&mut superuser, said),
        [format!("system|{{\"reads\":{lost},\"refusals\":0}}")]
    );
    // Said once, and there is room again.
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.contact");
    });
    assert_eq!(reads(&shop.db).len() as i64, kept + 1);
    assert_eq!(lines(&mut superuser, said).len(), 1);
}

#[test]
fn one_session_does_not_flood_the_buffer() {
    let cluster = Cluster::start(&["tenant_guard.read_buffer=64kB"]);
    let shop = shop_in(&cluster);
    let mut session = shop.app();
    for _ in 0..2 {
        let mut transaction = session.transaction().unwrap();
        shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
        transaction
            .batch_execute(
                "DO $$BEGIN FOR n IN 1..2000 LOOP
                     PERFORM set_config('application_name', 'n' || n, false);
                     EXECUTE 'SELECT id AS n' || n || ' FROM shop.contact';
                 END LOOP; END$$",
            )
            .unwrap();
        transaction.rollback().unwrap();
    }
    let mut superuser = shop.db.superuser();
    lines(&mut superuser, "SELECT tenant_guard.flush_reads()");
    let counted = "SELECT sum((data::jsonb ->> 'executions')::int) FROM tenant_guard.audit_log
        WHERE action = 'read'";
    assert_eq!(lines(&mut superuser, counted), ["4000"]);
    let lost = "SELECT lost_reads FROM tenant_guard.reads_status()";
    assert_eq!(lines(&mut superuser, lost), ["0"]);
}

#[test]
fn next_writing_commit_takes_what_waits_along() {
    let shop = shop();
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.contact");
    });
    shop.within(ACCOUNT_A, |session| {
        session
            .batch_execute("UPDATE shop.contact SET name = 'x' WHERE id = 1")
            .unwrap();
    });
    let mut superuser = shop.db.superuser();
    assert_eq!(
        lines(&mut superuser, super::READS),
        [
            of_contacts("read|SELECT|2|1"),
            of_contacts("read|UPDATE|1|1")
        ]
    );
    assert_eq!(
        lines(&mut superuser, "SELECT tenant_guard.flush_reads()"),
        ["0"]
    );
}

#[test]
fn writer_that_rolls_back_leaves_what_waits() {
    let shop = shop();
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.contact");
    });
    let mut superuser = shop.db.superuser();
    superuser.batch_execute("BEGIN").unwrap();
    assert_eq!(
        lines(&mut superuser, "SELECT tenant_guard.flush_reads()"),
        ["1"]
    );
    assert_eq!(
        lines(&mut superuser, "SELECT tenant_guard.flush_reads()"),
        ["0"]
    );
    superuser.batch_execute("ROLLBACK").unwrap();
    assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|2|1")]);
    assert_eq!(reads(&shop.db).len(), 1, "once");
}

#[test]
fn idle_transaction_that_wrote_nothing_holds_nobody_up() {
    let shop = shop();
    let mut idle = shop.db.superuser();
    idle.batch_execute("BEGIN").unwrap();
    assert_eq!(lines(&mut idle, "SELECT tenant_guard.flush_reads()"), ["0"]);
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.contact");
    });
    let mut other = shop.db.superuser();
    other.batch_execute("SET lock_timeout = '5s'").unwrap();
    assert_eq!(
        lines(&mut other, "SELECT tenant_guard.flush_reads()"),
        ["1"]
    );
    idle.batch_execute("COMMIT").unwrap();
}

#[test]
fn what_a_savepoint_could_take_back_is_not_written_in_one() {
    let shop = shop();
    let mut superuser = shop.db.superuser();
    superuser.batch_execute("BEGIN; SAVEPOINT s").unwrap();
    let refused = superuser.batch_execute("SELECT tenant_guard.flush_reads()");
    expect_error(
        refused,
        "25001",
        "flush_reads() cannot run in a subtransaction",
    );
}

#[test]
fn statement_that_runs_is_written_and_its_end_names_it() {
    let shop = shop();
    rolled_back(&shop, |session| {
        session
            .batch_execute("DECLARE c CURSOR FOR SELECT * FROM shop.contact; FETCH 1 FROM c")
            .unwrap();
        assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|unknown|1")]);
        session.batch_execute("FETCH ALL FROM c; CLOSE c").unwrap();
    });
    assert_eq!(
        reads(&shop.db),
        [
            of_contacts("read|SELECT|unknown|1"),
            of_contacts("read|SELECT|2|1")
        ]
    );
    let named = "SELECT count(*), count(b.*) FROM tenant_guard.audit_log AS a
        LEFT JOIN tenant_guard.audit_log AS b
            ON b.data::jsonb ->> 'running' = a.data::jsonb ->> 'ended'
        WHERE a.data::jsonb ? 'ended'";
    assert_eq!(lines(&mut shop.db.superuser(), named), ["1|1"]);
}

#[test]
fn terminated_session_leaves_its_reads() {
    let shop = shop();
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    transaction
        .batch_execute("DECLARE c CURSOR FOR SELECT * FROM shop.contact; FETCH 1 FROM c")
        .unwrap();
    let pid = lines(&mut transaction, "SELECT pg_backend_pid()");
    let terminate = format!("SELECT pg_terminate_backend({}, 10000)", pid[0]);
    assert_eq!(lines(&mut shop.db.superuser(), &terminate), ["t"]);
    assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|unknown|1")]);
}

#[test]
fn database_with_a_buffer_can_be_dropped() {
    let cluster = Cluster::start(&[]);
    let shop = shop_in(&cluster);
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.contact");
    });
    let mut other = cluster
        .config("postgres", "postgres")
        .connect(postgres::NoTls)
        .unwrap();
    other
        .batch_execute(&format!("DROP DATABASE {}", shop.db.name()))
        .unwrap();
}
