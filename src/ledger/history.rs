//! What was captured, from block to block.

use pgrx::prelude::*;
use tenant_guard_core::configuration::changes;

use super::rows::{for_each_row, with_latest_snapshot};
use super::store;
use crate::catalog::as_owner;

/// What came and went in the configuration, block by block; all of it with the first block.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn capture_history() -> TableIterator<
    'static,
    (
        name!(block, i64),
        name!(sealed_at, TimestampWithTimeZone),
        name!(part, String),
        name!(change, &'static str),
        name!(entry, pgrx::JsonB),
    ),
> {
    let rows = as_owner(|| with_latest_snapshot(read));
    TableIterator::new(rows.into_iter().map(|(block, sealed_at, change)| {
        let word = if change.added { "added" } else { "removed" };
        let entry = pgrx::JsonB(change.entry);
        (block, sealed_at, change.part, word, entry)
    }))
}

fn read() -> Vec<(
    i64,
    TimestampWithTimeZone,
    tenant_guard_core::configuration::Change,
)> {
    let mut found = Vec::new();
    if !store::exists() {
        return found;
    }
    let mut before: Option<String> = None;
    let query = c"SELECT block, sealed_at, configuration FROM tenant_guard.ledger_block \
                  WHERE configuration IS NOT NULL ORDER BY block";
    for_each_row(query, &[], |row| {
        let sealed_at = crate::clock::timestamp(crate::clock::to_unix(row.bigint(1)));
        let changes = changes(before.as_deref(), row.text(2));
        found.extend(
            changes
                .into_iter()
                .map(|change| (row.bigint(0), sealed_at, change)),
        );
        before = Some(row.text(2).to_owned());
    });
    found
}
