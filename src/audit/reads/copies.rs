//! COPY TO of a relation by somebody whom row security does not concern: a read that has no executor.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr;

use pgrx::pg_sys;
use tenant_guard_core::reads::Act;

use super::fingerprints::fingerprint;
use super::known::known;
use super::notes::{close, note, record};
use super::statements::{may_concern, part, register_callbacks};
use crate::versions::{self, Rights};

thread_local! {
    /// What the executor is about to have checked, of the statement that starts.
    static CHECKED: Cell<*mut pg_sys::List> = const { Cell::new(ptr::null_mut()) };
}

/// Notes what the executor is going to have checked, whatever is recorded.
///
/// # Safety
/// The query must be one that PostgreSQL is about to start.
pub(super) unsafe fn starts(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the caller vouches for the query.
    CHECKED.set(unsafe { versions::rights_of_plan((*query).plannedstmt) });
    // What is refused before the check leaves its list behind.
    register_callbacks();
}

/// A statement that did not come as far as the check is over: another list may stand where its one stood.
pub(super) fn forget() {
    CHECKED.set(ptr::null_mut());
}

/// Whether PostgreSQL asks for rights by itself, and not for the executor. To be asked once, before
/// anything that runs statements.
pub(crate) fn asked_without_executor(rights: *mut pg_sys::List) -> bool {
    CHECKED.replace(ptr::null_mut()) != rights
}

/// Notes a COPY TO. The rights are what PostgreSQL has just granted without an executor.
pub(crate) fn granted(rights: *mut pg_sys::List, raise: bool) {
    if !may_concern() || !raise {
        return;
    }
    let Some(known) = known() else {
        return;
    };
    // SAFETY: PostgreSQL passes a list of what a statement asks, or null.
    let entries: Vec<&Rights> = unsafe { versions::entries(rights) }.collect();
    let [entry] = entries.as_slice() else {
        return;
    };
    let asked = pg_sys::AclMode::from(pg_sys::ACL_SELECT);
    if !versions::is_of_relation(entry) || entry.requiredPerms != asked {
        return;
    }
    let Some(named) = known.of(entry.relid) else {
        return;
    };
    // Where row security holds, COPY runs a query.
    // SAFETY: a catalog look-up for a relation that the statement has locked.
    let row_security = unsafe { pg_sys::check_enable_rls(entry.relid, pg_sys::Oid::INVALID, true) };
    if row_security == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32 {
        return;
    }
    let record = record(Act::Export, named, "COPY", &fingerprint(client_statement()));
    if let Some(note) = note(record) {
        close(&note, None);
    }
}

/// The statement that the client sent and that runs now.
fn client_statement() -> &'static [u8] {
    // SAFETY: the portal that runs, if there is one, and its statements and text live as long as the
    // statement; the result is used before it ends.
    unsafe {
        let Some(portal) = pg_sys::ActivePortal.as_ref() else {
            return &[];
        };
        if portal.sourceText.is_null() {
            return &[];
        }
        let text = CStr::from_ptr(portal.sourceText).to_bytes();
        let statements = pgrx::PgList::<pg_sys::PlannedStmt>::from_pg(portal.stmts);
        match statements.get_ptr(0) {
            Some(first) => part(text, (*first).stmt_location, (*first).stmt_len),
            None => text,
        }
    }
}
