//! Making a block.

use super::records::{AccountLeaf, BlockRecord, EpochRecord};
use crate::event::FORMAT_VERSION;
use crate::merkle::{Frontier, Hash};

/// One account's tree while the events of a block are added to it.
#[derive(Clone, Debug, Default)]
pub struct AccountRound {
    tree: Frontier,
    /// The events of the block alone.
    added: Frontier,
}

impl AccountRound {
    /// Begins with the account's tree as the block before left it.
    pub fn new(tree: Frontier) -> Self {
        Self {
            tree,
            ..Self::default()
        }
    }

    /// Adds the account's next event of the block.
    pub fn append(&mut self, leaf: Hash) {
        self.tree.append(leaf);
        self.added.append(leaf);
    }

    /// Events added in this block.
    pub fn events(&self) -> i64 {
        self.added.size() as i64
    }

    /// The account's tree by now.
    pub fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// Begins the next block.
    pub fn restart(&mut self) {
        self.added = Frontier::new();
    }

    /// What the block says about the account.
    pub fn leaf(&self, block: i64, blinded_id: Hash) -> AccountLeaf {
        AccountLeaf {
            block,
            blinded_id,
            events: self.events(),
            events_root: self.added.root(),
            size: self.tree.size() as i64,
            root: self.tree.root(),
        }
    }
}

/// What is known of a block before its leaves are.
#[derive(Clone, Copy, Debug)]
pub struct BlockPlan<'a> {
    /// Number of the block, one more than the last.
    pub block: i64,
    /// Epoch of the block, one more than the last block's if incarnation or timeline changed.
    pub epoch: i64,
    /// Database, see [`incarnation`](crate::event::incarnation).
    pub incarnation: i64,
    /// Timeline of the server's write-ahead log.
    pub timeline: i32,
    /// Text of the [`Snapshot`](super::Snapshot).
    pub snapshot: &'a str,
    /// Text of [`Adopted`](super::Adopted).
    pub adopted: &'a str,
    /// Now, in microseconds since 1970-01-01 UTC.
    pub sealed_at: i64,
    /// Hash of the last block, [`NO_BLOCK`](super::NO_BLOCK) for the first ever.
    pub previous_hash: Hash,
    /// Only in the first block of an epoch that follows another: the last checkpoint of that one.
    pub previous_checkpoint: Option<&'a str>,
    /// SHA-256 of what is captured now, see [`configuration_hash`](super::configuration_hash).
    pub configuration: Hash,
}

/// An account with at least one event in the block.
#[derive(Clone, Copy, Debug)]
pub struct Participant<'a> {
    /// Account in canonical text.
    pub account: &'a str,
    /// See [`blinded_account`](super::blinded_account).
    pub blinded_id: Hash,
    /// Its tree with the events of the block.
    pub round: &'a AccountRound,
}

/// A leaf of the global tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// Place in the epoch's global tree, counted from 0.
    pub position: i64,
    /// Account and record; none for the leaves of the epoch and of the block itself.
    pub account: Option<(&'a str, AccountLeaf)>,
    /// Leaf hash of the record.
    pub hash: Hash,
}

/// A finished block.
#[derive(Clone, Debug)]
pub struct Sealed<'a> {
    /// The block's own record.
    pub record: BlockRecord<'a>,
    /// Leaf hash of the record, the block's hash.
    pub hash: Hash,
    /// All leaves in order: of the epoch if it begins here, of the accounts, of the block.
    pub leaves: Vec<Leaf<'a>>,
}

/// Makes the block and appends its leaves to `tree`, the global tree of the block's epoch. An
/// empty tree is an epoch that begins.
pub fn seal<'a>(
    plan: &BlockPlan<'a>,
    mut participants: Vec<Participant<'a>>,
    tree: &mut Frontier,
) -> Sealed<'a> {
    participants.sort_unstable_by_key(|participant| participant.blinded_id);
    let record = BlockRecord {
        version: FORMAT_VERSION,
        block: plan.block,
        epoch: plan.epoch,
        incarnation: plan.incarnation,
        timeline: plan.timeline,
        snapshot: plan.snapshot,
        adopted: plan.adopted,
        events: participants
            .iter()
            .map(|participant| participant.round.events())
            .sum(),
        accounts: participants.len() as i64,
        sealed_at: plan.sealed_at,
        previous_hash: plan.previous_hash,
        previous_size: tree.size() as i64,
        previous_root: tree.root(),
        configuration: plan.configuration,
    };
    let mut leaves = Vec::with_capacity(participants.len() + 2);
    let mut append = |account: Option<(&'a str, AccountLeaf)>, hash| {
        leaves.push(Leaf {
            position: tree.size() as i64,
            account,
            hash,
        });
        tree.append(hash);
    };
    if record.previous_size == 0 {
        append(None, epoch_record(plan).hash());
    }
    for Participant {
        account,
        blinded_id,
        round,
    } in participants
    {
        let leaf = round.leaf(plan.block, blinded_id);
        append(Some((account, leaf)), leaf.hash());
    }
    let hash = record.hash();
    append(None, hash);
    Sealed {
        record,
        hash,
        leaves,
    }
}

fn epoch_record<'a>(plan: &BlockPlan<'a>) -> EpochRecord<'a> {
    EpochRecord {
        epoch: plan.epoch,
        incarnation: plan.incarnation,
        timeline: plan.timeline,
        previous_checkpoint: plan.previous_checkpoint,
    }
}
