//! The summary of the ledger, and its checkpoint.

use pgrx::prelude::*;
use tenant_guard_core::ledger::{Claim, Claims, Snapshot};

use super::rows::{for_each_row, with_latest_snapshot};
use super::{publication, sealer, store};
use crate::audit::transaction;
use crate::catalog::as_owner;
use crate::clock;
use crate::fault::fault_point;

/// Blocks, events, and how much is not sealed yet.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn ledger_status() -> TableIterator<
    'static,
    (
        name!(blocks, i64),
        name!(events, i64),
        name!(sealed_events, i64),
        name!(unsealed_events, i64),
        name!(oldest_unsealed, Option<TimestampWithTimeZone>),
        name!(last_root, Option<String>),
        name!(incarnation, i64),
        name!(sealer, String),
        name!(sealer_pid, Option<i32>),
        name!(last_round, Option<TimestampWithTimeZone>),
        name!(published_block, i64),
        name!(publication, String),
    ),
> {
    let incarnation = transaction::incarnation();
    let (sealer, pid, last_round) = sealer::state();
    let (blocks, events, sealed, unsealed, oldest, root, newest) = as_owner(|| {
        with_latest_snapshot(|| {
            if !store::exists() {
                return (0, 0, 0, 0, None, None, None);
            }
            let (blocks, sealed) = sealed();
            let (unsealed, oldest) = unsealed(incarnation);
            let last = store::last_block();
            (
                blocks,
                sealed + unsealed,
                sealed,
                unsealed,
                oldest.map(clock::timestamp),
                last.as_ref().map(|last| hex::encode(last.root)),
                last.map(|last| last.block),
            )
        })
    });
    let (published, publication) = as_owner(|| publication::state(newest));
    TableIterator::once((
        blocks,
        events,
        sealed,
        unsealed,
        oldest,
        root,
        incarnation,
        sealer,
        pid,
        last_round.map(clock::timestamp),
        published,
        publication,
    ))
}

/// Blocks, and the events they hold.
fn sealed() -> (i64, i64) {
    let mut counts = (0, 0);
    for_each_row(
        c"SELECT pg_catalog.count(*), pg_catalog.sum(events)::bigint FROM tenant_guard.ledger_block",
        &[],
        |row| counts = (row.bigint(0), row.optional_bigint(1).unwrap_or(0)),
    );
    counts
}

/// Events no block holds yet, and when the oldest happened.
fn unsealed(incarnation: i64) -> (i64, Option<i64>) {
    let incarnations = store::incarnations(store::AUDIT_LOG);
    let claims = match store::last_block() {
        // The newest block's snapshot says it all where events come from here only.
        Some(last) if incarnations.iter().all(|(other, _)| *other == incarnation) => {
            Claims::of_newest(last.incarnation, last.snapshot)
        }
        _ => store::claims(),
    };
    let rest = incarnations.into_iter().map(|(incarnation, highest)| {
        let before = claims.of(incarnation);
        let xids =
            Snapshot::below(claims.adoption_bound(incarnation, highest)).ranges_since(&before);
        store::count_events(&Claim { incarnation, xids })
    });
    rest.fold((0, None), |(count, oldest), (more, other)| {
        (count + more, [oldest, other].into_iter().flatten().min())
    })
}

/// The body of the ledger's checkpoint (C2SP tlog-checkpoint): origin, size and root. Unsigned.
#[pg_extern(sql = false)]
fn checkpoint() -> String {
    let limit = publication::limit();
    fault_point!("checkpoint.limited");
    let newest = as_owner(|| with_latest_snapshot(|| publication::newest_block(limit)));
    fault_point!("checkpoint.read");
    newest.checkpoint().to_string()
}
