//! Guards: what each stops, and what none of them may stop.

mod copies;
mod elsewhere;
mod ledger;
mod members;
mod restoring;
mod schemas;
mod tables;

use postgres::Client;
use tenant_guard_tests::{expect_error, lines};

use super::Shop;

/// Asserts that the command fails with this error.
#[track_caller]
fn refused(client: &mut Client, command: &str, sqlstate: &str, message: &str) {
    expect_error(client.batch_execute(command), sqlstate, message);
}

/// Asserts that the command is done.
#[track_caller]
fn done(client: &mut Client, command: &str) {
    if let Err(error) = client.batch_execute(command) {
        panic!("{command}: {error:?}");
    }
}

/// The protected relations, each with the relation it is registered under.
#[track_caller]
fn members(shop: &Shop) -> Vec<String> {
    lines(
        &mut shop.db.superuser(),
        "SELECT relation, root FROM tenant_guard.protection_member ORDER BY relation::text",
    )
}

/// The findings of check().
#[track_caller]
fn findings(shop: &Shop) -> Vec<String> {
    shop.check("code, object")
}
