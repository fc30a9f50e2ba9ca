//! Verification of what came after a checkpoint that somebody kept.

use tenant_guard_core::ledger::{BlockRecord, Code, Finding};

use crate::model::{self, BlockRow, Ledger, sample};

fn after(ledger: &Ledger, block: i64) -> Vec<Finding> {
    let kept = sample();
    let incarnation = kept.ledger_block.last().expect("blocks").incarnation;
    ledger.verify_after(&kept, block, incarnation)
}

fn changed(change: impl FnOnce(&mut Ledger)) -> Ledger {
    let mut ledger = sample();
    change(&mut ledger);
    ledger
}

fn codes(findings: &[Finding]) -> Vec<Code> {
    findings.iter().map(|finding| finding.code).collect()
}

/// Place of the first event of a block in the sample: xids 100, 102 and 50.
fn event_of(ledger: &mut Ledger, block: i64) -> &mut model::Event {
    let xid = [100, 102, 50][block as usize - 1];
    let mut events = ledger.audit_log.iter_mut();
    events.find(|event| event.xid == xid).expect("an event")
}

#[test]
fn what_came_after_any_block_is_sound_in_a_sound_ledger() {
    for block in 1..=3 {
        assert_eq!(after(&sample(), block), [], "after block {block}");
    }
}

#[test]
fn a_changed_event_is_found_after_the_checkpoint_and_not_before() {
    for block in 1..=3 {
        let ledger = changed(|ledger| event_of(ledger, block).action = "DELETE".to_owned());
        for kept in 1..=3 {
            let found = codes(&after(&ledger, kept));
            let expected: &[Code] = if block > kept {
                &[Code::EventAltered]
            } else {
                &[]
            };
            assert_eq!(
                found, expected,
                "event of block {block}, checkpoint of {kept}"
            );
        }
    }
}

#[test]
fn a_removed_event_is_found_after_the_checkpoint() {
    let ledger = changed(|ledger| {
        let xid = event_of(ledger, 3).xid;
        ledger.audit_log.retain(|event| event.xid != xid);
        ledger.audit_context.retain(|context| context.xid != xid);
    });
    for kept in 1..=2 {
        assert_eq!(codes(&after(&ledger, kept)), [Code::EventSetChanged]);
    }
    assert_eq!(after(&ledger, 3), []);
}

#[test]
fn each_column_of_the_block_of_the_checkpoint_is_compared() {
    let edits: [fn(&mut BlockRow); 8] = [
        |block| block.snapshot = "109:109:".to_owned(),
        |block| block.sealed_at += 1,
        |block| block.events += 1,
        |block| block.timeline += 1,
        |block| block.previous_root = "00".repeat(32),
        |block| block.configuration_hash = "00".repeat(32),
        |block| block.hash = "00".repeat(32),
        |block| block.state = "00".repeat(block.state.len() / 2),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let ledger = changed(|ledger| edit(&mut ledger.ledger_block[1]));
        let found = after(&ledger, 2);
        assert_eq!(
            found[0].code,
            Code::BlockAltered,
            "edit {number}: {found:?}"
        );
        assert_eq!(found[0].block, Some(2));
    }
    let edits: [fn(&mut BlockRow); 3] = [
        |block| block.root = "00".repeat(32),
        |block| block.incarnation += 1,
        |block| block.epoch += 1,
    ];
    for edit in edits {
        let ledger = changed(|ledger| edit(&mut ledger.ledger_block[1]));
        assert!(codes(&after(&ledger, 2)).contains(&Code::CheckpointMismatch));
    }
}

/// Columns and hash changed together: only the checkpoint tells.
#[test]
fn a_block_hashed_anew_is_not_the_one_of_the_checkpoint() {
    let ledger = changed(|ledger| {
        let block = &mut ledger.ledger_block[1];
        block.sealed_at += 1;
        block.hash = hex::encode(
            BlockRecord {
                version: block.version,
                block: block.block,
                epoch: block.epoch,
                incarnation: block.incarnation,
                timeline: block.timeline,
                snapshot: &block.snapshot,
                adopted: &block.adopted,
                events: block.events,
                accounts: block.accounts,
                sealed_at: block.sealed_at,
                previous_hash: model::hash(&block.previous_hash),
                previous_size: block.previous_size,
                previous_root: model::hash(&block.previous_root),
                configuration: model::hash(&block.configuration_hash),
            }
            .hash(),
        );
    });
    let found = after(&ledger, 2);
    assert_eq!(found[0].code, Code::BlockAltered);
    assert_eq!(
        found[0].detail,
        "its hash is not in the checkpoint's tree, or what leads there is damaged"
    );
}

#[test]
fn a_ledger_that_ends_before_the_checkpoint_is_told() {
    let ledger = changed(|ledger| {
        ledger.ledger_block.pop();
        ledger.ledger_leaf.retain(|leaf| leaf.block < 3);
    });
    assert_eq!(codes(&after(&ledger, 3)), [Code::CheckpointTruncated]);
    let ledger = changed(|ledger| _ = ledger.ledger_block.remove(0));
    assert_eq!(codes(&after(&ledger, 1)), [Code::CheckpointMismatch]);
}

/// The size of an account's tree, and the row that keeps its state, go on from the checkpoint.
#[test]
fn trees_of_accounts_are_followed_by_their_sizes() {
    let ledger = changed(|ledger| {
        ledger
            .ledger_account
            .iter_mut()
            .for_each(|row| row.size += 1)
    });
    assert!(codes(&after(&ledger, 2)).contains(&Code::AccountAltered));
    let ledger = changed(|ledger| {
        let leaves = ledger.ledger_leaf.iter_mut().filter(|leaf| leaf.block == 3);
        leaves.for_each(|leaf| leaf.account_size = leaf.account_size.map(|size| size + 1));
    });
    assert!(codes(&after(&ledger, 2)).contains(&Code::LeafAltered));
}
