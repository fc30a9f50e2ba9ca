//! The key of this database under which values of hashed columns are hashed.

use std::cell::RefCell;

use pgrx::pg_sys;
use tenant_guard_core::keyed_hash::KeyedHash;

use crate::catalog::{as_owner, our_table, write};
use crate::error::Error;
use crate::ledger::rows::{for_each_row, with_latest_snapshot};
use crate::random::random_bytes;

/// The table the key stands in.
pub(super) fn table() -> pg_sys::Oid {
    our_table(c"capture_key")
}

/// Makes the key where there is none.
pub(crate) fn ensure() {
    let key: [u8; 32] = random_bytes();
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
