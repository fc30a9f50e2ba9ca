//! Recomputes a ledger from its events and reports every difference.
//!
//! The caller streams rows in: accounts once, then block by block the events, their contexts and
//! the leaves. Memory grows with the number of accounts, not of events.
//!
//! One damaged value is reported once, where it is. To that end each hash that stands in several
//! places is believed where two of them agree, and a tree that was lost by damage is picked up
//! again from the state stored with the next sound block. Neither can hide anything: both happen
//! only after a finding.

mod blocks;
mod erasures;
mod events;
mod found;
mod leaves;
mod retained;
mod since;
mod single;

use super::claims::{Claim, Claims};
use super::finding::{Code, Finding};
use super::part::{Depth, Part};
use super::reading::{Rows, Server};
use super::stored::{
    EventLeaf, StoredAccount, StoredBlock, StoredEvent, StoredLeaf, StoredPruned, hash_or_none_such,
};
use crate::checkpoint::Checkpoint;
use crate::erasure;
use crate::event::{Context, EventKey};
use crate::merkle::Frontier;
use blocks::{Current, Last};
use erasures::{Erasures, Seen};
use events::{Accounts, Contexts, check_event, named};
use found::Findings;
use leaves::LeafRow;
use retained::Retained;
pub use single::EventChecks;

/// Which events are checked. The blocks, their chain and all leaves always are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of all accounts.
    All,
    /// Those of one account, in canonical text.
    Account(String),
    /// The same, where nothing names the other accounts: their leaves have no account.
    Bundle(String),
}

/// The verification of one ledger. [`Rows`] says in which order it is given them.
pub struct Verifier {
    scope: Scope,
    part: Part,
    against: Option<Checkpoint>,
    accounts: Accounts,
    contexts: Contexts,
    erasures: Erasures,
    claims: Claims,
    /// Some earlier block's claims are unknown, so the next block's events are too many.
    claims_lost: bool,
    /// Verification began after a block, and the trees of accounts before it are not known.
    begun_later: bool,
    /// Global tree of the epoch; unknown after damage to it.
    tree: Option<Frontier>,
    last: Option<Last>,
    current: Option<Current>,
    rows: Vec<LeafRow>,
    retained: Retained,
    /// The server, once its unsealed events are read.
    unsealed: Option<Server>,
    /// Last block number reported as missing because only leaves of it are left.
    stray_block: Option<i64>,
    buffer: Vec<u8>,
    findings: Findings,
}

impl Verifier {
    /// Begins. With `against`, a checkpoint taken earlier, the ledger must be one that grew from
    /// it; without one, blocks that were removed from the end without a trace are not found.
    pub fn new(scope: Scope, against: Option<Checkpoint>) -> Self {
        Self {
            // What is not read of a database was left out of a bundle.
            contexts: Contexts::new(!matches!(scope, Scope::Account(_))),
            scope,
            part: Part::WHOLE,
            against,
            accounts: Accounts::default(),
            erasures: Erasures::default(),
            claims: Claims::default(),
            claims_lost: false,
            begun_later: false,
            tree: Some(Frontier::new()),
            last: None,
            current: None,
            rows: Vec::new(),
            retained: Retained::default(),
            unsealed: None,
            stray_block: None,
            buffer: Vec::with_capacity(1024),
            findings: Findings::default(),
        }
    }

    /// Narrows the work to a part of it.
    pub fn part(self, part: Part) -> Self {
        Self { part, ..self }
    }

    /// Checks what can only be said at the end.
    pub fn finish(&mut self) {
        self.leave_transaction();
        if self.part.has_trees() {
            self.check_accounts();
            self.check_retained();
            self.check_against();
            self.erasures.finish(&mut self.findings);
        }
        self.findings.close();
    }

    /// Takes the findings so far, so that a caller need not hold them all.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.findings.take()
    }

    fn in_scope(&self, account: &str) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Account(only) | Scope::Bundle(only) => only == account,
        }
    }

    fn leave_transaction(&mut self) {
        self.contexts.leave(&mut self.findings);
    }

    /// Does what concerns the blocks. Where that is the work of another part, what is found there
    /// is not said.
    fn on_blocks<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.findings.mark();
        let result = work(self);
        if !self.part.has_trees() {
            self.findings.back_to(before);
        }
        result
    }

    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// An event of another database waits for the first block of this one; once that is sealed,
    /// no block will hold it. No block will see a transaction that there never was.
    ///
    /// Whether the event is one that may be there.
    fn check_unclaimed(&mut self, event: &StoredEvent<'_>) -> bool {
        let Some(server) = self.unsealed else {
            return true;
        };
        let key = event.entry.key;
        let own = key.incarnation == server.incarnation;
        let newest = self.last.as_ref().map(|last| last.incarnation);
        let detail = match own {
            true if key.xid >= server.next_xid => "no transaction has had its id yet",
            false if newest == Some(server.incarnation) => {
                "it was written in another database and no block took it over"
            }
            _ => return true,
        };
        self.report(named(event, None, Code::EventUnclaimed, detail));
        false
    }

    /// Notes what is gone of an event, and what a sound one says was erased. One part does that for
    /// all blocks: what is gone and what names it may be in any two of them.
    fn note_erasures(&mut self, event: &StoredEvent<'_>, block: Option<i64>, sound: bool) {
        let entry = &event.entry;
        self.erasures.event(Seen {
            key: entry.key,
            account: entry.account,
            relation: entry.relation,
            block,
            opening: event.opening(),
            is_pruned: event.is_pruned(),
        });
        self.note_missing(entry.key, entry.account, entry.relation, event.is_pruned());
        if let Some(named) = sound.then(|| erasure::named_by(entry)).flatten() {
            self.erasures.named(entry.account, named);
        }
    }
}

impl Verifier {
    /// Notes that the data of a sealed event is gone.
    fn note_missing(
        &mut self,
        key: EventKey,
        account: &str,
        relation: Option<&str>,
        is_pruned: bool,
    ) {
        if let Some(current) = self.current.as_ref().filter(|_| is_pruned) {
            self.retained.missing(relation, current.block, account, key);
        }
    }
}

impl Rows for Verifier {
    fn account(&mut self, row: &StoredAccount<'_>) {
        if !self.accounts.add_row(row) {
            let finding = Finding::new(Code::AccountAltered, "the account has another row");
            self.report(finding.account(row.account));
        }
    }

    fn pruned(&mut self, row: &StoredPruned<'_>) {
        self.on_blocks(|verifier| verifier.add_pruned(row));
    }

    fn begin_block(&mut self, row: &StoredBlock<'_>) -> Vec<Claim> {
        self.leave_transaction();
        self.on_blocks(|verifier| verifier.open_block(row))
    }

    fn takes_trees(&self) -> bool {
        self.part.has_trees()
    }

    fn depth(&self) -> Depth {
        let last = || self.last.as_ref().map_or(0, |last| last.block);
        let block = self
            .current
            .as_ref()
            .map_or_else(|| last().saturating_add(1), |current| current.block);
        self.part.depth(block)
    }

    fn event_leaf(&mut self, event: &EventLeaf<'_>) {
        if !self.in_scope(event.account) {
            return;
        }
        let block = self.current.as_ref().map(|current| current.block);
        let seen = Seen {
            key: event.key,
            account: event.account,
            relation: event.relation,
            block,
            opening: event.opening,
            is_pruned: event.is_pruned,
        };
        self.note_missing(event.key, event.account, event.relation, event.is_pruned);
        self.erasures.leaf(seen, event.is_erasure);
        if let Some(block) = block {
            let leaf = hash_or_none_such(event.leaf_hash);
            self.accounts.append_stored(event.account, block, leaf);
        }
    }

    fn needs_events(&mut self) -> bool {
        let in_block = self.current.is_some();
        let unfit = in_block && !self.accounts.touched_fit(&self.rows);
        let again = self.erasures.leaves_read(unfit);
        if again && in_block {
            self.accounts.forget_touched();
        }
        again
    }

    fn context(&mut self, context: &Context<'_>, hash: &[u8]) {
        self.contexts.add(context, hash, &mut self.findings);
    }

    /// Events of an account out of scope are passed over.
    fn event(&mut self, event: &StoredEvent<'_>) {
        let account = event.entry.account;
        if !self.in_scope(account) {
            return;
        }
        let block = self.current.as_ref().map(|current| current.block);
        let (contexts, findings) = (&mut self.contexts, &mut self.findings);
        let checked = check_event(event, block, contexts, &mut self.buffer, findings);
        let mut sound = checked.sound;
        if sound {
            self.check_kept(event);
        }
        match block {
            Some(block) if self.part.has_trees() => {
                let (computed, stored) = (checked.computed, checked.stored);
                self.accounts.append(account, block, computed, stored);
            }
            Some(_) => {}
            None => sound &= self.check_unclaimed(event),
        }
        if self.part.has_trees() {
            self.note_erasures(event, block, sound);
        }
    }

    fn leaf(&mut self, row: &StoredLeaf<'_>) {
        match &self.current {
            Some(current) if current.block == row.block => self.rows.push(LeafRow::from(row)),
            _ => self.check_stray(row),
        }
    }

    /// Compares what the block says with what its events gave.
    fn end_block(&mut self) {
        self.leave_transaction();
        if let Some(current) = self.current.take() {
            self.on_blocks(|verifier| verifier.close_block(current));
        }
    }

    fn begin_unsealed(&mut self, server: Server) {
        self.leave_transaction();
        self.unsealed = Some(server);
    }

    fn claims(&self) -> &Claims {
        &self.claims
    }
}
