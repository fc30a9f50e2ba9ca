//! Settings under which values turn into text, so that the bytes depend on the value alone.

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::ptr;

use pgrx::pg_sys;

unsafe extern "C" {
    /// Of `utils/bytea.h`, which pgrx does not bind.
    static mut bytea_output: c_int;
}
const BYTEA_OUTPUT_HEX: c_int = 1;

/// What the output functions of built-in types look at, held at fixed values.
///
/// Writing the variables behind the settings costs a few nanoseconds where setting them properly
/// costs microseconds a row. No code of the user's runs between: types that come with code of
/// their own are written under [`Settings`].
pub(super) struct Variables {
    date_style: c_int,
    date_order: c_int,
    interval_style: c_int,
    extra_float_digits: c_int,
    bytea_output: c_int,
    session_timezone: *mut pg_sys::pg_tz,
}

impl Variables {
    /// Pins them until the returned value is dropped, which an error does too.
    pub(super) fn pin() -> Self {
        // SAFETY: backend-local variables of a single-threaded process, each given a value its
        // setting could have.
        unsafe {
            let saved = Self {
                date_style: pg_sys::DateStyle,
                date_order: pg_sys::DateOrder,
                interval_style: pg_sys::IntervalStyle,
                extra_float_digits: pg_sys::extra_float_digits,
                bytea_output,
                session_timezone: pg_sys::session_timezone,
            };
            pg_sys::DateStyle = pg_sys::USE_ISO_DATES as c_int;
            pg_sys::DateOrder = pg_sys::DATEORDER_YMD as c_int;
            pg_sys::IntervalStyle = pg_sys::INTSTYLE_POSTGRES as c_int;
            pg_sys::extra_float_digits = 1;
            bytea_output = BYTEA_OUTPUT_HEX;
            pg_sys::session_timezone = utc();
            saved
        }
    }
}

/// The server's UTC, which it looks up by name each time and keeps for ever.
fn utc() -> *mut pg_sys::pg_tz {
    thread_local! {
        static UTC: Cell<*mut pg_sys::pg_tz> = const { Cell::new(ptr::null_mut()) };
    }
    if UTC.get().is_null() {
        // SAFETY: a static name, built into the server.
        UTC.set(unsafe { pg_sys::pg_tzset(c"GMT".as_ptr()) });
    }
    UTC.get()
}

impl Drop for Variables {
    fn drop(&mut self) {
        // SAFETY: puts back what was read; nothing else writes them meanwhile.
        unsafe {
            pg_sys::DateStyle = self.date_style;
            pg_sys::DateOrder = self.date_order;
            pg_sys::IntervalStyle = self.interval_style;
            pg_sys::extra_float_digits = self.extra_float_digits;
            bytea_output = self.bytea_output;
            pg_sys::session_timezone = self.session_timezone;
        }
    }
}

/// The settings that name look-ups and types with code of their own may follow, pinned as a
/// function's SET clause would.
pub(crate) struct Settings {
    nest_level: c_int,
}

impl Settings {
    const VALUES: [(&CStr, &CStr); 9] = [
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"TimeZone", c"GMT"),
        (c"DateStyle", c"ISO, YMD"),
        (c"IntervalStyle", c"postgres"),
        (c"extra_float_digits", c"1"),
        (c"bytea_output", c"hex"),
        (c"lc_monetary", c"C"),
        (c"xmloption", c"content"),
        (c"quote_all_identifiers", c"off"),
    ];

    /// What the catalog prints and compares, and joins in the order they are written in, as the
    /// functions of sql/isolation.sql set for themselves.
    const CATALOG: [(&CStr, &CStr); 7] = [
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"join_collapse_limit", c"1"),
        (c"quote_all_identifiers", c"off"),
        (c"standard_conforming_strings", c"on"),
        (c"DateStyle", c"ISO, YMD"),
        (c"IntervalStyle", c"postgres"),
        (c"extra_float_digits", c"1"),
    ];

    /// Pins what the text of values follows, until the returned value is dropped.
    pub(super) fn pin() -> Self {
        Self::set(&Self::VALUES)
    }

    /// Pins what the reading of the catalog follows, until the returned value is dropped.
    pub(crate) fn for_catalog() -> Self {
        Self::set(&Self::CATALOG)
    }

    fn set(settings: &[(&CStr, &CStr)]) -> Self {
        // SAFETY: a nest level of our own, ended by Drop or with the (sub)transaction; names and
        // values are static strings that their settings accept.
        unsafe {
            let nest_level = pg_sys::NewGUCNestLevel();
            for (name, value) in settings {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
            Self { nest_level }
        }
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        // After an error the abort of the (sub)transaction ends the nest level.
        if !std::thread::panicking() {
            // SAFETY: ends the level opened by `pin`; levels nest as scopes do.
            unsafe { pg_sys::AtEOXact_GUC(true, self.nest_level) }
        }
    }
}
