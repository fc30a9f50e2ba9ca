//! Where a verification begins that goes on from an earlier checkpoint.

use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::ledger::{Claims, Verifier};
use tenant_guard_core::proof::inclusion_ranges;

use super::proof::Blocks;
use super::read;
use super::rows::with_cursors;
use super::store;
use crate::error::Error;

/// Has verification begin at the block that ended at a checkpoint, and returns that. None, and a
/// finding, where there is none.
pub(super) fn begin(verifier: &mut Verifier, checkpoint: &Checkpoint) -> Option<i64> {
    let (found, newest) = find(checkpoint);
    let Some(block) = found else {
        verifier.cannot_begin(checkpoint, newest);
        return None;
    };
    let mut blocks = Blocks::open_lenient();
    let claims = claims_up_to(&mut blocks, block, checkpoint.epoch);
    let ranges =
        inclusion_ranges(checkpoint.size - 1, checkpoint.size).expect("no checkpoint is of size 0");
    let mut path = blocks.roots(checkpoint.epoch, &ranges);
    if blocks.damaged() {
        path.clear();
    }
    let captured = store::configuration_at(block);
    let latest = store::latest_seal(block);
    read::with_block(block, |row| {
        verifier.begin_after(row, claims, checkpoint, &path);
        verifier.captured_before(row, captured.as_deref(), latest);
    })
    .unwrap_or_else(|| Error::BrokenLedger("a block").raise());
    Some(block)
}

/// The block at whose end the tree had the size of the checkpoint; epoch and size of the newest
/// one's. Goes back from the newest, so the work is that of what is new.
fn find(checkpoint: &Checkpoint) -> (Option<i64>, Option<(i64, i64)>) {
    if !store::exists() {
        return (None, None);
    }
    let wanted = (
        checkpoint.epoch,
        i64::try_from(checkpoint.size).unwrap_or(i64::MAX),
    );
    let query = c"SELECT block, epoch, tree_size FROM tenant_guard.ledger_block \
                  WHERE block IS NOT NULL ORDER BY block DESC";
    with_cursors([(query, &[])], |[mut blocks]| {
        let mut newest = None;
        while let Some(row) = blocks.next() {
            let at = (row.bigint(1), row.bigint(2));
            newest.get_or_insert(at);
            if at <= wanted {
                return ((at == wanted).then(|| row.bigint(0)), newest);
            }
        }
        (None, newest)
    })
}

/// What the blocks up to one hold. Within an epoch the newest snapshot says it; what an epoch takes
/// over stands in its first block.
fn claims_up_to(blocks: &mut Blocks, block: i64, epoch: i64) -> Claims {
    let mut claims = Claims::default();
    for epoch in 1..=epoch {
        let Some((first, last)) = blocks.of_epoch(epoch) else {
            continue;
        };
        let last = last.min(block);
        if first <= last {
            store::add_block_to(&mut claims, first);
        }
        if first < last {
            store::add_block_to(&mut claims, last);
        }
    }
    claims
}
