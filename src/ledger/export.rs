//! Exporting the ledger as a bundle.

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::bundle::{BundleExport, Sink};
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::ledger::Scope;

use super::publication;
use super::read::{read_ledger, server};
use super::rows::with_latest_snapshot;
use super::signing;
use super::verify::scope_of;
use crate::catalog::as_owner;
use crate::error::{Error, OrRaise};
use crate::raw::{raw_function, text_argument};
use crate::versions::{self, SetRows};

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
            let (store, descriptor) = versions::begin_set(fcinfo, SetRows::Declared);
            Files { store, descriptor }
        };
        as_owner(|| with_latest_snapshot(|| export(account.as_deref(), files)));
        pg_sys::Datum::from(0)
    }
}

fn export(account: Option<&str>, files: Files) {
    publication::await_all();
    let mut export = BundleExport::new(server(), account, files);
    read_ledger(&mut export);
    if export.finish().is_err() {
        Error::BrokenLedger("a record longer than its format allows").raise();
    }
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
