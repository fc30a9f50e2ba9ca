//! Text on its way between the server and the log. Both are UTF-8: the extension is installed in no
//! other database (sql/bootstrap.sql).

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;
use tenant_guard_core::audit::push_identifier;

use crate::error::{Error, OrRaise};

/// Bytes that were gathered as UTF-8, as text. Raises 22021 where they are not.
pub(crate) fn checked(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes)
        .map_err(|_| Error::NotUtf8)
        .or_raise()
}

/// A name from the catalog as text.
///
/// # Safety
/// `name` must point to a terminated string.
pub(super) unsafe fn name(name: *const c_char) -> String {
    // SAFETY: the caller vouches for the pointer.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    checked(bytes).to_owned()
}

/// The bare name of an open relation, for messages.
///
/// # Safety
/// `relation` must be open.
pub(super) unsafe fn relation_name(relation: pg_sys::Relation) -> String {
    // SAFETY: the relation cache keeps the catalog row of an open relation.
    unsafe { name((*(*relation).rd_rel).relname.data.as_ptr()) }
}

/// The schema-qualified name of a relation, quoted where it must be, as `regclass` reads it.
pub(crate) fn qualified_name(relation: pg_sys::Oid) -> String {
    // SAFETY: catalog look-ups by oid; both return null or a terminated copy.
    unsafe {
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation));
        let bare = pg_sys::get_rel_name(relation);
        if schema.is_null() || bare.is_null() {
            Error::RelationGone(relation.to_u32()).raise();
        }
        qualified(&name(schema), &name(bare))
    }
}

/// A schema-qualified name, quoted where it must be.
pub(crate) fn qualified(schema: &str, bare: &str) -> String {
    let mut out = String::new();
    push_identifier(&mut out, schema);
    out.push('.');
    push_identifier(&mut out, bare);
    out
}
