//! The part of verification that looks at blocks, their chain, and the end of the ledger.

use super::{Scope, Verifier};
use crate::checkpoint::Checkpoint;
use crate::event::FORMAT_VERSION;
use crate::ledger::claims::Claim;
use crate::ledger::finding::{Code, Finding};
use crate::ledger::records::{BlockRecord, EpochRecord, NO_BLOCK, configuration_hash};
use crate::ledger::snapshot::{Adopted, Snapshot};
use crate::ledger::stored::{StoredBlock, StoredLeaf, hash_or_none_such};
use crate::merkle::{Frontier, Hash, empty_root};

/// The block whose rows are being read.
pub(super) struct Current {
    pub(super) block: i64,
    pub(super) epoch: i64,
    pub(super) incarnation: i64,
    pub(super) timeline: i32,
    pub(super) events: i64,
    pub(super) accounts: i64,
    /// Whether the stored columns give the stored hash.
    pub(super) consistent: bool,
    /// Hash the columns give, hash that is stored.
    pub(super) hashes: [Hash; 2],
    /// Leaf hash of the epoch, if the block is its first.
    pub(super) epoch_leaf: Option<Hash>,
    /// Whether the events read are those of this block and no other.
    pub(super) claims_known: bool,
    /// Size of the global tree before the block.
    pub(super) start: i64,
    tree_size: i64,
    root: Hash,
    state: Vec<u8>,
    /// Hash of what was captured, none where damage hides it.
    configuration: Option<Hash>,
}

/// What the next block is compared with.
pub(super) struct Last {
    pub(super) block: i64,
    epoch: i64,
    pub(super) incarnation: i64,
    timeline: i32,
    consistent: bool,
    hashes: [Hash; 2],
    /// Checkpoint of the recomputed tree, checkpoint of the stored columns.
    checkpoints: [Checkpoint; 2],
    /// Global tree as stored with the block, if its state has the stored root.
    stored_tree: Option<Frontier>,
    /// Hash of what was captured, none where damage hides it.
    pub(super) configuration: Option<Hash>,
}

impl Last {
    /// A block as it is stored, with the tree that was stored with it.
    pub(super) fn stored(row: &StoredBlock<'_>, stored_tree: Option<Frontier>) -> Self {
        let hashes = [row.record().hash(), hash_or_none_such(row.hash)];
        let checkpoint = Checkpoint {
            incarnation: row.incarnation,
            epoch: row.epoch,
            size: row.tree_size.max(0) as u64,
            root: hash_or_none_such(row.root),
        };
        Self {
            block: row.block,
            epoch: row.epoch,
            incarnation: row.incarnation,
            timeline: row.timeline,
            consistent: hashes[0] == hashes[1],
            hashes,
            checkpoints: [checkpoint; 2],
            stored_tree,
            configuration: Some(hash_or_none_such(row.configuration_hash)),
        }
    }
}

impl Verifier {
    pub(super) fn open_block(&mut self, row: &StoredBlock<'_>) -> Vec<Claim> {
        let last_block = self.last.as_ref().map_or(0, |last| last.block);
        let record = row.record();
        let hashes = [record.hash(), hash_or_none_such(row.hash)];
        let consistent = hashes[0] == hashes[1];
        if !consistent {
            self.block_altered(row.block, "its columns do not give its hash");
        }
        if row.version != FORMAT_VERSION {
            self.block_altered(row.block, "its format version is not known");
        }
        if row.block <= last_block {
            self.block_altered(row.block, "its number is not one a block has");
            return Vec::new();
        }
        let gap = row.block > last_block + 1;
        if gap {
            self.lose_blocks(last_block + 1, row.block);
        }
        let opens = self.opens_epoch(row);
        let last_epoch = self.last.as_ref().map_or(0, |last| last.epoch);
        let epoch = last_epoch.saturating_add(i64::from(opens));
        if consistent && !gap {
            self.check_chain(row, opens, epoch);
        }
        let epoch_leaf = opens.then(|| self.epoch_leaf(row, epoch, gap));
        if opens {
            self.tree = (!gap || row.previous_size == 0).then(Frontier::new);
        } else if row.previous_checkpoint.is_some() {
            self.block_altered(row.block, "it has a checkpoint of an epoch before");
        }
        let configuration = self.check_configuration(row, &record, gap);
        self.note_rules(row, configuration, gap);
        let (claims, claims_known) = self.claim(row);
        self.current = Some(Current {
            block: row.block,
            epoch: if gap { row.epoch } else { epoch },
            incarnation: row.incarnation,
            timeline: row.timeline,
            events: row.events,
            accounts: row.accounts,
            consistent,
            hashes,
            epoch_leaf,
            claims_known,
            start: self
                .tree
                .as_ref()
                .map_or(row.previous_size, |tree| tree.size() as i64),
            tree_size: row.tree_size,
            root: hash_or_none_such(row.root),
            state: row.state.to_vec(),
            configuration,
        });
        claims
    }

    /// Compares the hash of what was captured with the text, which stands where the hash is not
    /// that of the block before. Returns the hash the block was sealed with.
    ///
    /// Of a block whose columns do not give its hash that is reported already: a text that gives
    /// the hash back shows which column it was.
    fn check_configuration(
        &mut self,
        row: &StoredBlock<'_>,
        record: &BlockRecord<'_>,
        gap: bool,
    ) -> Option<Hash> {
        let before = self.last.as_ref().map(|last| last.configuration);
        let before = if gap { Some(None) } else { before };
        let stored = record.configuration;
        let stated = row.configuration.map(configuration_hash);
        if record.hash() != hash_or_none_such(row.hash) {
            let restored = stated.or(before.flatten())?;
            let repaired = BlockRecord {
                configuration: restored,
                ..*record
            };
            return (repaired.hash() == hash_or_none_such(row.hash)).then_some(restored);
        }
        let detail = match (stated, before) {
            (Some(stated), _) if stated != stored => "the text is not that of its hash",
            (Some(_), Some(Some(before))) if before == stored => {
                "the text stands again where nothing has changed"
            }
            (None, None) => "the text is missing",
            (None, Some(Some(before))) if before != stored => "the text is missing",
            _ => return Some(stored),
        };
        let finding = Finding::new(Code::ConfigurationAltered, detail);
        self.report(finding.block(row.block));
        Some(stored)
    }

    /// Blocks from `first` to before `next` are not there.
    fn lose_blocks(&mut self, first: i64, next: i64) {
        let detail = match next - first {
            1 => format!("block {first} is missing"),
            _ => format!("blocks {first} to {} are missing", next - 1),
        };
        self.report(Finding::new(Code::BlockMissing, detail).block(first));
        self.claims_lost = true;
        self.tree = None;
        self.accounts
            .iter_mut()
            .for_each(|account| account.tree_known = false);
    }

    /// Whether the block is the first of an epoch: three columns say so, and two decide.
    fn opens_epoch(&self, row: &StoredBlock<'_>) -> bool {
        self.epoch_votes(row)
            .into_iter()
            .filter(|opens| *opens)
            .count()
            >= 2
    }

    fn epoch_votes(&self, row: &StoredBlock<'_>) -> [bool; 3] {
        let last = self.last.as_ref();
        [
            last.is_none_or(|last| row.epoch != last.epoch),
            last.is_none_or(|last| {
                (row.incarnation, row.timeline) != (last.incarnation, last.timeline)
            }),
            row.previous_size == 0,
        ]
    }

    /// A block whose own record is sound must follow from the one before.
    fn check_chain(&mut self, row: &StoredBlock<'_>, opens: bool, epoch: i64) {
        let previous_hash = hash_or_none_such(row.previous_hash);
        let last = self.last.as_ref();
        let follows = last.map_or(previous_hash == NO_BLOCK, |last| {
            last.hashes.contains(&previous_hash)
        });
        let last_sound = last.is_none_or(|last| last.consistent);
        let in_epoch = row.epoch == epoch
            && (!last_sound || self.epoch_votes(row).iter().all(|vote| *vote == opens));
        if !follows {
            self.chain_broken(row.block, "it does not name the hash of the block before");
        }
        if !in_epoch {
            self.chain_broken(row.block, "its epoch does not follow from the block before");
        }
        let previous = (row.previous_size, hash_or_none_such(row.previous_root));
        let matches = |tree: &Frontier| (tree.size() as i64, tree.root()) == previous;
        if opens {
            if previous != (0, empty_root()) {
                self.chain_broken(row.block, "the tree of a new epoch is not empty before it");
            }
        } else if !self.tree.as_ref().is_some_and(matches) {
            if self.tree.is_some() {
                self.chain_broken(
                    row.block,
                    "the tree before it is not the one it was added to",
                );
            }
            let stored = self.last.as_ref().and_then(|last| last.stored_tree.clone());
            self.tree = stored.filter(matches);
        }
    }

    /// Leaf hash of an epoch that begins. The checkpoint in it must be the last one before.
    fn epoch_leaf(&mut self, row: &StoredBlock<'_>, epoch: i64, gap: bool) -> Hash {
        let known: Vec<String> = match &self.last {
            Some(last) => last.checkpoints.iter().map(Checkpoint::to_string).collect(),
            None => Vec::new(),
        };
        let stored = row.previous_checkpoint;
        let genuine = if gap || stored.map_or(known.is_empty(), |s| known.iter().any(|k| k == s)) {
            stored
        } else {
            let detail = "its checkpoint of the epoch before is not the last one";
            self.block_altered(row.block, detail);
            known.first().map(String::as_str)
        };
        EpochRecord {
            epoch: if gap { row.epoch } else { epoch },
            incarnation: row.incarnation,
            timeline: row.timeline,
            previous_checkpoint: genuine,
        }
        .hash()
    }

    /// The events the block holds, and whether they are its own only.
    fn claim(&mut self, row: &StoredBlock<'_>) -> (Vec<Claim>, bool) {
        match (
            row.snapshot.parse::<Snapshot>(),
            row.adopted.parse::<Adopted>(),
        ) {
            (Ok(snapshot), Ok(adopted)) if adopted.iter().all(|(of, _)| of != row.incarnation) => {
                self.check_claims(row, &snapshot, &adopted);
                let known = !std::mem::take(&mut self.claims_lost);
                (
                    self.claims.add_block(row.incarnation, snapshot, &adopted),
                    known,
                )
            }
            _ => {
                self.block_altered(
                    row.block,
                    "its snapshot or adopted incarnations are no such",
                );
                self.claims_lost = true;
                (Vec::new(), false)
            }
        }
    }

    /// What a block claims never goes back behind what earlier ones hold. Only the first snapshot of
    /// a database that came back may: transactions of its own were running all the time.
    fn check_claims(&mut self, row: &StoredBlock<'_>, snapshot: &Snapshot, adopted: &Adopted) {
        let last = self.last.as_ref().filter(|_| !self.claims_lost);
        let continued = last.is_some_and(|last| last.incarnation == row.incarnation);
        if continued && !snapshot.sees_all_of(&self.claims.of(row.incarnation)) {
            self.block_altered(row.block, "its snapshot sees less than the one before");
        }
        let goes_back = |(of, bound): (i64, Snapshot)| bound.xmax() < self.claims.of(of).xmax();
        if adopted.iter().any(goes_back) {
            let detail = "it takes over less of an incarnation than earlier blocks hold";
            self.block_altered(row.block, detail);
        }
    }

    pub(super) fn close_block(&mut self, current: Current) {
        let leaves = self.reconcile(&current);
        self.end_removed(&current);
        let stored_tree = Frontier::from_state(current.tree_size.max(0) as u64, &current.state)
            .filter(|tree| tree.root() == current.root);
        let stored = Checkpoint {
            incarnation: current.incarnation,
            epoch: current.epoch,
            size: current.tree_size.max(0) as u64,
            root: current.root,
        };
        let mut computed = stored;
        if let Some(tree) = &mut self.tree {
            leaves.into_iter().for_each(|leaf| tree.append(leaf));
            (computed.size, computed.root) = (tree.size(), tree.root());
            let same_state = tree.state() == current.state;
            if computed.size as i64 != current.tree_size {
                self.block_altered(current.block, "its tree size is not the number of leaves");
            }
            if computed.root != current.root {
                self.block_altered(current.block, "its root is not the one its leaves give");
            }
            if !same_state {
                self.block_altered(
                    current.block,
                    "its tree state is not the one its leaves give",
                );
            }
        } else {
            self.tree = stored_tree.clone();
        }
        self.pass_checkpoint(&computed);
        self.last = Some(Last {
            block: current.block,
            epoch: current.epoch,
            incarnation: current.incarnation,
            timeline: current.timeline,
            consistent: current.consistent,
            hashes: current.hashes,
            checkpoints: [computed, stored],
            stored_tree,
            configuration: current.configuration,
        });
    }

    /// Compares the given checkpoint when the tree has just grown to or past its size.
    fn pass_checkpoint(&mut self, now: &Checkpoint) {
        let Some(against) = self.against else { return };
        let same_tree = (against.incarnation, against.epoch) == (now.incarnation, now.epoch);
        if !same_tree || against.size > now.size {
            return;
        }
        self.against = None;
        if (against.size, against.root) != (now.size, now.root) {
            self.report(Finding::new(
                Code::CheckpointMismatch,
                format!("the tree of size {} is not the checkpoint's", against.size),
            ));
        }
    }

    /// What is left of a checkpoint that no block reached.
    pub(super) fn check_against(&mut self) {
        let Some(against) = self.against.take() else {
            return;
        };
        let (epoch, incarnation) = match &self.last {
            Some(last) => (last.epoch, Some(last.incarnation)),
            None => (0, None),
        };
        let ended_before = against.epoch > epoch
            || (against.epoch == epoch && Some(against.incarnation) == incarnation);
        self.report(if ended_before {
            let size = self
                .last
                .as_ref()
                .map_or(0, |last| last.checkpoints[0].size);
            Finding::new(
                Code::CheckpointTruncated,
                format!(
                    "the ledger ends in epoch {epoch} at size {size}, \
                     the checkpoint is of epoch {} and size {}",
                    against.epoch, against.size
                ),
            )
        } else {
            Finding::new(
                Code::CheckpointMismatch,
                format!(
                    "epoch {} of the ledger is not the checkpoint's",
                    against.epoch
                ),
            )
        });
    }

    /// A leaf whose block is not there.
    pub(super) fn check_stray(&mut self, row: &StoredLeaf<'_>) {
        let last = self.last.as_ref().map_or(0, |last| last.block);
        if self.current.is_some() && row.block > last || self.stray_block == Some(row.block) {
            return; // in a gap that is reported already
        }
        self.stray_block = Some(row.block);
        self.report(if row.block > last {
            let detail = format!("block {} is missing, its leaves are there", row.block);
            Finding::new(Code::BlockMissing, detail).block(row.block)
        } else {
            let detail = format!("leaf {} names a block that never was", row.position);
            Finding::new(Code::LeafInserted, detail).block(row.block)
        });
    }

    /// Each account's row must hold the tree its last leaf is of.
    pub(super) fn check_accounts(&mut self) {
        if let Scope::Bundle(only) = &self.scope {
            let known = self.accounts.find(only);
            if known.is_none_or(|at| self.accounts.get(at).is_unknown()) {
                let detail = "nothing of this account was sealed, which proves nothing";
                let finding = Finding::new(Code::AccountMissing, detail);
                self.findings.push(finding.account(only));
            }
        }
        for account in self.accounts.iter_mut() {
            let finding = match (&account.row, account.sealed) {
                (None, None) => continue,
                (None, Some(_)) => {
                    Finding::new(Code::AccountMissing, "the row of an account is missing")
                }
                (Some(_), None) => {
                    Finding::new(Code::AccountAltered, "the account has no sealed event")
                }
                (Some(row), Some((size, root))) => {
                    let tree = Frontier::from_state(row.size.max(0) as u64, &row.state);
                    let sound = row.size == size && tree.is_some_and(|tree| tree.root() == root);
                    if sound || account.row_reported {
                        continue;
                    }
                    let detail = "size or state is not that of the account's last leaf";
                    Finding::new(Code::AccountAltered, detail)
                }
            };
            self.findings.push(finding.account(&account.name));
        }
    }

    pub(super) fn block_altered(&mut self, block: i64, detail: &str) {
        self.report(Finding::new(Code::BlockAltered, detail).block(block));
    }

    fn chain_broken(&mut self, block: i64, detail: &str) {
        self.report(Finding::new(Code::ChainBroken, detail).block(block));
    }
}
