//! The files of a bundle that follow from its rows: tiles and checkpoints of each epoch's tree.
//! Writing and verifying ask here, so they cannot disagree.

use crate::checkpoint::Checkpoint;
use crate::ledger::{StoredBlock, StoredLeaf, epoch_record, leaf_record};
use crate::merkle::Hash;
use crate::tile::{LongEntry, Tiles};

/// The trees of a ledger while its rows pass by. Holds unfinished tiles of one epoch.
#[derive(Default)]
pub(super) struct Trees {
    /// Incarnation and timeline of the epoch.
    last: Option<(i64, i32)>,
    /// Epochs so far: one more wherever incarnation or timeline change. In a sound ledger that is
    /// the number of the epoch, in a damaged one still never the same twice.
    number: u64,
    tiles: Tiles,
    /// State after the newest block.
    checkpoint: Option<Checkpoint>,
    records: Option<Records>,
}

/// Records of a block that are not about accounts.
struct Records {
    epoch: Option<Vec<u8>>,
    block: Vec<u8>,
}

/// What follows from the rows.
pub(super) enum Derived<'a> {
    /// A tile or an entry bundle.
    Tile(&'a [u8]),
    /// The body that the checkpoint of an epoch has.
    Checkpoint(&'a Checkpoint),
}

impl Trees {
    /// Goes to the next block. `file` takes what an epoch that ends leaves.
    pub(super) fn begin_block(
        &mut self,
        row: &StoredBlock<'_>,
        file: impl FnMut(&str, Derived<'_>),
    ) {
        let place = Some((row.incarnation, row.timeline));
        let opens = self.last != place;
        if opens {
            self.end_epoch(file);
            self.last = place;
            self.number += 1;
        }
        self.records = Some(Records {
            epoch: opens.then(|| epoch_record(row)),
            block: row.encoded(),
        });
        self.checkpoint = <Hash>::try_from(row.root).ok().map(|root| Checkpoint {
            incarnation: row.incarnation,
            epoch: row.epoch,
            size: row.tree_size.max(0) as u64,
            root,
        });
    }

    /// Takes a leaf of the block; one of no block is in no tree.
    pub(super) fn leaf(
        &mut self,
        row: &StoredLeaf<'_>,
        mut file: impl FnMut(&str, Derived<'_>),
    ) -> Result<(), LongEntry> {
        let Some(records) = &mut self.records else {
            return Ok(());
        };
        let record = leaf_record(row)
            .or_else(|| records.epoch.take())
            .unwrap_or_else(|| records.block.clone());
        let leaf = row.leaf_hash.try_into().unwrap_or([0xff; 32]);
        let number = self.number;
        self.tiles.append(leaf, &record, |path, content| {
            file(&format!("epoch/{number}/{path}"), Derived::Tile(content));
        })
    }

    /// The block's rows are over.
    pub(super) fn end_block(&mut self) {
        self.records = None;
    }

    /// Gives what is left of the epoch.
    pub(super) fn end_epoch(&mut self, mut file: impl FnMut(&str, Derived<'_>)) {
        let number = self.number;
        std::mem::take(&mut self.tiles).finish(|path, content| {
            file(&format!("epoch/{number}/{path}"), Derived::Tile(content));
        });
        if let Some(checkpoint) = self.checkpoint.take() {
            let path = format!("epoch/{number}/checkpoint");
            file(&path, Derived::Checkpoint(&checkpoint));
        }
    }
}
