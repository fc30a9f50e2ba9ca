//! Faults that tests ask for. A server that people use must have none of this: it is compiled with the
//! feature `fault_points` alone, which tools/build.sh gives to builds for tests only.
//!
//! `fault_points.at` is `POINT ACTION [PASS]`: at the given pass of this backend through the point,
//! the first by default, the action happens once. The setting is a superuser's.

/// A step after which a test can have something go wrong. Compiled to nothing without the feature.
macro_rules! fault_point {
    ($name:literal) => {
        #[cfg(feature = "fault_points")]
        $crate::fault::reach($name);
    };
}
pub(crate) use fault_point;

#[cfg(feature = "fault_points")]
pub(crate) use self::injected::{define, reach};

#[cfg(feature = "fault_points")]
mod injected {
    use std::cell::Cell;
    use std::ffi::{CString, c_char, c_void};

    use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
    use pgrx::prelude::*;

    static AT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

    thread_local! {
        /// Passes through the point that the setting names, since it was set.
        static PASSES: Cell<u32> = const { Cell::new(0) };
    }

    /// Registers the setting.
    pub(crate) fn define() {
        // SAFETY: the hook is called as guc.c calls hooks, and does not raise.
        unsafe {
            GucRegistry::define_string_guc_with_hooks(
                c"fault_points.at",
                c"What goes wrong where: POINT ACTION [PASS].",
                c"For tests.",
                &AT,
                GucContext::Suset,
                GucFlags::default(),
                None,
                Some(assigned),
                None,
            );
        }
    }

    #[pg_guard]
    unsafe extern "C-unwind" fn assigned(_value: *const c_char, _extra: *mut c_void) {
        PASSES.set(0);
    }

    /// Passes through a point.
    pub(crate) fn reach(point: &str) {
        let Some(asked) = AT.get() else { return };
        let asked = asked.to_string_lossy().into_owned();
        let mut words = asked.split_ascii_whitespace();
        if words.next() != Some(point) {
            return;
        }
        let action = words.next().unwrap_or_default();
        let pass: u32 = words.next().and_then(|pass| pass.parse().ok()).unwrap_or(1);
        PASSES.set(PASSES.get() + 1);
        if PASSES.get() == pass {
            happen(point, action);
        }
    }

    fn happen(point: &str, action: &str) {
        // SAFETY: flags of this process, set as the handlers of its signals would; a request of more
        // memory than there can be fails as one does for which there is none.
        unsafe {
            match action {
                "error" => {
                    ereport!(
                        ERROR,
                        PgSqlErrorCode::ERRCODE_IO_ERROR,
                        format!("fault at {point}")
                    );
                }
                "memory" => {
                    let most = usize::MAX / 2;
                    pg_sys::MemoryContextAllocHuge(pg_sys::CurrentMemoryContext, most);
                }
                "cancel" => {
                    pg_sys::QueryCancelPending = 1;
                    pg_sys::InterruptPending = 1;
                    pgrx::check_for_interrupts!();
                }
                "terminate" => {
                    pg_sys::ProcDiePending = 1;
                    pg_sys::InterruptPending = 1;
                    pgrx::check_for_interrupts!();
                }
                "exit" => pg_sys::proc_exit(1),
                "crash" => std::process::abort(),
                _ => {
                    ereport!(
                        ERROR,
                        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                        format!("no fault \"{action}\"")
                    );
                }
            }
        }
    }
}
