//! Retention of the log: rules that can only grow longer, what they let go, and what is removed then.
//!
//! First a rule lets something go, then a block states that, then it is removed: so whoever verifies
//! the ledger finds in its blocks by which rules anything may be gone.

mod blocks;
mod names;
mod payloads;
mod rules;
mod stretches;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::erasure;
use tenant_guard_core::event::{EventKey, Kind};
use tenant_guard_core::ledger::EventChecks;

pub(super) use rules::state;

use super::read::{EVENT_COLUMNS, Read, with_event};
use super::rows::{Arguments, for_each_row};
use super::store::{self, AUDIT_LOG};
use crate::catalog::our_schema;
use crate::error::Error;
use crate::personal::holds;

/// Sub-id of our schema at which the lock of rules and removals stands.
const RETENTION: u16 = 2;

/// One at a time changes rules or removes by them, to the end of its transaction. Nobody else waits.
fn take_lock() {
    // SAFETY: the schema exists, since our functions are in it; an ERROR releases the lock.
    unsafe {
        pg_sys::LockDatabaseObject(
            pg_sys::NamespaceRelationId,
            our_schema(),
            RETENTION,
            pg_sys::ExclusiveLock as i32,
        );
    }
}

/// The same for a removal. Until its transaction ends nobody places or releases a hold: one that is
/// placed is kept from its first moment on.
fn lock_removal(function: &'static str) {
    // SAFETY: reads backend-local transaction state.
    if unsafe { pg_sys::XactIsoLevel } != pg_sys::XACT_READ_COMMITTED as i32 {
        Error::PruneIsolation(function).raise();
    }
    take_lock();
    holds::lock();
}

/// Runs a statement on the ledger's tables for the rows of a part of a claim, whose arguments come
/// first, and hands each row that comes back to `each`. The caller is the owner and lifts the guards.
fn change(
    statement: &str,
    part: &store::Part,
    more: Vec<DatumWithOid<'_>>,
    mut each: impl FnMut(pgrx::spi::SpiHeapTupleData<'_>) -> Result<(), pgrx::spi::SpiError>,
) {
    let of_part = part.arguments().iter().map(|(of_type, datum)| {
        // SAFETY: the store gives each value with its own type, and keeps it for the call.
        unsafe { DatumWithOid::new(*datum, *of_type) }
    });
    let mut arguments: Vec<DatumWithOid<'_>> = of_part.collect();
    arguments.extend(more);
    Spi::connect_mut(|client| {
        for row in client.update(statement, None, &arguments)? {
            each(row)?;
        }
        Ok::<_, pgrx::spi::SpiError>(())
    })
    .unwrap_or_else(|error| pgrx::error!("the ledger cannot be pruned: {error}"));
}

/// Has a row of an event or its context checked.
fn check(checks: &mut EventChecks, read: &Read<'_>) {
    match read {
        Read::Context(context, hash) => checks.context(context, hash),
        Read::Event(event) => checks.event(event),
    }
}

/// Raises where a check found anything.
fn refuse_damaged(checks: EventChecks) {
    let (found, mut gone) = checks.finish();
    if !gone.is_empty() {
        for_each_erasure("", &[], |account, key| {
            gone.remove(&(account.to_owned(), key));
        });
    }
    if !found.is_empty() || !gone.is_empty() {
        Error::BrokenLedger("an event").raise();
    }
}

/// Hands over what erasures name, all or those of a condition on events named `l`.
fn for_each_erasure(
    condition: &str,
    arguments: Arguments<'_>,
    mut each: impl FnMut(&str, EventKey),
) {
    let query = store::query_text(&format!(
        "SELECT {EVENT_COLUMNS} FROM tenant_guard.{AUDIT_LOG} AS l \
         WHERE {condition} l.kind OPERATOR(pg_catalog.=) '{}' AND l.action OPERATOR(pg_catalog.=) '{}'",
        Kind::System.as_str(),
        erasure::ACTION
    ));
    for_each_row(&query, arguments, |row| {
        with_event(row, |event| {
            for key in erasure::named_by(&event.entry).unwrap_or_default() {
                each(event.entry.account, key);
            }
        });
    });
}

/// A condition on rows of the log `l` that holds for events nobody may remove. A hold on one row keeps all
/// of its account about the relation: the log has keys as they were written, and no index on them.
const HELD: &str = "EXISTS (SELECT FROM tenant_guard.legal_hold AS h WHERE h.released_at IS NULL \
    AND h.account_id OPERATOR(pg_catalog.=) l.account_id AND (h.covers IS NULL \
        OR l.relation OPERATOR(pg_catalog.=) ANY (h.covers) \
        OR l.leaf_relation OPERATOR(pg_catalog.=) ANY (h.covers)))";

/// How many holds there are, and how many were released.
fn count_holds() -> (i64, i64) {
    let mut found = (0, 0);
    for_each_row(
        c"SELECT pg_catalog.count(*) FILTER (WHERE released_at IS NULL), \
              pg_catalog.count(released_at) FROM tenant_guard.legal_hold",
        &[],
        |row| found = (row.bigint(0), row.bigint(1)),
    );
    found
}
