//! Which transactions had been committed at a moment.
//!
//! A block's snapshot was taken before the block was sealed, so what it sees had been committed by then;
//! and what is not seen by the snapshot of the block after the next had not been when that next one was
//! sealed, since a round begins when the one before it is over. What two blocks leave open is decided by the time
//! of the commit, where the server keeps that, or by the last event of the transaction.

use pgrx::pg_sys;
use tenant_guard_core::history::Counted;
use tenant_guard_core::ledger::Snapshot;

use super::rows::for_each_row;
use super::store;
use crate::audit::transaction;

/// What blocks say of a moment, in microseconds since PostgreSQL's epoch.
pub(crate) fn counted_at(at: i64) -> Counted {
    let mut counted = Counted::default();
    if !store::exists() {
        return counted;
    }
    let mut last = 0;
    for_each_row(
        c"SELECT block FROM tenant_guard.ledger_block ORDER BY block DESC LIMIT 1",
        &[],
        |row| last = row.bigint(0),
    );
    // The first block that was sealed after the moment; times ascend but for a clock that was set back.
    let (mut low, mut high) = (1, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let sealed_at = block(middle).map(|block| block.sealed_at);
        if sealed_at.is_some_and(|sealed_at| sealed_at > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    for (incarnation, _) in store::incarnations(store::AUDIT_LOG) {
        let of = |block: &Block| block.incarnation == incarnation;
        let before = newest(incarnation, low - 1);
        let after = block(low + 1).filter(of).map(|block| block.snapshot);
        counted.bound(incarnation, before, after);
    }
    counted
}

struct Block {
    incarnation: i64,
    sealed_at: i64,
    snapshot: Snapshot,
}

fn block(number: i64) -> Option<Block> {
    let mut found = None;
    for_each_row(
        c"SELECT incarnation, sealed_at, snapshot FROM tenant_guard.ledger_block WHERE block = $1",
        &[(pg_sys::INT8OID, pg_sys::Datum::from(number))],
        |row| {
            found = row.text(2).parse().ok().map(|snapshot| Block {
                incarnation: row.bigint(0),
                sealed_at: row.bigint(1),
                snapshot,
            });
        },
    );
    found
}

/// The snapshot of the newest block of an incarnation up to one.
fn newest(incarnation: i64, until: i64) -> Option<Snapshot> {
    let mut found = None;
    for_each_row(
        c"SELECT snapshot FROM tenant_guard.ledger_block WHERE block <= $1 AND incarnation = $2 \
          ORDER BY block DESC LIMIT 1",
        &[
            (pg_sys::INT8OID, pg_sys::Datum::from(until)),
            (pg_sys::INT8OID, pg_sys::Datum::from(incarnation)),
        ],
        |row| found = row.text(0).parse().ok(),
    );
    found
}

/// Whether a transaction that blocks leave open was over at a moment.
pub(crate) fn was_over(incarnation: i64, xid: i64, at: i64) -> bool {
    if incarnation == transaction::incarnation()
        && let Some(committed) = commit_time(xid)
    {
        return committed <= at;
    }
    let mut last = i64::MAX;
    for_each_row(
        c"SELECT max(t.occurred_at) FROM tenant_guard.audit_log AS t \
          WHERE t.incarnation = $1 AND t.xid = $2",
        &[
            (pg_sys::INT8OID, pg_sys::Datum::from(incarnation)),
            (pg_sys::INT8OID, pg_sys::Datum::from(xid)),
        ],
        |row| last = row.optional_bigint(0).unwrap_or(i64::MAX),
    );
    last <= at
}

/// When a transaction of this database was committed, where the server keeps that and still knows it.
fn commit_time(xid: i64) -> Option<i64> {
    // SAFETY: reads a setting and shared memory; the look-up raises where commit times are not kept, and
    // takes ids of the last two thousand million transactions, all others of which are too old for it.
    unsafe {
        let next = pg_sys::ReadNextFullTransactionId().value as i64;
        if !pg_sys::track_commit_timestamp || next - xid >= i64::from(i32::MAX) {
            return None;
        }
        let mut time = 0;
        let mut origin = 0;
        let id = pg_sys::TransactionId::from(xid as u32);
        pg_sys::TransactionIdGetCommitTsData(id, &mut time, &mut origin).then_some(time)
    }
}
