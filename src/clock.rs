//! Times. The core counts microseconds since 1970, PostgreSQL since 2000.

use pgrx::pg_sys;
use pgrx::prelude::*;

/// Microseconds between the Unix epoch and PostgreSQL's, 2000-01-01.
const EPOCH_OFFSET_US: i64 = 946_684_800_000_000;

/// Now, Unix microseconds.
pub(crate) fn now_us() -> i64 {
    // SAFETY: reads the system's clock.
    to_unix(unsafe { pg_sys::GetCurrentTimestamp() })
}

/// The start of the running client statement, Unix microseconds.
pub(crate) fn statement_start_us() -> i64 {
    // SAFETY: reads a backend-local variable.
    to_unix(unsafe { pg_sys::GetCurrentStatementStartTimestamp() })
}

/// A timestamptz value as Unix microseconds. Infinity saturates.
pub(crate) fn to_unix(timestamp: pg_sys::TimestampTz) -> i64 {
    timestamp.saturating_add(EPOCH_OFFSET_US)
}

/// Unix microseconds as PostgreSQL counts them.
pub(crate) fn from_unix(unix_us: i64) -> pg_sys::TimestampTz {
    unix_us.saturating_sub(EPOCH_OFFSET_US)
}

/// Unix microseconds as a timestamptz value.
pub(crate) fn timestamp(unix_us: i64) -> TimestampWithTimeZone {
    TimestampWithTimeZone::try_from(from_unix(unix_us))
        .unwrap_or(TimestampWithTimeZone::positive_infinity())
}
