//! How far a verification has come, in `pg_stat_activity`: the server's own workers show there
//! what they are at, and it takes no write, so it works on a standby.

use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::rows::for_each_row;
use super::store;

const EVERY: Duration = Duration::from_millis(500);

/// Shows the block in hand before the client's statement, until it is dropped.
pub(super) struct Progress {
    statement: Option<CString>,
    last: i64,
    shown: Option<Instant>,
}

impl Progress {
    pub(super) fn begin() -> Self {
        // SAFETY: NULL, or the text of the client's statement, which outlives its calls.
        let statement = unsafe {
            let statement = pg_sys::debug_query_string;
            (!statement.is_null()).then(|| CStr::from_ptr(statement).to_owned())
        };
        let mut last = 0;
        if store::exists() {
            for_each_row(
                c"SELECT pg_catalog.max(block) FROM tenant_guard.ledger_block",
                &[],
                |row| last = row.optional_bigint(0).unwrap_or_default(),
            );
        }
        Self {
            statement,
            last,
            shown: None,
        }
    }

    pub(super) fn at(&mut self, block: i64) {
        if self.shown.is_some_and(|shown| shown.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let Some(statement) = &self.statement else {
            return;
        };
        let place = format!("/* verify_ledger: block {block} of {} */ ", self.last);
        if let Ok(text) = CString::new([place.as_bytes(), statement.as_bytes()].concat()) {
            show(&text);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // After an ERROR the session shows itself as idle before anything else.
        if let Some(statement) = self.statement.as_ref().filter(|_| self.shown.is_some()) {
            show(statement);
        }
    }
}

fn show(text: &CStr) {
    // SAFETY: copies the text into the session's own entry, cut to its room.
    unsafe {
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text.as_ptr());
    }
}
