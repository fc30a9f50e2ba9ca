//! Writing a bundle.

use serde::Serialize;

use super::rows::{AccountRow, BlockRow, ContextRow, EventRow, LeafRow};
use super::trees::{Derived, Trees};
use super::{ABOUT, About, BUNDLE, VERSION, line};
use crate::checkpoint::Checkpoint;
use crate::event::Context;
use crate::ledger::{StoredAccount, StoredBlock, StoredEvent, StoredLeaf};
use crate::tile::{LongEntry, number_path};

/// Openings are cut into files of about so many bytes.
const FILE: usize = 1 << 20;

/// Takes the files of a bundle.
pub trait Sink {
    /// A file is whole.
    fn file(&mut self, path: &str, content: &[u8]);
    /// The note for a checkpoint, signed if it can be; it begins with the checkpoint's text.
    fn note(&mut self, checkpoint: &Checkpoint) -> String;
}

/// Turns rows, in the order in which verification takes them, into files. Holds one unfinished
/// file of openings and the unfinished tiles of one epoch.
pub(super) struct BundleWriter<S> {
    sink: S,
    account: Option<String>,
    openings: Vec<u8>,
    files: u64,
    trees: Trees,
    /// Contexts of one transaction that wait for an event that may be told.
    waiting: Vec<Waiting>,
}

struct Waiting {
    transaction: (i64, i64),
    number: i16,
    line: Vec<u8>,
}

impl<S: Sink> BundleWriter<S> {
    /// Begins; with `account` a bundle of that account alone.
    pub(super) fn new(incarnation: i64, account: Option<&str>, mut sink: S) -> Self {
        let about = About {
            bundle: BUNDLE.to_owned(),
            version: VERSION,
            incarnation,
            account: account.map(str::to_owned),
        };
        let mut text = serde_json::to_vec(&about).expect("plain data");
        text.push(b'\n');
        sink.file(ABOUT, &text);
        Self {
            sink,
            account: about.account,
            openings: Vec::new(),
            files: 0,
            trees: Trees::default(),
            waiting: Vec::new(),
        }
    }

    /// Takes a row of `ledger_account`; all of them come before the first block.
    pub(super) fn account(&mut self, row: &StoredAccount<'_>) {
        if self.is_told(row.account) {
            self.line(line::ACCOUNT, &AccountRow::of(row));
        }
    }

    /// Takes a row of `ledger_block`; its contexts, events and leaves follow.
    pub(super) fn begin_block(&mut self, row: &StoredBlock<'_>) {
        self.line(line::BLOCK, &BlockRow::of(row));
        let sink = &mut self.sink;
        self.trees
            .begin_block(row, |path, derived| give(sink, path, derived));
    }

    /// Takes a row of `audit_context` with its hash.
    pub(super) fn context(&mut self, context: &Context<'_>, hash: &[u8]) {
        let row = ContextRow::of(context, hash);
        if self.account.is_none() {
            return self.line(line::CONTEXT, &row);
        }
        let transaction = (context.incarnation, context.xid);
        self.waiting
            .retain(|other| other.transaction == transaction);
        let mut line = Vec::new();
        append_line(&mut line, line::CONTEXT, &row);
        self.waiting.push(Waiting {
            transaction,
            number: context.number,
            line,
        });
    }

    /// Takes a row of `audit_log`. Those of other accounts than the bundle's are passed over.
    pub(super) fn event(&mut self, event: &StoredEvent<'_>) {
        if !self.is_told(event.entry.account) {
            return;
        }
        let key = event.entry.key;
        let named = |other: &mut Waiting| {
            other.transaction == (key.incarnation, key.xid) && Some(other.number) == event.context
        };
        for context in self.waiting.extract_if(.., named) {
            self.openings.extend(context.line);
        }
        self.line(line::EVENT, &EventRow::of(event));
    }

    fn is_told(&self, account: &str) -> bool {
        self.account.as_deref().is_none_or(|only| only == account)
    }

    /// Takes a row of `ledger_leaf`.
    pub(super) fn leaf(&mut self, row: &StoredLeaf<'_>) -> Result<(), LongEntry> {
        let row = StoredLeaf {
            account: row.account.filter(|account| self.is_told(account)),
            ..*row
        };
        self.line(line::LEAF, &LeafRow::of(&row));
        let sink = &mut self.sink;
        self.trees
            .leaf(&row, |path, derived| give(sink, path, derived))
    }

    /// All rows of the block were given.
    pub(super) fn end_block(&mut self) {
        self.mark(line::END_OF_BLOCK);
        self.trees.end_block();
    }

    /// What no block holds follows.
    pub(super) fn begin_unsealed(&mut self) {
        self.mark(line::UNSEALED);
    }

    /// Gives the last files.
    pub(super) fn finish(mut self) {
        self.flush();
        let sink = &mut self.sink;
        self.trees
            .end_epoch(|path, derived| give(sink, path, derived));
    }

    fn line(&mut self, table: &str, row: &impl Serialize) {
        append_line(&mut self.openings, table, row);
        if self.openings.len() >= FILE {
            self.flush();
        }
    }

    fn mark(&mut self, what: &str) {
        self.openings.extend(what.as_bytes());
        self.openings.push(b'\n');
    }

    fn flush(&mut self) {
        if !self.openings.is_empty() {
            let path = format!("openings/{}", number_path(self.files));
            self.sink.file(&path, &self.openings);
            self.openings.clear();
            self.files += 1;
        }
    }
}

fn append_line(out: &mut Vec<u8>, table: &str, row: &impl Serialize) {
    out.extend(table.as_bytes());
    out.push(b' ');
    serde_json::to_writer(&mut *out, row).expect("rows are plain data");
    out.push(b'\n');
}

fn give(sink: &mut impl Sink, path: &str, derived: Derived<'_>) {
    match derived {
        Derived::Tile(content) => sink.file(path, content),
        Derived::Checkpoint(checkpoint) => {
            let note = sink.note(checkpoint);
            sink.file(path, note.as_bytes());
        }
    }
}
