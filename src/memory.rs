//! Memory of the server that lives as long as a value of ours.

use std::ffi::CStr;

use pgrx::pg_sys;

/// A memory context that ends with its owner.
pub(crate) struct Memory(pg_sys::MemoryContext);

impl Memory {
    /// A context of its own, small as long as little is in it.
    pub(crate) fn new(name: &'static CStr) -> Self {
        // SAFETY: CacheMemoryContext lives as long as the backend; the name is static.
        Self(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CacheMemoryContext,
                name.as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
            )
        })
    }

    /// Calls `work` with this as the current context.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Restore(pg_sys::MemoryContext);
        impl Drop for Restore {
            fn drop(&mut self) {
                // SAFETY: the context that was current before, which outlives this call.
                unsafe { pg_sys::MemoryContextSwitchTo(self.0) };
            }
        }
        // An error, too, must not leave a context current that is about to be deleted.
        // SAFETY: this context lives as long as `self`.
        let _restore = Restore(unsafe { pg_sys::MemoryContextSwitchTo(self.0) });
        work()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: created by `new`, deleted once.
        unsafe { pg_sys::MemoryContextDelete(self.0) }
    }
}
