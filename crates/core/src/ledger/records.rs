//! The records that become leaves of the global tree.

use sha2::{Digest, Sha256};

use crate::cbor::Writer;
use crate::event::FORMAT_VERSION;
use crate::merkle::{Hash, leaf_hash};

const BLIND: u8 = 0x02;

/// `previous_hash` of the first block ever.
pub const NO_BLOCK: Hash = [0; 32];

/// The name of an account in the global tree, `SHA-256(0x02 || blinding || account)`: who does not
/// hold the account's random blinding learns nothing from it.
pub fn blinded_account(blinding: &[u8; 32], account: &str) -> Hash {
    let hash = Sha256::new().chain_update([BLIND]).chain_update(blinding);
    hash.chain_update(account).finalize().into()
}

/// SHA-256 of the text that says what was captured when a block was sealed.
pub fn configuration_hash(configuration: &str) -> Hash {
    Sha256::digest(configuration).into()
}

/// First leaf of the global tree of each epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochRecord<'a> {
    /// 1, 2, 3 ...
    pub epoch: i64,
    /// Database, see [`incarnation`](crate::event::incarnation).
    pub incarnation: i64,
    /// Timeline of the server's write-ahead log.
    pub timeline: i32,
    /// Body of the last checkpoint of the epoch before; none in the first epoch.
    pub previous_checkpoint: Option<&'a str>,
}

impl EpochRecord<'_> {
    /// Replaces the content of `out` by the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        Writer::new(out)
            .array(6)
            .text("epoch")
            .int(FORMAT_VERSION)
            .int(self.epoch)
            .int(self.incarnation)
            .int(self.timeline.into())
            .text_or_null(self.previous_checkpoint);
    }

    /// Leaf hash of the record.
    pub fn hash(&self) -> Hash {
        hash_record(|out| self.encode(out))
    }
}

/// What a block says about one account that has events in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLeaf {
    /// Number of the block.
    pub block: i64,
    /// See [`blinded_account`].
    pub blinded_id: Hash,
    /// Events of the account in this block.
    pub events: i64,
    /// Root of a tree of these events alone, see [`Frontier::root`](crate::merkle::Frontier::root).
    pub events_root: Hash,
    /// Leaves of the account's tree after this block.
    pub size: i64,
    /// Root of the account's tree after this block.
    pub root: Hash,
}

impl AccountLeaf {
    /// Replaces the content of `out` by the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        Writer::new(out)
            .array(8)
            .text("account")
            .int(FORMAT_VERSION)
            .int(self.block)
            .bytes(&self.blinded_id)
            .int(self.events)
            .bytes(&self.events_root)
            .int(self.size)
            .bytes(&self.root);
    }

    /// Leaf hash of the record.
    pub fn hash(&self) -> Hash {
        hash_record(|out| self.encode(out))
    }
}

/// A block's own record, the last of its leaves; its leaf hash is the block's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRecord<'a> {
    /// Format version of the block.
    pub version: i64,
    /// 1, 2, 3 ... without gap, over all epochs.
    pub block: i64,
    /// Epoch the block belongs to.
    pub epoch: i64,
    /// Database, see [`incarnation`](crate::event::incarnation).
    pub incarnation: i64,
    /// Timeline of the server's write-ahead log.
    pub timeline: i32,
    /// Text of the [`Snapshot`](super::Snapshot).
    pub snapshot: &'a str,
    /// Text of [`Adopted`](super::Adopted).
    pub adopted: &'a str,
    /// Events in the block.
    pub events: i64,
    /// Accounts with events in the block.
    pub accounts: i64,
    /// When the block was sealed, in microseconds since 1970-01-01 UTC.
    pub sealed_at: i64,
    /// Hash of the block before, [`NO_BLOCK`] in the first ever.
    pub previous_hash: Hash,
    /// Leaves of the epoch's global tree before the block's own.
    pub previous_size: i64,
    /// Root of the epoch's global tree before the block's own leaves.
    pub previous_root: Hash,
    /// See [`configuration_hash`].
    pub configuration: Hash,
}

impl BlockRecord<'_> {
    /// Replaces the content of `out` by the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        Writer::new(out)
            .array(15)
            .text("block")
            .int(self.version)
            .int(self.block)
            .int(self.epoch)
            .int(self.incarnation)
            .int(self.timeline.into())
            .text(self.snapshot)
            .text(self.adopted)
            .int(self.events)
            .int(self.accounts)
            .int(self.sealed_at)
            .bytes(&self.previous_hash)
            .int(self.previous_size)
            .bytes(&self.previous_root)
            .bytes(&self.configuration);
    }

    /// Leaf hash of the record, the block's hash.
    pub fn hash(&self) -> Hash {
        hash_record(|out| self.encode(out))
    }
}

fn hash_record(encode: impl FnOnce(&mut Vec<u8>)) -> Hash {
    let mut out = Vec::with_capacity(256);
    encode(&mut out);
    leaf_hash(&out)
}
