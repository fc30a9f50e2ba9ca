//! Rows that a superuser adds where verification might not look.

use crate::capture::run;
use tenant_guard_tests::lines;

use super::tamper::{Found, defenceless, verify};

/// Where the key is gone, the sound row may stand last and hide the one before it.
#[test]
fn garbage_before_the_sound_row_of_an_account_is_found() {
    let (_db, mut client) = defenceless();
    run(
        &mut client,
        "WITH sound AS (DELETE FROM tenant_guard.ledger_account RETURNING *)
         INSERT INTO tenant_guard.ledger_account (account_id, blinding, size, state)
             SELECT account_id, '\\x00'::bytea, -1, '\\x00'::bytea FROM sound
             UNION ALL SELECT account_id, blinding, size, state FROM sound",
    );
    let found = verify(&mut client);
    let twice = |found: &&Found| found.detail == "the account has another row";
    let found: Vec<_> = found.iter().filter(twice).collect();
    assert!(found.iter().all(|found| found.code == "account_altered"));
    let mut accounts: Vec<_> = found
        .iter()
        .filter_map(|found| found.account.clone())
        .collect();
    accounts.sort();
    assert_eq!(
        accounts,
        lines(
            &mut client,
            "SELECT DISTINCT account_id COLLATE \"C\" FROM tenant_guard.ledger_account ORDER BY 1"
        )
    );
}

/// Neither sealed nor unsealed for good: an event with the id of a transaction to come.
#[test]
fn event_of_a_transaction_to_come_is_found() {
    let (_db, mut client) = defenceless();
    run(
        &mut client,
        "INSERT INTO tenant_guard.audit_log
             (incarnation, xid, command_id, occurred_at, ordinal, kind, action, account_id, leaf_hash)
         SELECT incarnation, 1000000000000000, 0, '2020-01-01', 0, 'application', 'approved', '', leaf_hash
         FROM tenant_guard.audit_log LIMIT 1",
    );
    let found = verify(&mut client);
    let unclaimed: Vec<_> = found
        .iter()
        .filter(|found| found.code == "event_unclaimed")
        .collect();
    assert_eq!(unclaimed.len(), 1);
    assert_eq!(unclaimed[0].detail, "no transaction has had its id yet");
    let event = unclaimed[0].event_id.as_deref().expect("an event");
    assert!(event.ends_with("-1000000000000000-0"), "{event}");
    // What this very transaction wrote is no such event.
    let mut transaction = client.transaction().unwrap();
    run(&mut transaction, "INSERT INTO item VALUES ('now', 'other')");
    let found = verify(&mut transaction);
    let unclaimed = found.iter().filter(|found| found.code == "event_unclaimed");
    assert_eq!(unclaimed.count(), 1);
}
