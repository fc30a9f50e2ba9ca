//! Rows for a COPY that no client sends.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};

use pgrx::pg_sys;

thread_local! {
    /// What is to be read, and how much of it was.
    static ROWS: RefCell<Option<(Vec<u8>, usize)>> = const { RefCell::new(None) };
}

/// Runs `work`, in which a COPY reads `rows`.
pub(super) fn with<T>(rows: Vec<u8>, work: impl FnOnce() -> T) -> T {
    struct Taken;
    impl Drop for Taken {
        fn drop(&mut self) {
            ROWS.take();
        }
    }

    ROWS.set(Some((rows, 0)));
    let _taken = Taken;
    work()
}

/// What COPY is to read from; none for the client.
pub(super) fn source() -> pg_sys::copy_data_source_cb {
    ROWS.with_borrow(Option::is_some).then_some(read as _)
}

/// Gives COPY at most `most` bytes; 0 at the end.
unsafe extern "C-unwind" fn read(buffer: *mut c_void, _least: c_int, most: c_int) -> c_int {
    ROWS.with_borrow_mut(|rows| {
        let Some((rows, at)) = rows else {
            return 0;
        };
        let left = &rows[*at..];
        let count = left.len().min(usize::try_from(most).unwrap_or(0));
        // SAFETY: the buffer has room for `most` bytes.
        unsafe { std::ptr::copy_nonoverlapping(left.as_ptr(), buffer.cast(), count) };
        *at += count;
        count as c_int
    })
}
