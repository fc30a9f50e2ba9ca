//! The ledger: sealing beside writers, verification after tampering, checkpoints, restores.

mod concurrent;
mod configuration;
mod crash;
mod edits;
mod epochs;
mod erasure;
mod erasure_mistakes;
mod forgery;
mod hold_attacks;
mod holds;
mod hostile;
mod named_otherwise;
mod offline;
mod overwriting;
mod planted;
mod proofs;
mod publication;
mod restore;
mod retention;
mod retention_attacks;
mod retention_blocks;
mod rights;
mod sealer;
mod sealing;
mod tamper;
mod verification;
mod wait;

use postgres::Client;
use tenant_guard_tests::{Database, lines};

use crate::capture::{capture, run};

/// A database with a ledger and the audited table `item`.
fn database() -> Database {
    let db = crate::capture::database();
    audit_items(&mut db.superuser());
    db
}

/// Makes the audited table `item`.
fn audit_items(client: &mut Client) {
    run(
        client,
        "CREATE TABLE item (key text PRIMARY KEY, account_id text, n int DEFAULT 0)",
    );
    capture(client, "item", "account_id", "");
}

/// Adds an item in a transaction of its own.
#[track_caller]
fn add(client: &mut Client, key: &str, account: &str) {
    run(
        client,
        &format!("INSERT INTO item VALUES ('{key}', '{account}')"),
    );
}

/// Seals once: block, events and accounts, or nothing.
#[track_caller]
pub(crate) fn seal(client: &mut Client) -> Vec<String> {
    lines(client, "SELECT * FROM tenant_guard.seal()")
}

/// All findings of a full verification.
#[track_caller]
pub(crate) fn findings(client: &mut Client) -> Vec<String> {
    lines(client, "SELECT * FROM tenant_guard.verify_ledger()")
}

/// The findings of a verification against an earlier checkpoint.
#[track_caller]
fn findings_against(client: &mut Client, checkpoint: &str) -> Vec<String> {
    let query = "SELECT code || coalesce(' ' || block, '')
                 FROM tenant_guard.verify_ledger(against => $1)";
    match client.query(query, &[&checkpoint]) {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        Err(error) => panic!("verify_ledger: {error:?}"),
    }
}

/// The ledger's checkpoint.
#[track_caller]
fn checkpoint(client: &mut Client) -> String {
    let rows = client.query("SELECT tenant_guard.checkpoint()", &[]);
    rows.expect("there is a block")[0].get(0)
}
