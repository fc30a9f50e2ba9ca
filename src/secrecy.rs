//! Keeps tokens and keys that a client wrote into its statement out of logs and of
//! `pg_stat_activity`.

use std::ffi::CStr;

use pgrx::pg_sys;

const HIDDEN: &CStr = c"<statement hidden by tenant_guard>";

/// Puts the error context back when the function returns; after an ERROR PostgreSQL does.
pub(crate) struct HiddenStatement(*mut pg_sys::ErrorContextCallback);

impl Drop for HiddenStatement {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the same stack of callbacks that was in force when the function was called.
            unsafe { pg_sys::error_context_stack = self.0 };
        }
    }
}

/// Hides the client's statement from whatever the server writes about it from now on: the
/// STATEMENT and CONTEXT of errors and warnings, and its own activity.
///
/// What the server logs of statements on request (`log_statement`, `log_min_duration_statement`,
/// auto_explain) is not reached, bind parameters included unless `log_parameter_max_length` is 0.
pub(crate) fn hide_statement() -> HiddenStatement {
    // SAFETY: debug_query_string is only read, by error reports and crash logs, and is set anew
    // by the next client statement; the text is static. Without callbacks no error context is
    // added, which a PL function would fill with the statement; PG_CATCH restores the stack.
    unsafe {
        if !pg_sys::debug_query_string.is_null() {
            pg_sys::debug_query_string = HIDDEN.as_ptr();
        }
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, HIDDEN.as_ptr());
        let stack = pg_sys::error_context_stack;
        pg_sys::error_context_stack = std::ptr::null_mut();
        HiddenStatement(stack)
    }
}
