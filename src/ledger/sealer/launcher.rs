//! With `shared_preload_libraries`: memory for the table of sealers, and a process that starts
//! them for the databases of `tenant_guard.databases`, where nothing is written for long.

use std::ffi::{CStr, CString, c_int};
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::worker::{pace, serve_interrupts, wait};
use super::{shared, start};
use crate::clock::now_us;
use crate::settings;
use crate::versions;

const NAME: &CStr = c"tenant_guard launcher";

/// Called when the library is loaded; does nothing unless the postmaster loads it.
pub(crate) fn install() {
    // SAFETY: hooks and workers of the postmaster, set by its one thread while it starts.
    unsafe {
        if !pg_sys::process_shared_preload_libraries_in_progress {
            return;
        }
        versions::request_shared_memory(shared::size);
        let mut worker = pg_sys::BackgroundWorker {
            bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS
                | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as c_int,
            bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
            bgw_restart_time: 10,
            ..Default::default()
        };
        start::fill(&mut worker.bgw_name, NAME);
        start::fill(&mut worker.bgw_type, NAME);
        start::fill(&mut worker.bgw_library_name, c"tenant_guard");
        start::fill(&mut worker.bgw_function_name, c"tenant_guard_launcher_main");
        pg_sys::RegisterBackgroundWorker(&mut worker);
    }
}

unsafe extern "C-unwind" {
    fn die(signal: c_int);
    fn SignalHandlerForConfigReload(signal: c_int);
}

/// The launcher's entry point. It is connected to no database, so none waits for it.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn tenant_guard_launcher_main(_argument: pg_sys::Datum) {
    // SAFETY: the first thing a worker does, once. The handlers are the server's own.
    unsafe {
        versions::on_signal(pg_sys::SIGTERM, die);
        versions::on_signal(pg_sys::SIGHUP, SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
        pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0);
    }
    loop {
        serve_interrupts();
        let pace = pace();
        if pace.interval > 0 {
            for database in databases() {
                launch(database, pace.heartbeat);
            }
        }
        wait(1_000_000);
    }
}

/// Starts the sealer of a database that had no round for as long as a heartbeat takes, and once
/// after each start of the server, when a crash may have left events behind.
fn launch(database: pg_sys::Oid, heartbeat: i64) {
    let Some(entry) = shared::table().and_then(|table| table.entry(database)) else {
        return;
    };
    let is_due = match entry.last_round.load(SeqCst) {
        0 => true,
        last => heartbeat > 0 && now_us() - last >= heartbeat,
    };
    if is_due {
        start::start(entry, database);
    }
}

/// The oids of the databases that `tenant_guard.databases` names and the server has.
fn databases() -> Vec<pg_sys::Oid> {
    let Some(names) = settings::DATABASES.get() else {
        return Vec::new();
    };
    let names = names.to_string_lossy();
    let names = names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let names: Vec<_> = names.filter_map(|name| CString::new(name).ok()).collect();
    if names.is_empty() {
        return Vec::new();
    }
    // SAFETY: a short transaction that reads a shared catalog.
    unsafe {
        pg_sys::StartTransactionCommand();
        let found = names
            .iter()
            .map(|name| pg_sys::get_database_oid(name.as_ptr(), true))
            .filter(|oid| *oid != pg_sys::Oid::INVALID)
            .collect();
        pg_sys::CommitTransactionCommand();
        found
    }
}
