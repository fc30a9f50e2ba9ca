//! Random bytes that nobody can foretell.

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
