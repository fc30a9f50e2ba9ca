//! Exporting the ledger as a bundle.

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::bundle::{BundleWriter, Sink};
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::event::Context;
use tenant_guard_core::ledger::{
    Claim, Claims, Scope, StoredAccount, StoredBlock, StoredEvent, StoredLeaf, Verifier,
};

use super::read::{Rows, read_ledger};
use super::rows::with_latest_snapshot;
use super::signing;
use super::verify::scope_of;
use crate::audit::transaction;
use crate::catalog::as_owner;
use crate::error::{Error, OrRaise};
use crate::raw::{raw_function, text_argument};

raw_function! {
    /// `export_ledger(account text) returns table(path text, content bytea)`.
    tenant_guard_export_ledger, pg_finfo_tenant_guard_export_ledger, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the first argument is a text or NULL.
        let account = unsafe { text_argument(fcinfo, 0) };
        let scope = account.as_deref().map(scope_of).transpose().or_raise();
        let account = scope.map(|scope| match scope {
            Scope::Account(account) | Scope::Bundle(account) => account,
            Scope::All => String::new(),
        });
        // SAFETY: the function is declared to return a set, and the caller's resources own what
        // is set up here.
        let files = unsafe {
            pg_sys::InitMaterializedSRF(fcinfo, 0);
            let info = (*fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            Files { store: (*info).setResult, descriptor: (*info).setDesc }
        };
        as_owner(|| with_latest_snapshot(|| export(account.as_deref(), files)));
        pg_sys::Datum::from(0)
    }
}

fn export(account: Option<&str>, files: Files) {
    let writer = BundleWriter::new(transaction::incarnation(), account, files);
    let mut export = Export {
        writer,
        claims: Verifier::new(Scope::All, None),
    };
    read_ledger(&mut export);
    export.writer.finish();
}

/// Rows of the result. What does not fit into work_mem the server keeps in a temporary file.
struct Files {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
}

impl Sink for Files {
    fn file(&mut self, path: &str, content: &[u8]) {
        let path = path.into_datum().expect("a text is never NULL");
        let content = content.into_datum().expect("bytes are never NULL");
        let mut values = [path, content];
        let mut nulls = [false; 2];
        // SAFETY: the store was made for rows of these two columns and copies them, so that they
        // can be freed, which spares the memory of a whole export.
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.descriptor,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            for value in values {
                pg_sys::pfree(value.cast_mut_ptr());
            }
        }
    }

    fn note(&mut self, checkpoint: &Checkpoint) -> String {
        signing::note_of(checkpoint)
    }
}

/// The rows on their way into the files. A verification that sees blocks alone says which events
/// are whose: that whoever reads the bundle will ask, too.
struct Export {
    writer: BundleWriter<Files>,
    claims: Verifier,
}

impl Rows for Export {
    fn account(&mut self, row: &StoredAccount<'_>) {
        self.writer.account(row);
    }

    fn begin_block(&mut self, row: &StoredBlock<'_>) -> Vec<Claim> {
        self.writer.begin_block(row);
        self.claims.begin_block(row)
    }

    fn context(&mut self, context: &Context<'_>, hash: &[u8]) {
        self.writer.context(context, hash);
    }

    fn event(&mut self, event: &StoredEvent<'_>) {
        self.writer.event(event);
    }

    fn leaf(&mut self, row: &StoredLeaf<'_>) {
        if self.writer.leaf(row).is_err() {
            Error::BrokenLedger("a record longer than its format allows").raise();
        }
    }

    fn end_block(&mut self) {
        self.writer.end_block();
        self.claims.end_block();
        self.claims.take_findings();
    }

    fn begin_unsealed(&mut self, _incarnation: i64) {
        self.writer.begin_unsealed();
    }

    fn claims(&self) -> &Claims {
        self.claims.claims()
    }
}
