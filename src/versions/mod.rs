//! What differs between the major versions of PostgreSQL, under one name for all of them.

mod rights;
mod statements;

use pgrx::pg_sys;

pub(crate) use rights::*;
pub(crate) use statements::*;

/// A query of ours with nothing where it reads a catalog that this version does not have: rights on
/// settings can be granted since PostgreSQL 15.
pub(crate) fn with_catalogs_of_this(query: &str) -> std::borrow::Cow<'_, str> {
    #[cfg(feature = "pg14")]
    return query
        .replace(
            "FROM pg_parameter_acl AS",
            "FROM (SELECT NULL::text AS parname, NULL::aclitem[] AS paracl WHERE false) AS",
        )
        .into();
    #[cfg(not(feature = "pg14"))]
    return query.into();
}

/// Whether snapshots may grow too old for the pages they read, which every read of a page then has to
/// ask. Not after PostgreSQL 16.
pub(crate) fn snapshots_grow_old() -> bool {
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    // SAFETY: a setting of the server's start.
    return unsafe { pg_sys::old_snapshot_threshold } >= 0;
    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    return false;
}

/// Local id of the running top-level transaction; 0 where there is none.
pub(crate) fn local_transaction() -> u32 {
    // SAFETY: MyProc is set once when the backend starts and points to its own shared entry.
    unsafe { pg_sys::MyProc.as_ref() }.map_or(0, |process| {
        #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
        return process.lxid;
        #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
        return process.vxid.lxid;
    })
}

/// The setting that ends a process for the length of its transactions, in versions that have one.
#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
pub(crate) const TRANSACTION_TIMEOUT: Option<&std::ffi::CStr> = None;
/// The setting that ends a process for the length of its transactions, in versions that have one.
#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
pub(crate) const TRANSACTION_TIMEOUT: Option<&std::ffi::CStr> = Some(c"transaction_timeout");

/// Memory for the `extra` of a setting, which PostgreSQL releases itself; null where there is none left.
///
/// # Safety
/// Nothing else may release it once it is a setting's.
pub(crate) unsafe fn allocate_setting(size: usize) -> *mut std::ffi::c_void {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    {
        unsafe extern "C" {
            fn malloc(size: usize) -> *mut std::ffi::c_void;
        }
        // SAFETY: any size may be asked for.
        unsafe { malloc(size) }
    }
    // SAFETY: at this level it returns null instead of raising.
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    unsafe {
        pg_sys::guc_malloc(pg_sys::LOG as i32, size)
    }
}

/// Installs a handler of the server's own for a signal, in a background worker.
///
/// # Safety
/// The handler must be one that may run at any moment.
pub(crate) unsafe fn on_signal(signal: u32, handler: unsafe extern "C-unwind" fn(i32)) {
    // SAFETY: the caller vouches for the handler.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(signal as i32, Some(handler));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(signal as i32, Some(handler));
    }
}

/// Any number, from the backend's own generator, which is seeded when it starts.
pub(crate) fn any_number() -> u32 {
    #[cfg(feature = "pg14")]
    {
        unsafe extern "C" {
            fn random() -> std::ffi::c_long;
        }
        // SAFETY: takes nothing and has no errors.
        unsafe { random() as u32 }
    }
    // SAFETY: the state is the backend's own.
    #[cfg(not(feature = "pg14"))]
    unsafe {
        pg_sys::pg_prng_uint32(&raw mut pg_sys::pg_global_prng_state)
    }
}

/// The timeline that is written to.
///
/// # Safety
/// The server must not be in recovery.
pub(crate) unsafe fn timeline() -> pg_sys::TimeLineID {
    // SAFETY: the caller vouches for the state. Before PostgreSQL 15 a backend knows its timeline from the
    // moment it has asked whether there is a recovery.
    unsafe {
        #[cfg(feature = "pg14")]
        {
            pg_sys::RecoveryInProgress();
            pg_sys::ThisTimeLineID
        }
        #[cfg(not(feature = "pg14"))]
        pg_sys::GetWALInsertionTimeLine()
    }
}

/// Asks for shared memory while the server starts, for a size that is known once its settings are
/// final where there is a moment for that, since PostgreSQL 15.
///
/// # Safety
/// Only once, in the postmaster while it loads libraries.
pub(crate) unsafe fn request_shared_memory(size: fn() -> usize) {
    #[cfg(feature = "pg14")]
    // SAFETY: the caller vouches for the moment.
    unsafe {
        pg_sys::RequestAddinShmemSpace(size());
    }
    #[cfg(not(feature = "pg14"))]
    {
        static mut PREVIOUS: pg_sys::shmem_request_hook_type = None;
        static SIZE: std::sync::OnceLock<fn() -> usize> = std::sync::OnceLock::new();

        #[pgrx::pg_guard]
        unsafe extern "C-unwind" fn request() {
            // SAFETY: the hook that was there before, if any; then our own request.
            unsafe {
                if let Some(previous) = PREVIOUS {
                    previous();
                }
                if let Some(size) = SIZE.get() {
                    pg_sys::RequestAddinShmemSpace(size());
                }
            }
        }
        let _ = SIZE.set(size);
        // SAFETY: the postmaster's one thread sets hooks while it starts.
        unsafe {
            PREVIOUS = pg_sys::shmem_request_hook;
            pg_sys::shmem_request_hook = Some(request);
        }
    }
}

/// Says that settings of this prefix are the library's: an unknown one is an error since PostgreSQL 15, and
/// a warning before.
///
/// # Safety
/// Needs all settings of the prefix to be defined.
pub(crate) unsafe fn reserve_settings(prefix: &std::ffi::CStr) {
    // SAFETY: the caller vouches for the settings.
    unsafe {
        #[cfg(feature = "pg14")]
        pg_sys::EmitWarningsOnPlaceholders(prefix.as_ptr());
        #[cfg(not(feature = "pg14"))]
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr());
    }
}
