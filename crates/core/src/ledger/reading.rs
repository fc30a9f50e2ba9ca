//! The order in which a ledger is read.

use super::claims::{Claim, Claims};
use super::part::Depth;
use super::stored::{EventLeaf, StoredAccount, StoredBlock, StoredEvent, StoredLeaf, StoredPruned};
use crate::event::Context;

/// The server that a ledger is read from, at the time of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its incarnation.
    pub incarnation: i64,
    /// The transaction id it gives out next: no event has that one or a higher one yet.
    pub next_xid: i64,
}

/// Takes the rows of a ledger: whoever reads them hands them to verification and to export alike.
pub trait Rows {
    /// Takes a row of `ledger_account`. All of them come before the first block.
    fn account(&mut self, row: &StoredAccount<'_>);

    /// Takes a row of `ledger_pruned`. All of them come after those of accounts and before the
    /// first block.
    fn pruned(&mut self, row: &StoredPruned<'_>);

    /// Goes to the next block, in order of their numbers, and returns which events it holds.
    ///
    /// The caller then calls, in this order: [`context`](Self::context) and
    /// [`event`](Self::event) for each of these events, claim by claim and within one ordered by
    /// (xid, ordinal), the contexts of a transaction before its events;
    /// [`leaf`](Self::leaf) for the leaves with a block number up to this one's, in order of
    /// (block, position); [`end_block`](Self::end_block). Where [`depth`](Self::depth) asks for
    /// less, [`event_leaf`](Self::event_leaf) or nothing takes the place of the events, and they
    /// follow the leaves if [`needs_events`](Self::needs_events), which is asked then. After the last block come `leaf` for
    /// what is left, and [`begin_unsealed`](Self::begin_unsealed).
    fn begin_block(&mut self, row: &StoredBlock<'_>) -> Vec<Claim>;

    /// Whether rows of `ledger_account` and `ledger_leaf` are taken.
    fn takes_trees(&self) -> bool {
        true
    }

    /// What is taken of the events of the current block, or of those that no block holds.
    fn depth(&self) -> Depth {
        Depth::Events
    }

    /// Takes an event by its stored leaf hash, in the same order.
    fn event_leaf(&mut self, _leaf: &EventLeaf<'_>) {}

    /// Whether the events of the current block, or of an incarnation without one, are asked for
    /// after all: because the leaves do not fit, or one of them is to be read. Forgets what
    /// [`event_leaf`](Self::event_leaf) gave then.
    fn needs_events(&mut self) -> bool {
        false
    }

    /// Takes a row of `audit_context` with its column `hash`.
    fn context(&mut self, context: &Context<'_>, hash: &[u8]);

    /// Takes an event of the current block, or after [`begin_unsealed`](Self::begin_unsealed) one
    /// that no block holds.
    fn event(&mut self, event: &StoredEvent<'_>);

    /// Takes a row of `ledger_leaf`.
    fn leaf(&mut self, row: &StoredLeaf<'_>);

    /// All rows of the block were given.
    fn end_block(&mut self);

    /// Goes to the events that no block holds; they and their contexts follow, each incarnation in
    /// the same order as in a block, and [`needs_events`](Self::needs_events) is asked after each. [`claims`](Self::claims) tells which those are.
    fn begin_unsealed(&mut self, server: Server);

    /// What the blocks so far hold of each incarnation.
    fn claims(&self) -> &Claims;
}
