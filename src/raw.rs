//! Functions that PostgreSQL calls directly, without pgrx's argument conversion.
//!
//! A reader that a policy calls once a row costs about 8 ns through `#[pg_extern]` and nothing
//! measurable this way (docs/decisions.md).

use pgrx::pg_sys;

use crate::audit::values::{Form, grow, with_varlena};
use crate::error::{Error, OrRaise};

/// Defines the version-1 calling convention entry of a C-language function: its body and the
/// `pg_finfo_` record that PostgreSQL looks up beside it.
macro_rules! raw_function {
    ($(#[$doc:meta])* $name:ident, $finfo:ident, |$fcinfo:ident| $body:block) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        extern "C" fn $finfo() -> &'static ::pgrx::pg_sys::Pg_finfo_record {
            static RECORD: ::pgrx::pg_sys::Pg_finfo_record =
                ::pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &RECORD
        }

        $(#[$doc])*
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name(
            fcinfo: ::pgrx::pg_sys::FunctionCallInfo,
        ) -> ::pgrx::pg_sys::Datum {
            fn body($fcinfo: ::pgrx::pg_sys::FunctionCallInfo) -> ::pgrx::pg_sys::Datum $body
            // SAFETY: PostgreSQL calls this entry, so no Rust frame with destructors is above it.
            unsafe { ::pgrx::pg_sys::panic::pgrx_extern_c_guard(|| body(fcinfo)) }
        }
    };
}
pub(crate) use raw_function;

/// Returns SQL NULL from a raw function.
///
/// # Safety
/// `fcinfo` must be the one PostgreSQL passed to the running function.
pub(crate) unsafe fn return_null(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the caller passes the live call frame of the running function.
    unsafe { (*fcinfo).isnull = true };
    pg_sys::Datum::from(0)
}

/// The length in bytes of the text argument `n` of a raw function, which is not read for it: 0 for
/// SQL NULL.
///
/// # Safety
/// As of [`text_argument`].
pub(crate) unsafe fn text_length(fcinfo: pg_sys::FunctionCallInfo, n: usize) -> usize {
    // SAFETY: the caller vouches for the frame, the argument's existence and its type.
    unsafe {
        match pgrx::fcinfo::pg_getarg_datum(fcinfo, n) {
            Some(datum) => pg_sys::toast_raw_datum_size(datum) - pg_sys::VARHDRSZ,
            None => 0,
        }
    }
}

/// The jsonb argument `n` of a raw function as JSON text; `None` for SQL NULL. Unlike
/// [`pgrx::JsonB`] it takes whatever jsonb holds, numbers and nesting of any size; memory that runs out is PostgreSQL's error.
///
/// # Safety
/// `fcinfo` must be the one PostgreSQL passed to the running function, whose argument `n` exists
/// and is of type jsonb.
pub(crate) unsafe fn json_argument(fcinfo: pg_sys::FunctionCallInfo, n: usize) -> Option<String> {
    // SAFETY: the caller vouches for the argument and its type; the function look-up lives in the
    // call's memory context.
    unsafe {
        let argument = pgrx::fcinfo::pg_getarg_datum(fcinfo, n)?;
        let mut text = Vec::new();
        Form::of(pg_sys::JSONBOID).push(&mut text, argument);
        Some(utf8(text))
    }
}

/// The argument `n` of a raw function as a copied string; `None` for SQL NULL. Memory that runs out
/// is an error, which it is not where Rust allocates by itself: that would end the server.
///
/// # Safety
/// `fcinfo` must be the one PostgreSQL passed to the running function, whose argument `n` exists
/// and is of type text.
pub(crate) unsafe fn text_argument(fcinfo: pg_sys::FunctionCallInfo, n: usize) -> Option<String> {
    // SAFETY: the caller vouches for the frame, the argument's existence and its type.
    unsafe {
        let argument = pgrx::fcinfo::pg_getarg_datum(fcinfo, n)?;
        let mut text = Vec::new();
        with_varlena(argument, |bytes| {
            grow(&mut text, bytes.len());
            text.extend_from_slice(bytes);
        });
        Some(utf8(text))
    }
}

/// Raises 22021 where the bytes are not UTF-8.
fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .map_err(|_| Error::NotUtf8)
        .or_raise()
}

/// The trigger call behind `fcinfo`; raises 39P01 when `function` was called otherwise.
///
/// # Safety
/// `fcinfo` must be what PostgreSQL passed to the running function.
pub(crate) unsafe fn trigger_data<'a>(
    fcinfo: pg_sys::FunctionCallInfo,
    function: &'static str,
) -> &'a pg_sys::TriggerData {
    // SAFETY: the context of a call is a node or null; its tag says TriggerData, which lives
    // through the call.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            Error::NotATrigger(function).raise();
        }
        &*context.cast::<pg_sys::TriggerData>()
    }
}

/// The same of a trigger that is fired after a row was written; raises 39P01 for any other, as whoever
/// makes a trigger chooses when it fires.
///
/// # Safety
/// `fcinfo` must be what PostgreSQL passed to the running function.
pub(crate) unsafe fn after_row<'a>(
    fcinfo: pg_sys::FunctionCallInfo,
    function: &'static str,
) -> &'a pg_sys::TriggerData {
    // SAFETY: the caller vouches.
    let trigger = unsafe { trigger_data(fcinfo, function) };
    let event = trigger.tg_event;
    if event & pg_sys::TRIGGER_EVENT_ROW == 0
        || event & pg_sys::TRIGGER_EVENT_TIMINGMASK != pg_sys::TRIGGER_EVENT_AFTER
    {
        Error::NotATrigger(function).raise();
    }
    trigger
}
