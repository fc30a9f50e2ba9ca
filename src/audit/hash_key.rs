//! The key of this database under which values of hashed columns are hashed.

use std::cell::RefCell;

use pgrx::pg_sys;
use tenant_guard_core::keyed_hash::KeyedHash;

use crate::catalog::{as_owner, write};
use crate::error::Error;
use crate::ledger::rows::{for_each_row, with_latest_snapshot};

/// The table the key stands in.
pub(super) fn table() -> pg_sys::Oid {
    // SAFETY: catalog look-ups of static names, with 0 for what is missing.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"tenant_guard".as_ptr(), true);
        pg_sys::get_relname_relid(c"capture_key".as_ptr(), schema)
    }
}

/// Makes the key where there is none.
pub(crate) fn ensure() {
    let mut key = [0_u8; 32];
    // SAFETY: the buffer is as long as announced.
    if !unsafe { pg_sys::pg_strong_random(key.as_mut_ptr().cast(), key.len()) } {
        Error::NoRandomness.raise();
    }
    write(
        "INSERT INTO tenant_guard.capture_key (key) VALUES ($1) ON CONFLICT DO NOTHING",
        &[key.to_vec().into()],
    );
}

/// Hashes under the key that stands now. Raises 55000 where there is none: another one made on the
/// spot would pass equal values for unequal ones.
pub(super) fn keyed_hash() -> KeyedHash {
    let found = RefCell::new(None);
    as_owner(|| {
        with_latest_snapshot(|| {
            for_each_row(c"SELECT key FROM tenant_guard.capture_key", &[], |row| {
                found.replace(<[u8; 32]>::try_from(row.optional_bytes(0).unwrap_or_default()).ok());
            });
        });
    });
    match found.into_inner() {
        Some(key) => KeyedHash::new(&key),
        None => Error::HashKeyMissing.raise(),
    }
}
