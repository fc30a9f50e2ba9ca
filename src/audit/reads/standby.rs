//! Reads on a standby, which can write no event: a line each in the server's log.

use std::ffi::{CString, c_char, c_int};

use pgrx::pg_sys;
use tenant_guard_core::reads::Record;

use crate::ledger::sealer::start;

unsafe extern "C-unwind" {
    fn errstart(level: c_int, domain: *const c_char) -> bool;
    fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
}

/// Writes a line that says who reads what, and counts it. Neither the statement nor where it stands is
/// added: there its constants are.
pub(super) fn log(record: &Record) {
    start::count_unbuffered();
    let none = String::new;
    let text = format!(
        "tenant_guard: {} of {}{} on a standby: account {:?}, subject {:?}, issuer {:?}, role {:?}, \
         fingerprint {}",
        record.what,
        record.relation.as_deref().unwrap_or_default(),
        record
            .leaf
            .as_ref()
            .map_or_else(none, |leaf| format!(" ({leaf})")),
        record.who.account,
        record.who.subject.as_deref().unwrap_or_default(),
        record.who.issuer.as_deref().unwrap_or_default(),
        record.who.current_role,
        record.fingerprint,
    );
    let Ok(text) = CString::new(text) else { return };
    // SAFETY: the server's own way to report at this level, which does not end the statement.
    unsafe {
        if errstart(pg_sys::LOG_SERVER_ONLY as c_int, std::ptr::null()) {
            pg_sys::errmsg_internal(c"%s".as_ptr(), text.as_ptr());
            pg_sys::errhidestmt(true);
            pg_sys::errhidecontext(true);
            errfinish(c"standby.rs".as_ptr(), 0, c"log".as_ptr());
        }
    }
}
