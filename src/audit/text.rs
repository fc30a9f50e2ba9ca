//! Text on its way between the server and the log, which is UTF-8 whatever the server's encoding.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};

use pgrx::pg_sys;
use tenant_guard_core::audit::push_identifier;

use crate::error::{Error, OrRaise};

const UTF8: i32 = pg_sys::pg_enc::PG_UTF8 as i32;

/// Whether texts of this database are UTF-8 as they are.
///
/// Those of an SQL_ASCII database pass too: they have no encoding to convert from, and are checked
/// to be UTF-8 like all others.
fn is_utf8() -> bool {
    // SAFETY: reads a backend-local variable.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    encoding == UTF8 || encoding == pg_sys::pg_enc::PG_SQL_ASCII as i32
}

/// Bytes in the database's encoding as UTF-8. Raises 22021 where they have no such form.
pub(super) fn to_utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    if is_utf8() {
        return Cow::Borrowed(bytes);
    }
    // SAFETY: source pointer and length are of one live slice. The server returns either that
    // pointer or a terminated copy in the current memory context.
    unsafe {
        let source = bytes.as_ptr().cast::<c_char>();
        let converted = pg_sys::pg_server_to_any(source, bytes.len() as i32, UTF8);
        if converted.cast_const() == source {
            Cow::Borrowed(bytes)
        } else {
            Cow::Owned(CStr::from_ptr(converted).to_bytes().to_vec())
        }
    }
}

/// UTF-8 text in the database's encoding, for storing.
pub(super) fn to_server(text: &str) -> Cow<'_, [u8]> {
    if is_utf8() {
        return Cow::Borrowed(text.as_bytes());
    }
    // SAFETY: as in `to_utf8`.
    unsafe {
        let source = text.as_ptr().cast::<c_char>();
        let converted = pg_sys::pg_any_to_server(source, text.len() as i32, UTF8);
        if converted.cast_const() == source {
            Cow::Borrowed(text.as_bytes())
        } else {
            Cow::Owned(CStr::from_ptr(converted).to_bytes().to_vec())
        }
    }
}

/// Bytes that were gathered as UTF-8, as text. Raises 22021 where they are not.
pub(super) fn checked(bytes: &[u8]) -> &str {
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
    let bytes = to_utf8(unsafe { CStr::from_ptr(name) }.to_bytes());
    checked(&bytes).to_owned()
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
pub(super) fn qualified_name(relation: pg_sys::Oid) -> String {
    // SAFETY: catalog look-ups by oid; both return null or a terminated copy.
    unsafe {
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation));
        let bare = pg_sys::get_rel_name(relation);
        if schema.is_null() || bare.is_null() {
            Error::RelationGone(relation.to_u32()).raise();
        }
        let mut out = String::new();
        push_identifier(&mut out, &name(schema));
        out.push('.');
        push_identifier(&mut out, &name(bare));
        out
    }
}
