//! Random bytes that nobody can foretell.

use std::cell::RefCell;

use pgrx::pg_sys;

use crate::error::Error;

/// As many bytes of PostgreSQL's strong source; raises where it has none.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: the buffer is as long as announced.
    if !unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) } {
        Error::NoRandomness.raise();
    }
    bytes
}

/// So many salts are drawn at a time: one by one the source takes a multiple of what hashing takes.
const DRAWN: usize = 32;

/// Salts that were drawn and not given out.
struct Stock {
    bytes: [u8; 32 * DRAWN],
    /// How many are left, at the beginning.
    left: usize,
    /// The process that drew them: a copy of its memory must not give out the same.
    process: i32,
}

thread_local! {
    static STOCK: RefCell<Stock> = const {
        RefCell::new(Stock {
            bytes: [0; 32 * DRAWN],
            left: 0,
            process: 0,
        })
    };
}

/// 32 random bytes for one event. They are nowhere else afterwards.
pub(crate) fn salt() -> [u8; 32] {
    STOCK.with_borrow_mut(|stock| {
        // SAFETY: reads a backend-local variable.
        let process = unsafe { pg_sys::MyProcPid };
        if stock.left == 0 || stock.process != process {
            stock.left = 0;
            stock.bytes = random_bytes();
            (stock.left, stock.process) = (DRAWN, process);
        }
        stock.left -= 1;
        let drawn = &mut stock.bytes[stock.left * 32..][..32];
        let mut salt = [0; 32];
        salt.copy_from_slice(drawn);
        drawn.fill(0);
        salt
    })
}
