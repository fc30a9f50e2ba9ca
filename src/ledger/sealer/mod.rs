//! The background worker that seals a database: the table in shared memory by which sessions know
//! whether it runs, how commits start it, and the worker itself.

pub(crate) mod launcher;
pub(crate) mod shared;
pub(crate) mod start;
pub(crate) mod worker;

use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys;

use crate::clock::now_us;
use crate::settings;
use shared::Problem;

/// What the sealer of this database does or why it does not run, its process, and when its last
/// round went well, Unix microseconds.
pub(crate) fn state() -> (String, Option<i32>, Option<i64>) {
    // SAFETY: reads the state of the server.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return ("standby".to_owned(), None, None);
    }
    let Some(table) = shared::table() else {
        let text = "cannot run: the server has no shared memory left for it";
        return (text.to_owned(), None, None);
    };
    let Some(entry) = start::own_entry() else {
        return ("cannot run: too many databases".to_owned(), None, None);
    };
    let running = entry.running();
    let text = match entry.problem() {
        Problem::Failed => format!("failing: {}", table.failure(entry)),
        _ if running.is_some() => match entry.waits_for.load(SeqCst) {
            0 => "running".to_owned(),
            pid => format!("waiting for process {pid}"),
        },
        _ if settings::SEAL_INTERVAL.get() == 0 => "off".to_owned(),
        _ if entry.is_starting(now_us()) => "starting".to_owned(),
        Problem::NoSlot => "cannot run: no worker slot is free".to_owned(),
        Problem::None if entry.is_fruitless() => {
            "cannot run: its process ended before it sealed, see the server's log".to_owned()
        }
        Problem::None => "idle".to_owned(),
    };
    (text, running, entry.last_round())
}
