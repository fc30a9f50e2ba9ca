//! Removing whole events: those of the first blocks, up to one whose checkpoint somebody holds.

use std::collections::{BTreeMap, HashMap};

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::ledger::retention::PRUNE_BLOCKS;
use tenant_guard_core::merkle::{Frontier, Hash};

use super::rules::{in_force, sealed};
use super::stretches::{Stretch, last_before, stretches};
use super::{HELD, change, count_holds, lock_removal};
use crate::audit::record::record_named;
use crate::audit::tables::LedgerWriting;
use crate::catalog::{as_owner, write};
use crate::clock;
use crate::error::{Error, OrRaise};
use crate::ledger::rows::{for_each_row, with_latest_snapshot};
use crate::ledger::signing::{block_of, refuse_forged};
use crate::ledger::store::{self, AUDIT_CONTEXT, AUDIT_LOG};

/// Accounts whose trees one statement writes.
const WRITE_BATCH: usize = 10_000;

/// Removes the events of the first blocks that the newest block lets go, up to the one the checkpoint
/// is of, of about so many events. No row where there are none.
#[pg_extern(sql = false)]
fn prune_blocks(
    checkpoint: &str,
    most: i64,
) -> TableIterator<'static, (name!(block, i64), name!(events, i64))> {
    if most < 1 {
        Error::UnfitArgument("most", "it must be at least 1").raise();
    }
    let checkpoint = given(checkpoint);
    lock_removal("prune_blocks");
    let removal = as_owner(|| with_latest_snapshot(|| Removal::plan(&checkpoint, most)));
    let removed = removal.map(|removal| {
        let events = removal.delete();
        removal.keep_trees();
        let data = serde_json::json!({"block": removal.last, "events": events}).to_string();
        record_named(PRUNE_BLOCKS, (None, None), "", Some(&data));
        (removal.last, events)
    });
    TableIterator::new(removed)
}

/// The checkpoint that the caller holds. Who signed it is asked where its key is known.
fn given(text: &str) -> Checkpoint {
    let parsed = text
        .parse()
        .map_err(|_| Error::UnfitArgument("checkpoint", "it is not one of a tenant_guard ledger"));
    refuse_forged("checkpoint", text);
    parsed.or_raise()
}

/// A removal of the events of consecutive blocks, the first of which still has them.
struct Removal {
    stretches: Vec<Stretch>,
    last: i64,
    /// Of each account with events there, its tree after them.
    trees: HashMap<String, Frontier>,
}

impl Removal {
    /// What may go, under the active snapshot. Raises where it is not what was sealed: what is damaged
    /// must stay to be found.
    fn plan(checkpoint: &Checkpoint, most: i64) -> Option<Self> {
        let held_by_caller = store::exists().then(|| block_of(checkpoint)).flatten();
        let Some(newest) = held_by_caller else {
            Error::UnfitArgument("checkpoint", "it is not one of this ledger").raise();
        };
        let rule = sealed().events?;
        // A rule that was made longer counts at once.
        let set = in_force().events;
        let keep = set.map_or(rule.keep, |set| set.keep.max(rule.keep));
        let before = rule.before?.min(clock::now_us().saturating_sub(keep));
        let (first, kept) = kept_trees();
        let last = last_before(before).min(newest);
        let mut stretches = stretches(first, last, most);
        if count_holds().0 > 0 {
            let free = stretches
                .iter()
                .take_while(|stretch| !holds(stretch))
                .count();
            stretches.truncate(free);
        }
        let last = stretches.last()?.last;
        let mut removal = Self {
            stretches,
            last,
            trees: HashMap::new(),
        };
        let any_before = !kept.is_empty();
        removal.gather(kept);
        removal.compare(first);
        // Where no block so far held anything there is no tree to keep, and nothing to remove.
        (any_before || !removal.trees.is_empty()).then_some(removal)
    }

    /// Puts the trees of the accounts together.
    fn gather(&mut self, mut kept: HashMap<String, Frontier>) {
        for claim in self.stretches.iter().flat_map(|stretch| &stretch.claims) {
            store::for_each_event("account_id, leaf_hash", claim, |row| {
                let leaf: Hash = row.bytes(1).try_into().unwrap_or_default();
                if let Some(tree) = self.trees.get_mut(row.text(0)) {
                    return tree.append(leaf);
                }
                let mut tree = kept.remove(row.text(0)).unwrap_or_default();
                tree.append(leaf);
                self.trees.insert(row.text(0).to_owned(), tree);
            });
        }
    }

    fn compare(&self, first: i64) {
        let mut sealed = 0;
        for_each_row(
            c"SELECT DISTINCT ON (account_id) account_id, account_size, account_root \
              FROM tenant_guard.ledger_leaf \
              WHERE block OPERATOR(pg_catalog.>=) $1 AND block OPERATOR(pg_catalog.<=) $2 \
                  AND account_id IS NOT NULL ORDER BY account_id, block DESC",
            &[
                (pg_sys::INT8OID, pg_sys::Datum::from(first)),
                (pg_sys::INT8OID, pg_sys::Datum::from(self.last)),
            ],
            |row| {
                sealed += 1;
                let same = self.trees.get(row.text(0)).is_some_and(|tree| {
                    (tree.size() as i64, tree.root().as_slice()) == (row.bigint(1), row.bytes(2))
                });
                if !same {
                    Error::BrokenLedger("the tree of an account").raise();
                }
            },
        );
        if sealed != self.trees.len() {
            Error::BrokenLedger("a leaf").raise();
        }
    }

    /// Removes the rows; how many events.
    fn delete(&self) -> i64 {
        let mut events = 0;
        as_owner(|| {
            let _writing = LedgerWriting::begin();
            let claims = self.stretches.iter().flat_map(|stretch| &stretch.claims);
            for part in claims.flat_map(store::parts) {
                let (condition, _) = part.condition();
                for table in [AUDIT_LOG, AUDIT_CONTEXT] {
                    let statement = format!(
                        "WITH removed AS (DELETE FROM tenant_guard.{table} AS l \
                             WHERE {condition} RETURNING 1) \
                         SELECT pg_catalog.count(*) FROM removed"
                    );
                    change(&statement, &part, Vec::new(), |row| {
                        let removed = row.get::<i64>(1)?.unwrap_or_default();
                        events += if table == AUDIT_LOG { removed } else { 0 };
                        Ok(())
                    });
                }
            }
        });
        events
    }

    /// Keeps the trees: those of all accounts are of one block.
    fn keep_trees(&self) {
        let trees: BTreeMap<_, _> = self.trees.iter().collect();
        let rows: Vec<_> = trees.into_iter().collect();
        let _writing = LedgerWriting::begin();
        for rows in rows.chunks(WRITE_BATCH) {
            let names: Vec<String> = rows.iter().map(|(name, _)| (*name).clone()).collect();
            let sizes: Vec<i64> = rows.iter().map(|(_, tree)| tree.size() as i64).collect();
            let states: Vec<Vec<u8>> = rows.iter().map(|(_, tree)| tree.state().to_vec()).collect();
            write(
                "INSERT INTO tenant_guard.ledger_pruned AS p (account_id, size, state, block) \
                 SELECT r.*, $4 FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), \
                    pg_catalog.unnest($3)) AS r \
                 ON CONFLICT (account_id) DO UPDATE \
                 SET size = EXCLUDED.size, state = EXCLUDED.state, block = EXCLUDED.block",
                &[names.into(), sizes.into(), states.into(), self.last.into()],
            );
        }
        write(
            "UPDATE tenant_guard.ledger_pruned AS p SET block = $1 \
             WHERE p.block OPERATOR(pg_catalog.<>) $1",
            &[self.last.into()],
        );
    }
}

/// The first block that still has its events, and the trees of accounts before it.
fn kept_trees() -> (i64, HashMap<String, Frontier>) {
    let (mut first, mut kept) = (1, HashMap::new());
    for_each_row(
        c"SELECT account_id, size, state, block FROM tenant_guard.ledger_pruned",
        &[],
        |row| {
            let size = u64::try_from(row.bigint(1)).ok();
            let tree = size.and_then(|size| Frontier::from_state(size, row.bytes(2)));
            let Some(tree) = tree else {
                Error::BrokenLedger("what was kept of an account").raise()
            };
            kept.insert(row.text(0).to_owned(), tree);
            first = row.bigint(3) + 1;
        },
    );
    (first, kept)
}

/// Whether an event of these blocks is held.
fn holds(stretch: &Stretch) -> bool {
    stretch.claims.iter().flat_map(store::parts).any(|part| {
        let (condition, _) = part.condition();
        let mut found = false;
        let query = store::query_text(&format!(
            "SELECT 1::pg_catalog.int8 FROM tenant_guard.{AUDIT_LOG} AS l \
             WHERE {condition} AND {HELD} LIMIT 1"
        ));
        for_each_row(&query, part.arguments(), |_| found = true);
        found
    })
}
