//! How a commit with events starts the sealer of its database.

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys;

use super::shared::{self, Entry, Problem};
use crate::audit::reads::flush;
use crate::clock::now_us;
use crate::fault::fault_point;
use crate::settings;

/// What the process is called in pg_stat_activity.
const NAME: &CStr = c"tenant_guard sealer";
const LIBRARY: &CStr = c"$libdir/tenant_guard";
const FUNCTION: &CStr = c"tenant_guard_sealer_main";

/// How long a sealer that was asked for may take to begin before another is asked for: the server
/// forgets one that cannot start.
pub(super) const STARTING_US: i64 = 5_000_000;
/// How long to look for no free slot after there was none.
const NO_SLOT_US: i64 = 1_000_000;

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// The running transaction has written events.
    static HAS_EVENTS: Cell<bool> = const { Cell::new(false) };
    static ENTRY: Cell<Option<&'static Entry>> = const { Cell::new(None) };
}

/// Notes that the running transaction writes events: once for each transaction, in a place where
/// errors are allowed.
pub(crate) fn note_events() {
    if !REGISTERED.replace(true) {
        // SAFETY: the callback lives as long as the library and never raises.
        unsafe { pg_sys::RegisterXactCallback(Some(transaction_ended), ptr::null_mut()) };
        shared::table();
    }
    HAS_EVENTS.set(true);
}

/// Transaction callback. Before the commit what waits in the buffer of reads is written where no sealer
/// does that. At COMMIT the transaction's events are visible to everybody: whoever
/// finds the sealer running here can leave them to it, and an error would end the server.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn transaction_ended(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT if HAS_EVENTS.get() => {
            flush::with_commit();
            fault_point!("capture.before_commit");
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT | pg_sys::XactEvent::XACT_EVENT_PREPARE
            if HAS_EVENTS.replace(false) =>
        {
            announce();
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => HAS_EVENTS.set(false),
        _ => {}
    }
}

/// The entry of the database this process is connected to.
pub(crate) fn own_entry() -> Option<&'static Entry> {
    // SAFETY: set when the process connects.
    let database = unsafe { pg_sys::MyDatabaseId };
    if let Some(entry) = ENTRY.get().filter(|entry| entry.is_of(database)) {
        return Some(entry);
    }
    let entry = shared::table()?.entry(database);
    ENTRY.set(entry);
    entry
}

/// Leaves committed events to the sealer, which is started if none runs.
///
/// The flag is read before it is written, so that writers do not pass its cache line around. Where
/// there are more databases than entries, another one may have been given the entry meanwhile.
fn announce() {
    // SAFETY: set when the process connects.
    let database = unsafe { pg_sys::MyDatabaseId };
    while let Some(entry) = own_entry() {
        if !entry.pending.load(SeqCst) {
            entry.pending.store(true, SeqCst);
        }
        if entry.running().is_none() && settings::SEAL_INTERVAL.get() > 0 {
            start(entry, database);
        }
        if entry.is_of(database) {
            return;
        }
    }
}

/// Leaves reads that wait in the buffer to the sealer: as [`announce`] does events, but while the
/// transaction runs. Where the buffer fills the next round comes at once.
pub(crate) fn announce_reads(crowded: bool) {
    announce();
    let Some(entry) = own_entry() else { return };
    if !entry.waiting.load(SeqCst) {
        entry.waiting.store(true, SeqCst);
        entry.last_read.store(now_us(), SeqCst);
    }
    if crowded && !entry.urgent.load(SeqCst) {
        entry.urgent.store(true, SeqCst);
        entry.wake();
    }
}

/// Counts a read or refusal that no buffer took. Raises nothing.
pub(crate) fn count_unbuffered() {
    if let Some(entry) = own_entry() {
        entry.unbuffered.fetch_add(1, SeqCst);
    }
}

/// Asks for a round now; starts a sealer if none runs and sealing is on.
pub(crate) fn hurry(entry: &Entry) {
    entry.urgent.store(true, SeqCst);
    if entry.running().is_some() {
        entry.wake();
    } else if settings::SEAL_INTERVAL.get() > 0 {
        // SAFETY: set when the process connects.
        start(entry, unsafe { pg_sys::MyDatabaseId });
    }
}

/// Starts the sealer of a database, unless one runs, is on its way, must wait, or would take the
/// last worker slot. Raises nothing.
pub(super) fn start(entry: &Entry, database: pg_sys::Oid) {
    // SAFETY: set at the start of the server. pg_upgrade copies what the old one had when it began.
    if unsafe { pg_sys::IsBinaryUpgrade } {
        return;
    }
    let now = now_us();
    let wanted = || {
        entry.is_of(database)
            && entry.running().is_none()
            && !entry.is_starting(now)
            && entry.not_before.load(SeqCst) <= now
    };
    let Some(table) = shared::table().filter(|_| wanted()) else {
        return;
    };
    let decided = table.decide(|| {
        if !wanted() {
            return false;
        }
        if !leaves_a_slot() {
            refuse(entry, now);
            return false;
        }
        entry.asked_at.store(now, SeqCst);
        true
    });
    if decided && !register(database) {
        entry.asked_at.store(0, SeqCst);
        refuse(entry, now);
    }
}

fn refuse(entry: &Entry, now: i64) {
    entry.not_before.store(now + NO_SLOT_US, SeqCst);
    entry.set_problem(Problem::NoSlot);
}

/// Whether a worker slot stays free beside a new sealer's, for parallel queries and other
/// extensions. PostgreSQL tells nobody how many slots are free; each process of a worker has its
/// place in the list of processes, and its latch an owner while it lives.
fn leaves_a_slot() -> bool {
    // SAFETY: the list stands in shared memory as long as the server; each field read is one
    // word, and a value that has just changed gives an answer that was right a moment ago.
    let running = unsafe {
        let all = pg_sys::ProcGlobal;
        let workers = &raw mut (*all).bgworkerFreeProcs;
        (0..(*all).allProcCount as usize)
            .map(|number| (*all).allProcs.add(number))
            .filter(|&process| {
                (*process).procgloballist == workers
                    && (&raw const (*process).procLatch.owner_pid).read_volatile() != 0
            })
            .count()
    };
    // SAFETY: set at the start of the server.
    let slots = unsafe { pg_sys::max_worker_processes } as usize;
    running + 2 <= slots
}

/// Asks the postmaster for the worker; false where there is no slot.
///
/// It is never restarted by the server: that would go on for ever once its database is dropped.
fn register(database: pg_sys::Oid) -> bool {
    let mut worker = pg_sys::BackgroundWorker {
        bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION)
            as i32,
        bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
        bgw_restart_time: pg_sys::BGW_NEVER_RESTART,
        bgw_main_arg: pg_sys::Datum::from(database),
        ..Default::default()
    };
    fill(&mut worker.bgw_name, NAME);
    fill(&mut worker.bgw_type, NAME);
    fill(&mut worker.bgw_library_name, LIBRARY);
    fill(&mut worker.bgw_function_name, FUNCTION);
    // SAFETY: a complete description; without a handle nothing is allocated.
    unsafe { pg_sys::RegisterDynamicBackgroundWorker(&mut worker, ptr::null_mut()) }
}

/// Copies a short text into a fixed place that is zero.
pub(super) fn fill(place: &mut [c_char], text: &CStr) {
    for (to, from) in place.iter_mut().zip(text.to_bytes()) {
        *to = *from as c_char;
    }
}
