//! Rows of hundreds of megabytes.

use std::process::Stdio;

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, Database, expect_error, lines};

use super::points::check_ledger;
use super::steps::{shop, sign_in};
use crate::isolation::Shop;

const MEGABYTE: usize = 1 << 20;

/// Inserts a contact whose name repeats an expression so often.
fn insert(
    shop: &Shop,
    session: &mut Client,
    id: usize,
    piece: &str,
    times: usize,
) -> Result<(), postgres::Error> {
    let mut transaction = session.transaction()?;
    sign_in(shop, &mut transaction, true)?;
    transaction.batch_execute(&format!(
        "INSERT INTO shop.contact VALUES ({id}, '{ACCOUNT_A}', repeat({piece}, {times}))"
    ))?;
    transaction.commit()
}

/// The contacts of a hundred megabytes and more, and the server that is still the same one.
fn large(session: &mut Client) -> Vec<String> {
    let large = "SELECT id, length(name) / (1 << 20) FROM shop.contact WHERE length(name) > 100000000 ORDER BY 1";
    lines(session, large)
}

#[test]
fn row_too_large_for_the_log_is_refused_and_the_session_goes_on() {
    let shop = shop(Database::new());
    let mut session = shop.app();
    // As one character that is six in JSON.
    let refused = insert(&shop, &mut session, 10, "chr(1)", 140 * MEGABYTE);
    expect_error(refused, "54000", "event is too large for the audit log");
    insert(&shop, &mut session, 11, "'x'", 1000).unwrap();
    check_ledger(&shop, "too large");
    assert_eq!(large(&mut shop.db.superuser()), [""; 0]);
}

/// Whatever the log takes, it must give back: to a dump, to a verification.
#[test]
#[ignore = "writes rows of hundreds of megabytes"]
fn rows_of_up_to_a_gigabyte_are_logged_and_dumped_or_refused() {
    let shop = shop(Database::new());
    shop.run(
        "CREATE TABLE shop.file (id int PRIMARY KEY, account_id uuid, name text, other text);
         SELECT tenant_guard.protect('shop.file')",
    );
    let start = "SELECT pg_postmaster_start_time()";
    let mut superuser = shop.db.superuser();
    let started = lines(&mut superuser, start);
    let mut session = shop.app();
    let mut id = 10;
    let mut kept = Vec::new();
    for (piece, megabytes, fits) in [
        ("'x'", 300, true),
        ("'x'", 700, true),
        ("'x'", 800, false),
        ("'x'", 1020, false),
        ("'\"'", 200, true),
        // Stored it were smaller than a row may be, and larger in a dump.
        ("'\"'", 370, false),
        ("chr(10)", 370, false),
        ("chr(1)", 300, false),
    ] {
        id += 1;
        let outcome = insert(&shop, &mut session, id, piece, megabytes * MEGABYTE);
        if fits {
            outcome.unwrap_or_else(|error| panic!("{megabytes} MB of {piece}: {error:?}"));
            kept.push(format!("{id}|{megabytes}"));
        } else {
            expect_error(outcome, "54000", "event is too large for the audit log");
        }
        assert_eq!(large(&mut superuser), kept);
    }
    // Two columns, neither too large alone.
    let mut transaction = session.transaction().unwrap();
    sign_in(&shop, &mut transaction, true).unwrap();
    let two = transaction.batch_execute(&format!(
        "INSERT INTO shop.file SELECT 1, '{ACCOUNT_A}', x, x FROM repeat('x', 500 << 20) AS x"
    ));
    expect_error(two, "54000", "event is too large for the audit log");
    transaction.rollback().unwrap();
    // Old and new value stand in one event.
    let mut transaction = session.transaction().unwrap();
    sign_in(&shop, &mut transaction, true).unwrap();
    let both =
        transaction.batch_execute("UPDATE shop.contact SET name = name || 'y' WHERE id = 12");
    expect_error(both, "54000", "event is too large for the audit log");
    transaction.rollback().unwrap();

    superuser
        .batch_execute("SELECT * FROM tenant_guard.seal()")
        .unwrap();
    check_ledger(&shop, "huge rows");
    let mut dump = shop.db.cluster().program("pg_dump");
    let dumped = dump
        .arg(shop.db.name())
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&dumped.stderr);
    assert!(dumped.status.success(), "{errors}");
    // Looking back holds rows in memory, so much and no more.
    for question in [
        "SELECT event_id FROM tenant_guard.row_history('shop.contact', '{\"id\": 12}')",
        "SELECT * FROM tenant_guard.as_of('shop.contact', now())",
    ] {
        expect_error(
            superuser.simple_query(question),
            "53200",
            "tenant_guard.history_memory",
        );
    }
    assert_eq!(lines(&mut superuser, start), started);
}
