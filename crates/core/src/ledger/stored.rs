//! Rows of the ledger as they are found, which may be anything.
//!
//! A byte string that must be a hash is a slice here: one of another length, and NULL as the empty
//! one, are things to report and not to fail at.

use crate::event::{Entry, EventKey};
use crate::merkle::Hash;

use super::records::{AccountLeaf, BlockRecord, EpochRecord};

/// A row of `audit_log`.
#[derive(Clone, Copy, Debug)]
pub struct StoredEvent<'a> {
    /// The event. Its `context` is not looked at, the number below is.
    pub entry: Entry<'a>,
    /// Number of its context among those of the transaction.
    pub context: Option<i16>,
    /// Column `leaf_hash`.
    pub leaf_hash: &'a [u8],
    /// SHA-256 of the data, where that was removed.
    pub data_hash: Option<&'a [u8]>,
    /// Values of personal columns.
    pub personal: Option<&'a str>,
    /// Salt of the commitment to them.
    pub personal_salt: Option<&'a [u8]>,
}

impl StoredEvent<'_> {
    /// What is there of its personal values.
    pub fn opening(&self) -> Opening {
        Opening::of(
            self.entry.personal.is_some(),
            self.personal.is_some(),
            self.personal_salt.is_some(),
        )
    }

    /// Item 16 of the entry: the hash of the data, or what stands in its place.
    pub fn data_hash(&self) -> Option<Hash> {
        let left = || self.data_hash.map(hash_or_none_such);
        self.entry.data_hash().or_else(left)
    }

    /// Whether the data was removed and its hash left.
    pub fn is_pruned(&self) -> bool {
        self.entry.data.is_none() && self.data_hash.is_some()
    }
}

/// What is there of the personal values that an event committed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// All of them, or it has none.
    Whole,
    /// Values or salt, and not the other.
    Half,
    /// Nothing.
    Gone,
}

impl Opening {
    /// By whether commitment, values and salt are there.
    pub fn of(commitment: bool, personal: bool, salt: bool) -> Self {
        match (commitment, personal, salt) {
            (true, false, false) => Self::Gone,
            (true, false, true) | (true, true, false) => Self::Half,
            _ => Self::Whole,
        }
    }
}

/// What is read of an event where its leaf hash is taken as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct EventLeaf<'a> {
    /// Key of the event.
    pub key: EventKey,
    /// Account in canonical text.
    pub account: &'a str,
    /// Relation it is about; wanted only where something is gone.
    pub relation: Option<&'a str>,
    /// Column `leaf_hash`.
    pub leaf_hash: &'a [u8],
    /// What is there of its personal values.
    pub opening: Opening,
    /// Whether kind and action say that it [names erased events](crate::erasure).
    pub is_erasure: bool,
    /// Whether its data was removed, see [`StoredEvent::is_pruned`].
    pub is_pruned: bool,
}

/// A row of `ledger_account`.
#[derive(Clone, Copy, Debug)]
pub struct StoredAccount<'a> {
    /// Account in canonical text.
    pub account: &'a str,
    /// Random bytes that hide its name.
    pub blinding: &'a [u8],
    /// Leaves of its tree.
    pub size: i64,
    /// State of its tree, see [`Frontier::state`](crate::merkle::Frontier::state).
    pub state: &'a [u8],
}

/// A row of `ledger_pruned`.
#[derive(Clone, Copy, Debug)]
pub struct StoredPruned<'a> {
    /// The events of all blocks up to this one were removed: the same in all rows.
    pub block: i64,
    /// Account in canonical text.
    pub account: &'a str,
    /// Leaves of its tree up to there.
    pub size: i64,
    /// State of the tree of these leaves.
    pub state: &'a [u8],
}

/// A row of `ledger_block`.
#[derive(Clone, Copy, Debug)]
pub struct StoredBlock<'a> {
    /// Format version.
    pub version: i64,
    /// Number.
    pub block: i64,
    /// Epoch.
    pub epoch: i64,
    /// Incarnation.
    pub incarnation: i64,
    /// Timeline.
    pub timeline: i32,
    /// Text of the snapshot.
    pub snapshot: &'a str,
    /// Text of the adopted incarnations.
    pub adopted: &'a str,
    /// Number of events.
    pub events: i64,
    /// Number of accounts.
    pub accounts: i64,
    /// Time of sealing, in microseconds since 1970-01-01 UTC.
    pub sealed_at: i64,
    /// Hash of the block before.
    pub previous_hash: &'a [u8],
    /// Size of the global tree before.
    pub previous_size: i64,
    /// Root of the global tree before.
    pub previous_root: &'a [u8],
    /// Last checkpoint of the epoch before.
    pub previous_checkpoint: Option<&'a str>,
    /// SHA-256 of what was captured.
    pub configuration_hash: &'a [u8],
    /// What was captured, where that differs from the block before.
    pub configuration: Option<&'a str>,
    /// Hash of this block.
    pub hash: &'a [u8],
    /// Size of the global tree after.
    pub tree_size: i64,
    /// Root of the global tree after.
    pub root: &'a [u8],
    /// State of the global tree after.
    pub state: &'a [u8],
}

impl<'a> StoredBlock<'a> {
    pub(super) fn record(&self) -> BlockRecord<'a> {
        BlockRecord {
            version: self.version,
            block: self.block,
            epoch: self.epoch,
            incarnation: self.incarnation,
            timeline: self.timeline,
            snapshot: self.snapshot,
            adopted: self.adopted,
            events: self.events,
            accounts: self.accounts,
            sealed_at: self.sealed_at,
            previous_hash: hash_or_none_such(self.previous_hash),
            previous_size: self.previous_size,
            previous_root: hash_or_none_such(self.previous_root),
            configuration: hash_or_none_such(self.configuration_hash),
        }
    }

    /// The block's own record, as its columns give it.
    pub fn encoded(&self) -> Vec<u8> {
        let mut record = Vec::new();
        self.record().encode(&mut record);
        record
    }
}

/// The record of the epoch that a block opens, as its columns give it.
pub fn epoch_record(row: &StoredBlock<'_>) -> Vec<u8> {
    let mut record = Vec::new();
    EpochRecord {
        epoch: row.epoch,
        incarnation: row.incarnation,
        timeline: row.timeline,
        previous_checkpoint: row.previous_checkpoint,
    }
    .encode(&mut record);
    record
}

/// The record of an account's leaf, as its columns give it; none where not all are there.
pub fn leaf_record(row: &StoredLeaf<'_>) -> Option<Vec<u8>> {
    let mut record = Vec::new();
    account_leaf(row)?.encode(&mut record);
    Some(record)
}

/// What a leaf says about an account, if all of its columns are there.
pub(super) fn account_leaf(row: &StoredLeaf<'_>) -> Option<AccountLeaf> {
    Some(AccountLeaf {
        block: row.block,
        blinded_id: hash_or_none_such(row.blinded_id?),
        events: row.events?,
        events_root: hash_or_none_such(row.events_root?),
        size: row.size?,
        root: hash_or_none_such(row.root?),
    })
}

/// A row of `ledger_leaf`. The columns after the block are NULL for the leaves of an epoch and of
/// a block itself.
#[derive(Clone, Copy, Debug)]
pub struct StoredLeaf<'a> {
    /// Epoch.
    pub epoch: i64,
    /// Place in the epoch's global tree, counted from 0.
    pub position: i64,
    /// Block that appended it.
    pub block: i64,
    /// Account in canonical text.
    pub account: Option<&'a str>,
    /// Name of the account in the tree.
    pub blinded_id: Option<&'a [u8]>,
    /// Events of the account in the block.
    pub events: Option<i64>,
    /// Root of a tree of these events alone.
    pub events_root: Option<&'a [u8]>,
    /// Leaves of the account's tree after the block.
    pub size: Option<i64>,
    /// Root of the account's tree after the block.
    pub root: Option<&'a [u8]>,
    /// Leaf hash of the record.
    pub leaf_hash: &'a [u8],
}

/// What is not 32 bytes long cannot be genuine and becomes a value that no hash equals.
pub(super) fn hash_or_none_such(bytes: &[u8]) -> Hash {
    bytes.try_into().unwrap_or([0xff; 32])
}
