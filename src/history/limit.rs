//! What looking back may take: memory up to a setting, and no longer than somebody waits.

use std::cell::Cell;

use tenant_guard_core::history::Event;

use crate::allocated;
use crate::error::{Error, Looking};
use crate::settings;

thread_local! {
    /// What was held when the running function began, and up to where it is known that there is memory.
    static BEGUN: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// It is asked every so many bytes whether there is memory for more.
const STEP: usize = 1 << 20;

/// One event is read into parts of itself, and written anew: several times its size.
const COPIES: usize = 6;

/// The running function begins.
pub(super) fn begin() {
    let held = allocated::held();
    BEGUN.set((held, held));
}

/// Raises 57014 where the statement was cancelled, and 53200 where the function holds more than
/// `tenant_guard.history_memory`.
pub(super) fn watch() {
    expect(0);
}

/// The same before an event is gone into.
pub(super) fn before(event: &Event<'_>) {
    let parts = [event.row_key, event.data, event.personal];
    let size: usize = parts.into_iter().flatten().map(str::len).sum();
    expect(size * COPIES);
}

fn expect(more: usize) {
    pgrx::check_for_interrupts!();
    let (begun, known) = BEGUN.get();
    let held = allocated::held().saturating_add(more);
    let limit = settings::HISTORY_MEMORY.get().max(0) as usize * 1024;
    if held.saturating_sub(begun) > limit {
        Error::Looking(Looking::TooMuch).raise();
    }
    if held > known {
        // A table that grows is there twice for a moment.
        let next = STEP + held.saturating_sub(begun) * 2;
        if !allocated::could_have(next + more) {
            Error::OutOfMemory.raise();
        }
        BEGUN.set((begun, held + STEP));
    }
}
