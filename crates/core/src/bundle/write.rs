//! Writing a bundle.

use std::io;

use serde::Serialize;

use super::rows::{AccountRow, BlockRow, ContextRow, EventRow, LeafRow, PrunedRow};
use super::trees::{Derived, Trees};
use super::{ABOUT, About, BUNDLE, VERSION, line};
use crate::checkpoint::Checkpoint;
use crate::event::Context;
use crate::ledger::{Server, StoredAccount, StoredBlock, StoredEvent, StoredLeaf, StoredPruned};
use crate::tile::{LongEntry, number_path};

/// Openings are cut into files of so many bytes and what is left of a line, or at most twice that.
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
    openings: Openings,
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
    pub(super) fn new(server: Server, account: Option<&str>, mut sink: S) -> Self {
        let about = About {
            bundle: BUNDLE.to_owned(),
            version: VERSION,
            incarnation: server.incarnation,
            next_xid: server.next_xid,
            account: account.map(str::to_owned),
        };
        let mut text = serde_json::to_vec(&about).expect("plain data");
        text.push(b'\n');
        sink.file(ABOUT, &text);
        Self {
            sink,
            account: about.account,
            openings: Openings::default(),
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

    /// Takes a row of `ledger_pruned`; all of them come after those of accounts.
    pub(super) fn pruned(&mut self, row: &StoredPruned<'_>) {
        if self.is_told(row.account) {
            self.line(line::PRUNED, &PrunedRow::of(row));
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
            self.openings.append(&mut self.sink, &context.line);
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
        self.openings.flush(&mut self.sink);
        let sink = &mut self.sink;
        self.trees
            .end_epoch(|path, derived| give(sink, path, derived));
    }

    fn line(&mut self, table: &str, row: &impl Serialize) {
        let (openings, sink) = (&mut self.openings, &mut self.sink);
        append_line(&mut Cut { openings, sink }, table, row);
        if self.openings.pending.len() >= FILE {
            self.openings.flush(&mut self.sink);
        }
    }

    fn mark(&mut self, what: &str) {
        self.openings.pending.extend(what.as_bytes());
        self.openings.pending.push(b'\n');
    }
}

/// The file of openings in the making, and how many were made.
#[derive(Default)]
struct Openings {
    pending: Vec<u8>,
    files: u64,
}

impl Openings {
    /// Appends a part of a line. One that is far longer than a file goes on in the next, so that
    /// the memory is bounded however large a row is.
    fn append(&mut self, sink: &mut impl Sink, bytes: &[u8]) {
        for part in bytes.chunks(FILE) {
            self.pending.extend_from_slice(part);
            if self.pending.len() >= 2 * FILE {
                self.flush(sink);
            }
        }
    }

    fn flush(&mut self, sink: &mut impl Sink) {
        if !self.pending.is_empty() {
            let path = format!("openings/{}", number_path(self.files));
            sink.file(&path, &self.pending);
            self.pending.clear();
            self.files += 1;
        }
    }
}

struct Cut<'w, S> {
    openings: &'w mut Openings,
    sink: &'w mut S,
}

impl<S: Sink> io::Write for Cut<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.openings.append(self.sink, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append_line(out: &mut impl io::Write, table: &str, row: &impl Serialize) {
    let written = write!(out, "{table} ")
        .and_then(|()| serde_json::to_writer(&mut *out, row).map_err(io::Error::from))
        .and_then(|()| out.write_all(b"\n"));
    written.expect("rows are plain data, and memory takes them");
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
