//! Removing whole events: those of the first blocks, up to one whose checkpoint somebody holds.

use std::collections::{BTreeMap, HashMap};

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::history::names_before;
use tenant_guard_core::ledger::retention::{PRUNE_BLOCKS, Statement};
use tenant_guard_core::ledger::{EventChecks, Opening};
use tenant_guard_core::merkle::{Frontier, Hash};

use super::names::Names;
use super::rules::{in_force, sealed};
use super::stretches::{Stretch, last_before, stretches};
use super::{HELD, change, check, count_holds, for_each_erasure, lock_removal, refuse_damaged};
use crate::audit::record::record_named;
use crate::audit::tables::LedgerWriting;
use crate::catalog::{as_owner, write};
use crate::clock;
use crate::error::{Error, OrRaise};
use crate::ledger::read::{Read, for_each_with_contexts, one_event};
use crate::ledger::rows::{for_each_row, with_latest_snapshot};
use crate::ledger::signing::{block_of, refuse_forged};
use crate::ledger::store::{self, AUDIT_CONTEXT, AUDIT_LOG};
use crate::personal::holds::renames;

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
    let parsed = Checkpoint::given(text)
        .map_err(|_| Error::UnfitArgument("checkpoint", "it is not one of a tenant_guard ledger"));
    refuse_forged("checkpoint", text);
    parsed.or_raise()
}

/// A removal of the events of consecutive blocks, the first of which still has them.
struct Removal {
    stretches: Vec<Stretch>,
    last: i64,
    /// Of each account with events there.
    trees: HashMap<String, Kept>,
}

/// The tree of an account, which its last leaf there must prove.
struct Kept {
    tree: Frontier,
    /// The block of that leaf.
    block: i64,
    size: i64,
    root: Hash,
}

impl Removal {
    /// What may go, under the active snapshot. Raises where it is not what was sealed: what is damaged
    /// must stay to be found.
    fn plan(checkpoint: &Checkpoint, most: i64) -> Option<Self> {
        let held_by_caller = store::exists().then(|| block_of(checkpoint)).flatten();
        let Some(newest) = held_by_caller else {
            Error::UnfitArgument("checkpoint", "it is not one of this ledger").raise();
        };
        let (rules, set) = (sealed(), in_force());
        let rule = rules.events?;
        // A rule that was made longer counts at once.
        let keep = set.events.map_or(rule.keep, |set| set.keep.max(rule.keep));
        let before = rule.before?.min(clock::now_us().saturating_sub(keep));
        let first = store::removed_through(None) + 1;
        let last = last_before(before, first - 1).min(newest);
        let mut stretches = stretches(first, last, most);
        if count_holds().0 > 0 {
            let free = stretches
                .iter()
                .take_while(|stretch| !holds(stretch))
                .count();
            stretches.truncate(free);
        }
        leave_erasures(&mut stretches);
        leave_renames(&mut stretches, [&rules, &set]);
        let last = stretches.last()?.last;
        let trees = trees(first, last);
        let mut removal = Self {
            stretches,
            last,
            trees,
        };
        let checks = removal.gather();
        removal.compare();
        refuse_damaged(checks);
        Some(removal)
    }

    /// Puts the trees of the accounts together, and has every event and context checked.
    fn gather(&mut self) -> EventChecks {
        let mut checks = EventChecks::new(true);
        for claim in self.stretches.iter().flat_map(|stretch| &stretch.claims) {
            for_each_with_contexts(claim, |read| {
                check(&mut checks, &read);
                if let Read::Event(event) = read {
                    let leaf: Hash = event.leaf_hash.try_into().unwrap_or_default();
                    let Some(kept) = self.trees.get_mut(event.entry.account) else {
                        Error::BrokenLedger("a leaf").raise()
                    };
                    kept.tree.append(leaf);
                }
            });
        }
        checks
    }

    fn compare(&self) {
        let fits =
            |kept: &Kept| (kept.tree.size() as i64, kept.tree.root()) == (kept.size, kept.root);
        if !self.trees.values().all(fits) {
            Error::BrokenLedger("the tree of an account").raise();
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

    /// Keeps the trees of the accounts that had events there.
    fn keep_trees(&self) {
        let trees: BTreeMap<_, _> = self.trees.iter().collect();
        let rows: Vec<_> = trees.into_iter().collect();
        let _writing = LedgerWriting::begin();
        for rows in rows.chunks(WRITE_BATCH) {
            let names: Vec<String> = rows.iter().map(|(name, _)| (*name).clone()).collect();
            let sizes: Vec<i64> = rows.iter().map(|(_, kept)| kept.size).collect();
            let trees = rows.iter().map(|(_, kept)| kept.tree.state().to_vec());
            let states: Vec<Vec<u8>> = trees.collect();
            let blocks: Vec<i64> = rows.iter().map(|(_, kept)| kept.block).collect();
            write(
                "INSERT INTO tenant_guard.ledger_pruned AS p (account_id, size, state, block) \
                 SELECT r.* FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), \
                    pg_catalog.unnest($3), pg_catalog.unnest($4)) AS r \
                 ON CONFLICT (account_id) DO UPDATE \
                 SET size = EXCLUDED.size, state = EXCLUDED.state, block = EXCLUDED.block",
                &[names.into(), sizes.into(), states.into(), blocks.into()],
            );
        }
    }
}

/// Of each account with a leaf in these blocks, its tree before them and what its last leaf there says.
fn trees(first: i64, last: i64) -> HashMap<String, Kept> {
    let mut found = HashMap::new();
    for_each_row(
        c"SELECT DISTINCT ON (l.account_id) l.account_id, l.account_size, l.account_root, l.block, \
              COALESCE(p.size, 0), COALESCE(p.state, '') \
          FROM tenant_guard.ledger_leaf AS l LEFT JOIN tenant_guard.ledger_pruned AS p \
              ON p.account_id OPERATOR(pg_catalog.=) l.account_id \
          WHERE l.block OPERATOR(pg_catalog.>=) $1 AND l.block OPERATOR(pg_catalog.<=) $2 \
              AND l.account_id IS NOT NULL ORDER BY l.account_id, l.block DESC",
        &[
            (pg_sys::INT8OID, pg_sys::Datum::from(first)),
            (pg_sys::INT8OID, pg_sys::Datum::from(last)),
        ],
        |row| {
            let before = u64::try_from(row.bigint(4)).ok();
            let tree = before.and_then(|size| Frontier::from_state(size, row.bytes(5)));
            let Some((tree, root)) = tree.zip(row.bytes(2).try_into().ok()) else {
                Error::BrokenLedger("what was kept of an account").raise()
            };
            let kept = Kept {
                tree,
                block: row.bigint(3),
                size: row.bigint(1),
                root,
            };
            found.insert(row.text(0).to_owned(), kept);
        },
    );
    found
}

/// An erasure that names an event whose values are gone, and which stays, must stay with it. Only where
/// events were taken over from another database does one stand in an earlier block than what it names.
fn leave_erasures(stretches: &mut Vec<Stretch>) {
    let names_what_stays = |stretch: &Stretch, gone: &[Stretch]| {
        let claims = || gone.iter().flat_map(|stretch| &stretch.claims);
        let is_gone = |key: &EventKey| {
            claims()
                .any(|claim| claim.incarnation == key.incarnation && claim.xids.contains(key.xid))
        };
        let mut named = erased_in(stretch);
        named.retain(|key| !is_gone(key));
        named.into_iter().any(lacks_values)
    };
    // What is left out may be what another one names.
    while let Some(at) = { stretches.iter() }.position(|one| names_what_stays(one, stretches)) {
        stretches.truncate(at);
    }
}

/// A change of a name stays for as long as a rule reaches data by it alone. Raises where it is the first block
/// that has to stay: somebody has to give the new name a rule.
fn leave_renames(stretches: &mut Vec<Stretch>, rules: [&Statement; 2]) {
    let names = Names::of(rules, renames());
    let mut gone = Vec::new();
    for at in 0..stretches.len() {
        let changes = gone.len();
        gone.extend(renamed_in(&stretches[at]));
        if gone.len() == changes {
            continue;
        }
        let Some(name) = names
            .needs(&gone)
            .filter(|name| is_written(name, &stretches[..=at]))
        else {
            continue;
        };
        if at == 0 {
            Error::RetentionByRename(name.to_owned()).raise();
        }
        stretches.truncate(at);
        return;
    }
}

/// The changes of names in these blocks: before and after.
fn renamed_in(stretch: &Stretch) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in stretch.claims.iter().flat_map(store::parts) {
        let (condition, _) = part.condition();
        let query = store::query_text(&format!(
            "SELECT l.relation, l.data FROM tenant_guard.{AUDIT_LOG} AS l WHERE {condition} \
             AND l.kind OPERATOR(pg_catalog.=) 'system' AND l.action OPERATOR(pg_catalog.=) 'ddl'"
        ));
        for_each_row(&query, part.arguments(), |row| {
            if let Some((after, data)) = row.optional_text(0).zip(row.optional_text(1)) {
                let before = names_before(after, data).into_iter();
                found.extend(before.map(|before| (before, after.to_owned())));
            }
        });
    }
    found
}

/// Whether there is a relation of this name, or events with data of one beyond those that go.
fn is_written(name: &str, gone: &[Stretch]) -> bool {
    let text = || {
        (
            pg_sys::TEXTOID,
            name.into_datum().expect("a text is never NULL"),
        )
    };
    let mut found = false;
    for_each_row(
        c"SELECT 1::pg_catalog.int8 WHERE pg_catalog.to_regclass($1) IS NOT NULL",
        &[text()],
        |_| found = true,
    );
    let claims = || gone.iter().flat_map(|stretch| &stretch.claims);
    if !found {
        for_each_row(
            c"SELECT incarnation, xid FROM tenant_guard.audit_log \
              WHERE relation OPERATOR(pg_catalog.=) $1 AND data IS NOT NULL AND kind OPERATOR(pg_catalog.<>) 'system'",
            &[text()],
            |row| {
                let (incarnation, xid) = (row.bigint(0), row.bigint(1));
                found |= !claims().any(|claim| claim.incarnation == incarnation && claim.xids.contains(xid));
            },
        );
    }
    found
}

/// The events that erasures in these blocks name.
fn erased_in(stretch: &Stretch) -> Vec<EventKey> {
    let mut named = Vec::new();
    for part in stretch.claims.iter().flat_map(store::parts) {
        let (condition, _) = part.condition();
        let condition = format!("{condition} AND");
        for_each_erasure(&condition, part.arguments(), |_, key| named.push(key));
    }
    named
}

/// Whether an event is there whose personal values are not.
fn lacks_values(key: EventKey) -> bool {
    one_event(key, |event, _| {
        event.opening() == Opening::Gone && !event.is_pruned()
    })
    .unwrap_or(false)
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
