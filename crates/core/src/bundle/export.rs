//! Exporting a ledger as it is read.

use super::write::{BundleWriter, Sink};
use crate::event::Context;
use crate::ledger::{
    Claim, Claims, Rows, Scope, Server, StoredAccount, StoredBlock, StoredEvent, StoredLeaf,
    StoredPruned, Verifier,
};
use crate::tile::LongEntry;

/// Rows on their way into the files of a bundle. A verification that sees blocks alone says which
/// events are whose: that whoever reads the bundle will ask, too.
pub struct BundleExport<S> {
    writer: BundleWriter<S>,
    blocks: Verifier,
    too_long: Option<LongEntry>,
}

impl<S: Sink> BundleExport<S> {
    /// Begins; with `account` a bundle of that account alone.
    pub fn new(server: Server, account: Option<&str>, sink: S) -> Self {
        Self {
            writer: BundleWriter::new(server, account, sink),
            blocks: Verifier::new(Scope::All, None),
            too_long: None,
        }
    }

    /// Gives the last files. An error where a record was longer than its format allows: then the
    /// files are not a bundle.
    pub fn finish(self) -> Result<(), LongEntry> {
        match self.too_long {
            None => {
                self.writer.finish();
                Ok(())
            }
            Some(error) => Err(error),
        }
    }
}

impl<S: Sink> Rows for BundleExport<S> {
    fn account(&mut self, row: &StoredAccount<'_>) {
        self.writer.account(row);
    }

    fn pruned(&mut self, row: &StoredPruned<'_>) {
        self.writer.pruned(row);
    }

    fn begin_block(&mut self, row: &StoredBlock<'_>) -> Vec<Claim> {
        self.writer.begin_block(row);
        self.blocks.begin_block(row)
    }

    fn context(&mut self, context: &Context<'_>, hash: &[u8]) {
        self.writer.context(context, hash);
    }

    fn event(&mut self, event: &StoredEvent<'_>) {
        self.writer.event(event);
    }

    fn leaf(&mut self, row: &StoredLeaf<'_>) {
        if let Err(error) = self.writer.leaf(row) {
            self.too_long.get_or_insert(error);
        }
    }

    fn end_block(&mut self) {
        self.writer.end_block();
        self.blocks.end_block();
        self.blocks.take_findings();
    }

    fn begin_unsealed(&mut self, _server: Server) {
        self.writer.begin_unsealed();
    }

    fn claims(&self) -> &Claims {
        self.blocks.claims()
    }
}
