//! Verification of what came after a checkpoint.

use super::Verifier;
use super::blocks::Last;
use crate::checkpoint::Checkpoint;
use crate::ledger::claims::Claims;
use crate::ledger::finding::{Code, Finding};
use crate::ledger::stored::{StoredBlock, hash_or_none_such};
use crate::merkle::{Frontier, Hash};
use crate::proof::root_of_inclusion;

impl Verifier {
    /// Begins after `row`, the block at whose end the ledger had the given checkpoint. `path` leads
    /// from the block's own leaf, the last one, to the root of the checkpoint; `claims` are what
    /// the blocks up to this one hold. Without a finding the row is the block that was sealed.
    ///
    /// The trees of accounts are not known then. Of an account that has events before, each
    /// later record is compared with its events, its sizes and the record before; that its
    /// root grew out of the root before is left to a verification from the first block on.
    pub fn begin_after(
        &mut self,
        row: &StoredBlock<'_>,
        claims: Claims,
        checkpoint: &Checkpoint,
        path: &[Hash],
    ) {
        self.on_blocks(|verifier| verifier.check_start(row, checkpoint, path));
        let tree = stored_tree(row);
        self.last = Some(Last::stored(row, tree.clone()));
        self.tree = tree;
        self.erasures.begin_after(claims.clone());
        self.claims = claims;
        self.retained.begun_after = row.block;
        self.begun_later = true;
    }

    fn check_start(&mut self, row: &StoredBlock<'_>, checkpoint: &Checkpoint, path: &[Hash]) {
        let hashes = [row.record().hash(), hash_or_none_such(row.hash)];
        let size = checkpoint.size;
        let included = |hash: &Hash| {
            let index = size.checked_sub(1);
            let root = index.and_then(|index| root_of_inclusion(*hash, index, size, path));
            root == Some(checkpoint.root)
        };
        let stored = Checkpoint {
            incarnation: row.incarnation,
            epoch: row.epoch,
            size: row.tree_size.max(0) as u64,
            root: hash_or_none_such(row.root),
        };
        if hashes[0] != hashes[1] {
            self.block_altered(row.block, "its columns do not give its hash");
        }
        if stored != *checkpoint {
            self.report_start(format!("the tree of size {size} is not the checkpoint's"));
        } else if !hashes.iter().any(included) {
            self.block_altered(
                row.block,
                "its hash is not in the checkpoint's tree, or what leads there is damaged",
            );
        }
        if stored_tree(row).is_none() {
            self.block_altered(row.block, "its tree state is not the one of its root");
        }
    }

    /// No block ended at the checkpoint that verification was to begin from. `newest` is epoch and
    /// size of the tree of the newest block.
    pub fn cannot_begin(&mut self, checkpoint: &Checkpoint, newest: Option<(i64, i64)>) {
        let (epoch, size) = newest.unwrap_or_default();
        if (epoch, size)
            < (
                checkpoint.epoch,
                checkpoint.size.try_into().unwrap_or(i64::MAX),
            )
        {
            let detail = format!(
                "the ledger ends in epoch {epoch} at size {size}, the checkpoint is of epoch {} and size {}",
                checkpoint.epoch, checkpoint.size
            );
            self.on_blocks(|verifier| {
                verifier.report(Finding::new(Code::CheckpointTruncated, detail));
            });
        } else {
            let detail = format!("no block ended at size {}", checkpoint.size);
            self.on_blocks(|verifier| verifier.report_start(detail));
        }
    }

    fn report_start(&mut self, detail: String) {
        self.report(Finding::new(Code::CheckpointMismatch, detail));
    }
}

/// The global tree as stored with a block, if its state has the stored root.
fn stored_tree(row: &StoredBlock<'_>) -> Option<Frontier> {
    Frontier::from_state(row.tree_size.try_into().ok()?, row.state)
        .filter(|tree| tree.root() == hash_or_none_such(row.root))
}
