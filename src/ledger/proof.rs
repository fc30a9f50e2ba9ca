//! Proofs over what is sealed. Inner nodes of the global tree come from the states that blocks
//! keep, so a proof reads a few rows however large the tree is.

use std::collections::HashMap;
use std::ops::Range;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::ledger::{Adopted, Claim, Claims, Snapshot};
use tenant_guard_core::merkle::{Frontier, Hash};
use tenant_guard_core::proof::{RangeRoots, consistency_ranges, inclusion_ranges};

use super::publication::{self, Limit};
use super::rows::{Arguments, Row, for_each_row, with_latest_snapshot};
use super::store;
use crate::catalog::as_owner;
use crate::error::{Error, OrRaise};

/// What a proof asks of a row of `ledger_block`.
#[derive(Clone, Default)]
pub(super) struct Block {
    pub(super) epoch: i64,
    pub(super) incarnation: i64,
    pub(super) timeline: i64,
    pub(super) size: u64,
    pub(super) root: Hash,
    snapshot: Snapshot,
    state: Vec<u8>,
}

/// The blocks, each read once.
pub(super) struct Blocks {
    last: i64,
    /// Whether there may be newer blocks that are not published.
    limited: bool,
    known: HashMap<i64, Block>,
    /// Whether rows that are damaged or gone are taken note of instead of an error.
    lenient: bool,
    damaged: bool,
}

impl Blocks {
    /// Begins. Raises where nothing is sealed and published.
    pub(super) fn open(limit: Limit) -> Self {
        Self {
            last: publication::newest_block(limit).block,
            limited: limit != Limit::Newest,
            known: HashMap::new(),
            lenient: false,
            damaged: false,
        }
    }

    /// The same for verification, which goes on where rows are damaged or gone; what it is given
    /// then is worth nothing, and [`damaged`](Self::damaged) says so.
    pub(super) fn open_lenient() -> Self {
        Self {
            lenient: true,
            ..Self::open(Limit::Newest)
        }
    }

    /// Whether something that was asked for is damaged or gone.
    pub(super) fn damaged(&self) -> bool {
        self.damaged
    }

    fn damage(&mut self, what: &'static str) {
        if !self.lenient {
            Error::BrokenLedger(what).raise();
        }
        self.damaged = true;
    }

    /// Why an event that is there is in no block.
    fn missing(&self, event: EventKey) -> Error {
        let mut all = Self::open(Limit::Newest);
        let sealed = self.limited && all.of_transaction(event.incarnation, event.xid).is_some();
        if sealed {
            Error::NotPublished
        } else {
            Error::NotSealed
        }
    }

    /// Number of the newest block there is to speak of.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// A block by its number.
    pub(super) fn get(&mut self, number: i64) -> &Block {
        if !self.known.contains_key(&number) {
            let mut found = None;
            for_each_row(
                c"SELECT epoch, incarnation, timeline::bigint, tree_size, root, snapshot, state \
                  FROM tenant_guard.ledger_block WHERE block OPERATOR(pg_catalog.=) $1",
                &bigints(&[number]),
                |row| found = block_of(row),
            );
            if found.is_none() {
                self.damage("a block");
            }
            self.known.insert(number, found.unwrap_or_default());
        }
        &self.known[&number]
    }

    /// The last of the blocks `from..=to` before the first for which `reached` holds; it must hold
    /// for all that follow one for which it does. 0 where it holds for the first block ever.
    fn last_before(&mut self, from: i64, to: i64, reached: impl Fn(&Block) -> bool) -> i64 {
        let (mut low, mut high) = (from, to + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if reached(self.get(middle)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low - 1
    }

    /// First and last block of an epoch.
    pub(super) fn of_epoch(&mut self, epoch: i64) -> Option<(i64, i64)> {
        let first = self.last_before(1, self.last, |block| block.epoch >= epoch) + 1;
        let last = self.last_before(1, self.last, |block| block.epoch > epoch);
        (first <= last).then_some((first, last))
    }

    /// The block of an epoch at whose end its tree had `size` leaves.
    pub(super) fn of_size(&mut self, epoch: i64, size: u64) -> Option<i64> {
        let (first, last) = self.of_epoch(epoch)?;
        let found = self.last_before(first, last, |block| block.size >= size) + 1;
        (found <= last && self.get(found).size == size).then_some(found)
    }

    /// Roots of ranges of leaves of an epoch's tree, which must be subtrees of it.
    pub(super) fn roots(&mut self, epoch: i64, ranges: &[Range<u64>]) -> Vec<Hash> {
        let Some(blocks) = self.of_epoch(epoch) else {
            self.damage("an epoch");
            return Vec::new();
        };
        ranges
            .iter()
            .map(|range| self.root(blocks, range.clone()))
            .collect()
    }

    /// The state of the last block that ends inside the range shows its first part, and the leaves
    /// of the next block are the rest.
    fn root(&mut self, (first, last): (i64, i64), range: Range<u64>) -> Hash {
        let before = self.last_before(first, last, |block| block.size >= range.end);
        let mut tree = Frontier::new();
        let mut start = range.start;
        if before >= first {
            let block = self.get(before);
            if block.size > range.start {
                start = block.size;
                let stored = Frontier::from_state(block.size, &block.state)
                    .and_then(|tree| tree.since(range.start));
                if stored.is_none() {
                    self.damage("the tree of a block");
                }
                tree = stored.unwrap_or_default();
            }
        }
        let (mut position, mut sound) = (start, true);
        for_each_row(
            c"SELECT position, leaf_hash FROM tenant_guard.ledger_leaf \
              WHERE block OPERATOR(pg_catalog.=) $1 AND position OPERATOR(pg_catalog.>=) $2 \
                  AND position OPERATOR(pg_catalog.<) $3 ORDER BY position",
            &bigints(&[before + 1, start as i64, range.end as i64]),
            |row| {
                let leaf = row.bytes(1).try_into().ok();
                match leaf.filter(|_| row.bigint(0) as u64 == position) {
                    Some(leaf) => tree.append(leaf),
                    None => sound = false,
                }
                position += 1;
            },
        );
        if !sound || position != range.end {
            self.damage("a leaf");
        }
        tree.root()
    }

    /// The block that holds a transaction; none where it is not sealed.
    ///
    /// Within an epoch each snapshot sees what the one before saw. What an epoch takes over from
    /// another database is in its first block.
    pub(super) fn of_transaction(&mut self, incarnation: i64, xid: i64) -> Option<i64> {
        let mut first = 1;
        while first <= self.last {
            let epoch = self.get(first).epoch;
            let last = self.last_before(first, self.last, |block| block.epoch > epoch);
            if self
                .claims_of(first)
                .iter()
                .any(|claim| claim.incarnation == incarnation && claim.xids.contains(xid))
            {
                return Some(first);
            }
            let end = self.get(last);
            if end.incarnation == incarnation && end.snapshot.contains(xid) {
                let before = self.last_before(first, last, |block| block.snapshot.contains(xid));
                return Some(before + 1);
            }
            first = last + 1;
        }
        None
    }

    /// Which events a block holds.
    pub(super) fn claims_of(&mut self, number: i64) -> Vec<Claim> {
        let block = self.get(number).clone();
        if number > 1 {
            let before = self.get(number - 1);
            if (before.incarnation, before.timeline) == (block.incarnation, block.timeline) {
                let mut claims = Claims::of_newest(before.incarnation, before.snapshot.clone());
                return claims.add_block(block.incarnation, block.snapshot, &Adopted::default());
            }
        }
        store::claims_of_block(number)
    }
}

fn block_of(row: &Row<'_>) -> Option<Block> {
    Some(Block {
        epoch: row.bigint(0),
        incarnation: row.bigint(1),
        timeline: row.bigint(2),
        size: row.bigint(3).try_into().ok()?,
        root: row.bytes(4).try_into().ok()?,
        snapshot: row.text(5).parse().ok()?,
        state: row.bytes(6).to_vec(),
    })
}

fn bigints<const N: usize>(values: &[i64; N]) -> [(pg_sys::Oid, pg_sys::Datum); N] {
    values.map(|value| (pg_sys::INT8OID, pg_sys::Datum::from(value)))
}

/// Where an event stands: in its account's part of its block, and that part in the global tree.
pub(super) struct Place {
    pub(super) block: i64,
    pub(super) epoch: i64,
    pub(super) blinding: Vec<u8>,
    /// Among the account's events of the block, how many these are, and the path to their root.
    pub(super) index: u64,
    pub(super) events: i64,
    pub(super) path: Vec<Hash>,
    pub(super) account_size: i64,
    pub(super) account_root: Vec<u8>,
    /// Of the account's record in the epoch's tree.
    pub(super) position: u64,
}

/// Finds a sealed event of an account. Reads the events of its block, twice.
pub(super) fn place(blocks: &mut Blocks, event: EventKey, account: &str) -> Result<Place, Error> {
    let block = blocks
        .of_transaction(event.incarnation, event.xid)
        .ok_or_else(|| blocks.missing(event))?;
    let claims = blocks.claims_of(block);
    let (mut events, mut index) = (0, None);
    each_leaf(&claims, account, |key, _| {
        if key == event {
            index = Some(events);
        }
        events += 1;
    });
    let index = index.ok_or(Error::BrokenLedger("the block of the event"))?;
    let ranges = inclusion_ranges(index, events).unwrap_or_default();
    let mut roots = RangeRoots::new(ranges);
    each_leaf(&claims, account, |_, leaf| roots.append(leaf));
    let path = roots
        .finish()
        .ok_or(Error::BrokenLedger("the block of the event"))?;
    let mut found = None;
    let account_datum = account.into_datum().expect("a text is never NULL");
    let arguments: Arguments<'_> = &[
        (pg_sys::INT8OID, pg_sys::Datum::from(block)),
        (pg_sys::TEXTOID, account_datum),
    ];
    for_each_row(
        c"SELECT l.position, l.events, l.account_size, l.account_root, a.blinding, l.epoch \
          FROM tenant_guard.ledger_leaf AS l \
          JOIN tenant_guard.ledger_account AS a ON a.account_id OPERATOR(pg_catalog.=) l.account_id \
          WHERE l.block OPERATOR(pg_catalog.=) $1 AND l.account_id OPERATOR(pg_catalog.=) $2",
        arguments,
        |row| {
            found = Some(Place {
                block,
                epoch: row.bigint(5),
                blinding: row.bytes(4).to_vec(),
                index,
                events: row.bigint(1),
                path: Vec::new(),
                account_size: row.bigint(2),
                account_root: row.bytes(3).to_vec(),
                position: row.bigint(0).max(0) as u64,
            });
        },
    );
    let found = found.filter(|place| place.events as u64 == events);
    let place = found.ok_or(Error::BrokenLedger("the leaf of the account"))?;
    Ok(Place { path, ..place })
}

/// Hands over the leaf hashes of an account's events in a block.
fn each_leaf(claims: &[Claim], account: &str, mut each: impl FnMut(EventKey, Hash)) {
    for claim in claims {
        store::for_each_event("account_id, leaf_hash, xid, ordinal", claim, |row| {
            if row.text(0) == account {
                let key = EventKey {
                    incarnation: claim.incarnation,
                    xid: row.bigint(2),
                    ordinal: row.integer(3),
                };
                each(key, row.bytes(1).try_into().unwrap_or_default());
            }
        });
    }
}

/// The account of an event that the active snapshot sees; none where there is no such event.
pub(super) fn account_of(event: EventKey) -> Option<String> {
    if !store::exists() {
        return None;
    }
    let mut found = None;
    let arguments = [
        (pg_sys::INT8OID, pg_sys::Datum::from(event.incarnation)),
        (pg_sys::INT8OID, pg_sys::Datum::from(event.xid)),
        (pg_sys::INT4OID, pg_sys::Datum::from(event.ordinal)),
    ];
    for_each_row(
        c"SELECT account_id FROM tenant_guard.audit_log \
          WHERE incarnation OPERATOR(pg_catalog.=) $1 AND xid OPERATOR(pg_catalog.=) $2 \
              AND ordinal OPERATOR(pg_catalog.=) $3",
        &arguments,
        |row| found = Some(row.text(0).to_owned()),
    );
    found
}

pub(super) fn event_key(text: &str) -> Result<EventKey, Error> {
    text.parse().map_err(|_| Error::UnfitEventId)
}

/// The two paths that lead from an event to the root of the newest tree of its epoch.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn inclusion_proof(
    event_id: &str,
) -> TableIterator<
    'static,
    (
        name!(block, i64),
        name!(event_index, i64),
        name!(events, i64),
        name!(events_path, Vec<Vec<u8>>),
        name!(epoch, i64),
        name!(leaf_index, i64),
        name!(tree_size, i64),
        name!(tree_path, Vec<Vec<u8>>),
    ),
> {
    let key = event_key(event_id).or_raise();
    let bytes = |path: &[Hash]| path.iter().map(|hash| hash.to_vec()).collect::<Vec<_>>();
    let limit = publication::limit();
    let row = as_owner(|| {
        with_latest_snapshot(|| {
            let mut blocks = Blocks::open(limit);
            let account = account_of(key)
                .ok_or(Error::NoEvent(event_id.to_owned()))
                .or_raise();
            let place = place(&mut blocks, key, &account).or_raise();
            let (_, last) = blocks
                .of_epoch(place.epoch)
                .unwrap_or_else(|| Error::BrokenLedger("an epoch").raise());
            let size = blocks.get(last).size;
            let ranges = inclusion_ranges(place.position, size)
                .unwrap_or_else(|| Error::BrokenLedger("a leaf").raise());
            let path = blocks.roots(place.epoch, &ranges);
            (
                place.block,
                place.index as i64,
                place.events,
                bytes(&place.path),
                place.epoch,
                place.position as i64,
                size as i64,
                bytes(&path),
            )
        })
    });
    TableIterator::once(row)
}

/// Shows that a tree began with what it was at a smaller size: the global tree of an epoch, the
/// newest where none is named, or the tree of an account.
#[pg_extern(sql = false)]
fn consistency_proof(
    old_size: Option<i64>,
    new_size: Option<i64>,
    account: Option<&str>,
    epoch: Option<i64>,
) -> Vec<Vec<u8>> {
    let given = |size: Option<i64>, name| size.ok_or(Error::NullArgument(name)).or_raise();
    let (old_size, new_size) = (given(old_size, "old_size"), given(new_size, "new_size"));
    let ranges = u64::try_from(old_size)
        .ok()
        .zip(u64::try_from(new_size).ok())
        .and_then(|(old, new)| consistency_ranges(old, new))
        .ok_or(Error::UnfitArgument("old_size", "it must be 1 to new_size"))
        .or_raise();
    let limit = publication::limit();
    let roots = as_owner(|| {
        with_latest_snapshot(|| {
            let mut blocks = Blocks::open(limit);
            match account {
                Some(account) => account_roots(&mut blocks, account, ranges, new_size),
                None => {
                    let newest = blocks.last();
                    let epoch = epoch.unwrap_or_else(|| blocks.get(newest).epoch);
                    let end = blocks.of_epoch(epoch).map(|(_, last)| last);
                    if end.is_none_or(|last| blocks.get(last).size < new_size as u64) {
                        too_large().raise();
                    }
                    blocks.roots(epoch, &ranges)
                }
            }
        })
    });
    roots.iter().map(|root| root.to_vec()).collect()
}

fn too_large() -> Error {
    Error::UnfitArgument("new_size", "no such tree was sealed")
}

/// Inner nodes of an account's tree are kept nowhere: its events pass by, block by block.
fn account_roots(
    blocks: &mut Blocks,
    account: &str,
    ranges: Vec<Range<u64>>,
    size: i64,
) -> Vec<Hash> {
    if !account.is_empty() && AccountId::from_text(account).is_err() {
        Error::UnfitAccount.raise();
    }
    let datum = account.into_datum().expect("a text is never NULL");
    let mut numbers = Vec::new();
    for_each_row(
        c"SELECT block FROM tenant_guard.ledger_leaf \
          WHERE account_id OPERATOR(pg_catalog.=) $1 \
              AND account_size OPERATOR(pg_catalog.-) events OPERATOR(pg_catalog.<) $2 ORDER BY block",
        &[
            (pg_sys::TEXTOID, datum),
            (pg_sys::INT8OID, pg_sys::Datum::from(size)),
        ],
        |row| numbers.extend(Some(row.bigint(0)).filter(|number| *number <= blocks.last)),
    );
    let mut roots = RangeRoots::new(ranges);
    let mut leaves = 0;
    for number in numbers {
        each_leaf(&blocks.claims_of(number), account, |_, leaf| {
            leaves += 1;
            roots.append(leaf);
        });
    }
    if leaves < size {
        too_large().raise();
    }
    roots.finish().unwrap_or_else(|| too_large().raise())
}
