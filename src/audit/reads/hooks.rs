//! PostgreSQL's hooks around the executor.
//!
//! None wraps it: each does its own work and is over before the executor runs, which it calls last,
//! past pgrx's guards and with nothing left to drop. An error of the statement goes through the frame
//! as if it were not there, CONTEXT and all.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::pgrx_extern_c_guard;

use super::{copies, statements};
use crate::versions;

static mut PREVIOUS_START: pg_sys::ExecutorStart_hook_type = None;
static mut PREVIOUS_RUN: pg_sys::ExecutorRun_hook_type = None;
static mut PREVIOUS_END: pg_sys::ExecutorEnd_hook_type = None;

unsafe extern "C-unwind" {
    // Of `executor/executor.h`. pgrx's bindings turn an error into a panic, which loses its CONTEXT.
    fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: std::ffi::c_int);
    fn standard_ExecutorEnd(query: *mut pg_sys::QueryDesc);
}

/// Puts the hooks in front of those that other libraries installed.
pub(super) fn install() {
    // SAFETY: called once, by _PG_init; a backend has one thread.
    unsafe {
        PREVIOUS_START = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(start);
        PREVIOUS_RUN = pg_sys::ExecutorRun_hook;
        pg_sys::ExecutorRun_hook = Some(run);
        PREVIOUS_END = pg_sys::ExecutorEnd_hook;
        pg_sys::ExecutorEnd_hook = Some(end);
    }
}

unsafe extern "C-unwind" fn start(query: *mut pg_sys::QueryDesc, flags: std::ffi::c_int) {
    // SAFETY: PostgreSQL passes a query that is about to run. Nothing of ours is alive when the
    // executor is called.
    unsafe {
        copies::starts(query);
        if statements::may_concern() {
            pgrx_extern_c_guard(|| statements::begin(query, flags));
        }
        match PREVIOUS_START {
            Some(previous) => previous(query, flags),
            None => standard_ExecutorStart(query, flags),
        }
    }
}

versions::run_hook!(run, PREVIOUS_RUN, |query| {
    if statements::any_open() {
        // SAFETY: PostgreSQL passes a query that was started.
        unsafe { pgrx_extern_c_guard(|| statements::run(query)) };
    }
});

unsafe extern "C-unwind" fn end(query: *mut pg_sys::QueryDesc) {
    // SAFETY: as of `start`: PostgreSQL passes a query that has run.
    unsafe {
        if statements::any_open() {
            pgrx_extern_c_guard(|| statements::end(query));
        }
        match PREVIOUS_END {
            Some(previous) => previous(query),
            None => standard_ExecutorEnd(query),
        }
    }
}
