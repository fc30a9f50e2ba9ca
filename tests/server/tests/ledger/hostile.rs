//! What ordinary tenants and administrators may try at proofs and exports.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postgres::Client;
use tenant_guard_core::note::{KeyKind, SigningKey};
use tenant_guard_tests::{ACCOUNT_A, Issuer, expect_error, lines};

use super::offline::{assert_same, export};
use super::proofs::{KEY, key_file, one, set_key};
use super::{add, checkpoint, database, findings, seal};
use crate::capture::{capture, run};

/// A table without a primary key, of which the role may read one column: the key of its rows is
/// the whole row, and a hash of the whole row is soon guessed.
#[test]
fn subject_gets_no_receipt_of_changes_of_rows() {
    let db = database();
    let mut superuser = db.superuser();
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut superuser);
    let role = db.role("app");
    run(
        &mut superuser,
        &format!(
            "CREATE TABLE emp (account_id text, name text, salary int);
             INSERT INTO emp VALUES ('{ACCOUNT_A}', 'ann', 4711);
             GRANT SELECT (account_id, name), UPDATE (name) ON emp TO {role}"
        ),
    );
    capture(&mut superuser, "emp", "account_id", "");
    let mut app = db.connect_as(&role);
    let mut transaction = app.transaction().unwrap();
    issuer.sign_in(&mut transaction, ACCOUNT_A);
    run(
        &mut transaction,
        "UPDATE emp SET name = 'ann2' WHERE name = 'ann'",
    );
    transaction.commit().unwrap();
    seal(&mut superuser);
    let row = "SELECT event_id FROM tenant_guard.audit_event WHERE relation = 'public.emp'";
    let event = one(&mut superuser, row);
    let mut transaction = app.transaction().unwrap();
    issuer.sign_in(&mut transaction, ACCOUNT_A);
    let outcome = transaction.query(&format!("SELECT tenant_guard.receipt('{event}')"), &[]);
    expect_error(
        outcome,
        "42501",
        "no receipt of a row event is made for an identity",
    );
    transaction.rollback().unwrap();
    // Whoever answers for the log hands it out.
    let auditor = db.role("auditor");
    run(
        &mut superuser,
        &format!("GRANT tenant_guard_auditor TO {auditor}"),
    );
    let ask = format!("SELECT tenant_guard.receipt('{event}')");
    assert!(one(&mut db.connect_as(&auditor), &ask).starts_with("c2sp.org/tlog-proof@v1\n"));
}

#[test]
fn record_event_takes_no_long_values() {
    let db = database();
    let mut client = db.superuser();
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut client);
    let mut transaction = client.transaction().unwrap();
    issuer.sign_in(&mut transaction, ACCOUNT_A);
    for (arguments, name) in [
        ("repeat('a', 1048577)", "target"),
        ("repeat('a', 350000000)", "target"),
        ("'', to_jsonb(repeat('a', 1048575))", "data"),
        ("'', to_jsonb(repeat('a', 100000000))", "data"),
        // Whose text is six times and ten thousand times as long as what is stored.
        ("'', to_jsonb(repeat(E'\\x01', 180000))", "data"),
        (
            "'', to_jsonb(array_fill(1e100000::numeric, ARRAY[11]))",
            "data",
        ),
    ] {
        let mut savepoint = transaction.transaction().unwrap();
        let call = format!("SELECT tenant_guard.record_event('x', {arguments})");
        expect_error(
            savepoint.query(&call, &[]),
            "22023",
            &format!("{name} is longer than 1048576 bytes"),
        );
        savepoint.rollback().unwrap();
    }
    let longest = "SELECT tenant_guard.record_event('x', repeat('a', 1048576),
                       to_jsonb(repeat('a', 1048574)))";
    transaction.query(longest, &[]).unwrap();
    transaction.commit().unwrap();
    seal(&mut client);
    assert_eq!(findings(&mut client), [""; 0]);
    assert_same(&mut client, &[]);
}

/// A few megabytes in a table, thirty in the log, and twice that in a bundle.
#[test]
fn row_of_many_megabytes_is_exported_and_verified() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE blob (account_id text, body text)",
    );
    capture(&mut client, "blob", "account_id", "");
    run(
        &mut client,
        "INSERT INTO blob VALUES ('a', repeat(E'\\x01', 5000000));
         DELETE FROM blob",
    );
    seal(&mut client);
    assert_eq!(findings(&mut client), [""; 0]);
    assert_same(&mut client, &[]);
    let content = String::from_utf8(export(&mut client, "'a'")).expect("text");
    let longest = content.lines().map(str::len).max();
    assert!(longest < Some(8 << 20), "{longest:?}");
    let event = one(
        &mut client,
        "SELECT event_id FROM tenant_guard.audit_event WHERE action = 'delete'",
    );
    let outcome = client.query(&format!("SELECT tenant_guard.receipt('{event}')"), &[]);
    expect_error(
        outcome,
        "54000",
        "the receipt would be longer than 33554432 bytes",
    );
}

fn cosign(client: &mut Client, note: &str) -> Result<u64, postgres::Error> {
    client.execute("SELECT tenant_guard.add_cosignature($1)", &[&note])
}

fn junk(name: &str, bytes: &[u8]) -> String {
    format!("\u{2014} {name} {}\n", STANDARD.encode(bytes))
}

#[test]
fn junk_signatures_leave_the_ledgers_own_key_its_place() {
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    seal(&mut client);
    let body = checkpoint(&mut client);
    let lines_of_junk: String = (0..64)
        .map(|n| junk(&format!("junk{n}"), &[7; 12]))
        .collect();
    cosign(&mut client, &format!("{body}\n{lines_of_junk}")).unwrap();
    let more = format!("{body}\n{}", junk("one-more", &[7; 12]));
    let too_many = "note does not fit: there are too many signatures of its text";
    expect_error(cosign(&mut client, &more), "22023", too_many);
    let key: SigningKey = KEY.parse().unwrap();
    let own = format!("{body}\n{}", key.sign(&body, 0));
    expect_error(cosign(&mut client, &own), "22023", too_many);
    let file = key_file(&mut client, KEY);
    set_key(&mut client, &file);
    cosign(&mut client, &own).unwrap();
    for long in [junk("x", &[7; 300]), junk(&"n".repeat(300), &[7; 12])] {
        expect_error(
            cosign(&mut client, &format!("{body}\n{long}")),
            "22023",
            "note does not fit: a signature of it is too long",
        );
    }
}

/// An idle ledger keeps its checkpoint, and a witness signs it again every day.
#[test]
fn witness_that_signs_again_takes_its_own_place() {
    let db = database();
    let mut client = db.superuser();
    add(&mut client, "one", "a");
    seal(&mut client);
    let body = checkpoint(&mut client);
    let witness = SigningKey::from_seed("witness.example", KeyKind::Cosignature, &[3; 32]).unwrap();
    for day in 0..70 {
        let line = witness.sign(&body, 1_760_000_000 + 86_400 * day);
        cosign(&mut client, &format!("{body}\n{line}")).unwrap();
    }
    let last = witness.sign(&body, 1_760_000_000 + 86_400 * 69);
    assert_eq!(
        lines(
            &mut client,
            "SELECT note FROM tenant_guard.ledger_checkpoint"
        ),
        [format!("{body}\n{last}")]
    );
}
