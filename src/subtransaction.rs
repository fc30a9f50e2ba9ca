//! Work that may fail without ending the transaction.

use std::panic::AssertUnwindSafe;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys;
use pgrx::pg_sys::PgTryBuilder;
use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};

use crate::error::sqlstate;

/// Runs `work` in a subtransaction. What it did is undone where it raises, and the error returned;
/// a cancelled query and a panic of our own code are raised on.
pub(crate) fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, Box<ErrorReportWithLevel>> {
    within(work, |_| true).map_err(reported)
}

/// The same, but errors that say nothing about the work are raised on as well: a lock that was not had, a
/// deadlock, no memory, a server that stops.
pub(crate) fn attempt_unhindered<T>(
    work: impl FnOnce() -> T,
) -> Result<T, Box<ErrorReportWithLevel>> {
    within(work, |_| true).map_err(|error| match *error {
        CaughtError::PostgresError(ref report) | CaughtError::ErrorReport(ref report)
            if is_hindrance(&sqlstate(report.sql_error_code())) =>
        {
            error.rethrow()
        }
        _ => reported(error),
    })
}

fn is_hindrance(state: &str) -> bool {
    ["40", "53", "55P03", "57", "58"]
        .iter()
        .any(|class| state.starts_with(class))
}

/// The same, but what `work` did is undone in any case. What it returns must not be memory of the
/// subtransaction.
pub(crate) fn undone<T>(work: impl FnOnce() -> T) -> Result<T, Box<ErrorReportWithLevel>> {
    within(work, |_| false).map_err(reported)
}

/// Runs `work` in a subtransaction, which is kept where it succeeds and undone where it does not: the
/// locks taken in it then go. Whatever is raised is raised on.
pub(crate) fn kept_if_ok<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    within(work, Result::is_ok).unwrap_or_else(|error| error.rethrow())
}

/// The error that may be gone on from; another one is raised on.
fn reported(error: Box<CaughtError>) -> Box<ErrorReportWithLevel> {
    match *error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)
            if report.sql_error_code() != PgSqlErrorCode::ERRCODE_QUERY_CANCELED =>
        {
            Box::new(report)
        }
        other => other.rethrow(),
    }
}

fn within<T>(
    work: impl FnOnce() -> T,
    keeps: impl FnOnce(&T) -> bool,
) -> Result<T, Box<CaughtError>> {
    // SAFETY: the pattern of PL/pgSQL's blocks with handlers: memory context and resource owner
    // are those of before when the subtransaction is over, however it ended.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = PgTryBuilder::new(AssertUnwindSafe(|| Ok(work())))
            .catch_others(|error| Err(Box::new(error)))
            .catch_rust_panic(|error| Err(Box::new(error)))
            .execute();
        // After whatever is raised on, too: nobody else ends this subtransaction, and the session
        // would stay in it.
        if result.as_ref().is_ok_and(keeps) {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}
