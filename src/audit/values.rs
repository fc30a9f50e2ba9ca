//! Values of columns as JSON.

use std::ffi::CStr;

use pgrx::pg_sys;
use tenant_guard_core::audit::{
    push_date, push_hex, push_integer, push_json_text, push_timestamp, push_timestamptz, push_uuid,
};

use super::log::MAX_VALUE;
use crate::error::Error;

/// How values of one type become JSON.
///
/// The commonest types are written from their binary form; the others by their output function,
/// which allocates and costs 100 ns and more a value.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    /// `text` and whatever is stored as it is.
    Text,
    Uuid,
    Bytea,
    Date,
    Timestamp,
    Timestamptz,
    /// A JSON document of type `json`, as it was given.
    JsonText,
    /// A JSON document through its output function.
    Json(*mut pg_sys::FmgrInfo),
    /// A number through its output function; NaN and the infinities as strings.
    Number(*mut pg_sys::FmgrInfo),
    /// Any other type: the text of its output function as a string.
    Other(*mut pg_sys::FmgrInfo),
}

impl Form {
    /// The form of a type's values. Function look-ups are allocated in the current memory context
    /// and must outlive the form.
    pub(crate) fn of(type_id: pg_sys::Oid) -> Self {
        // SAFETY: a catalog look-up by the oid of an existing type.
        let base = unsafe { pg_sys::getBaseType(type_id) };
        match base {
            pg_sys::BOOLOID => Self::Bool,
            pg_sys::INT2OID => Self::Int2,
            pg_sys::INT4OID => Self::Int4,
            pg_sys::INT8OID => Self::Int8,
            pg_sys::OIDOID => Self::Oid,
            pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Self::Text,
            pg_sys::UUIDOID => Self::Uuid,
            pg_sys::BYTEAOID => Self::Bytea,
            pg_sys::DATEOID => Self::Date,
            pg_sys::TIMESTAMPOID => Self::Timestamp,
            pg_sys::TIMESTAMPTZOID => Self::Timestamptz,
            pg_sys::JSONOID => Self::JsonText,
            pg_sys::JSONBOID => Self::Json(output_function(base)),
            pg_sys::NUMERICOID | pg_sys::FLOAT4OID | pg_sys::FLOAT8OID => {
                Self::Number(output_function(base))
            }
            _ => Self::Other(output_function(base)),
        }
    }

    /// Appends one value that is not null as JSON.
    ///
    /// # Safety
    /// `value` must be of the type the form was made for.
    pub(crate) unsafe fn push(self, out: &mut Vec<u8>, value: pg_sys::Datum) {
        // SAFETY: the caller vouches for the type, which says how the datum is to be read.
        unsafe {
            match self {
                Self::Bool => {
                    let text: &[u8] = if value.value() as u8 != 0 {
                        b"true"
                    } else {
                        b"false"
                    };
                    out.extend_from_slice(text);
                }
                Self::Int2 => push_integer(out, i64::from(value.value() as i16)),
                Self::Int4 => push_integer(out, i64::from(value.value() as i32)),
                Self::Int8 => push_integer(out, value.value() as i64),
                Self::Oid => push_integer(out, i64::from(value.value() as u32)),
                Self::Text => with_varlena(value, |text| push_string(out, text)),
                Self::Uuid => quoted(out, |out| push_uuid(out, *value.cast_mut_ptr::<[u8; 16]>())),
                Self::Bytea => quoted(out, |out| {
                    out.extend_from_slice(b"\\\\x");
                    with_varlena(value, |bytes| {
                        grow(out, 2 * bytes.len());
                        push_hex(out, bytes);
                    });
                }),
                Self::Date => quoted(out, |out| push_date(out, value.value() as i32)),
                Self::Timestamp => quoted(out, |out| push_timestamp(out, value.value() as i64)),
                Self::Timestamptz => {
                    quoted(out, |out| push_timestamptz(out, value.value() as i64));
                }
                Self::JsonText => with_varlena(value, |text| {
                    grow(out, text.len());
                    out.extend_from_slice(text);
                }),
                Self::Json(function) => {
                    with_output(function, value, |text| {
                        grow(out, text.len());
                        out.extend_from_slice(text);
                    });
                }
                Self::Number(function) => with_output(function, value, |text| {
                    if matches!(text, [b'0'..=b'9', ..] | [b'-', b'0'..=b'9', ..]) {
                        out.extend_from_slice(text);
                    } else {
                        push_string(out, text);
                    }
                }),
                Self::Other(function) => {
                    with_output_apart(function, value, |text| push_string(out, text));
                }
            }
        }
    }
}

/// Piece of a text that is escaped at a time, in bytes.
const PIECE: usize = 64 << 10;

/// Appends a text as a JSON string, piece by piece: escapes can make six times of it, which is known
/// only as it is written.
fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    quoted(out, |out| {
        for piece in text.chunks(PIECE) {
            grow(out, 6 * piece.len());
            push_json_text(out, piece);
        }
    });
}

/// Makes room, or raises: Rust would end the server over memory that is not there.
pub(crate) fn grow(out: &mut Vec<u8>, bytes: usize) {
    if out.len() > MAX_VALUE {
        Error::EventTooLarge.raise();
    }
    if out.try_reserve(bytes).is_err() {
        Error::OutOfMemory.raise();
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn output_function(type_id: pg_sys::Oid) -> *mut pg_sys::FmgrInfo {
    let mut function = pg_sys::Oid::INVALID;
    let mut is_varlena = false;
    // SAFETY: look-ups by the oid of an existing type; the result lives in the current context.
    unsafe {
        pg_sys::getTypeOutputInfo(type_id, &mut function, &mut is_varlena);
        let info = pg_sys::palloc0(size_of::<pg_sys::FmgrInfo>()).cast::<pg_sys::FmgrInfo>();
        pg_sys::fmgr_info_cxt(function, info, pg_sys::CurrentMemoryContext);
        info
    }
}

/// Calls `read` with the bytes of a variable-length value, decompressed and fetched if need be.
///
/// # Safety
/// `value` must point to a varlena.
pub(crate) unsafe fn with_varlena<T>(value: pg_sys::Datum, read: impl FnOnce(&[u8]) -> T) -> T {
    // SAFETY: the caller vouches for the varlena; a detoasted copy lives in the current context,
    // which outlasts the call, and is released here because rows may hold many of a megabyte.
    unsafe {
        let stored = value.cast_mut_ptr::<pg_sys::varlena>();
        let plain = if pgrx::varatt_is_4b_u(stored)
            || pgrx::varatt_is_1b(stored) && !pgrx::varatt_is_1b_e(stored)
        {
            stored
        } else {
            pg_sys::pg_detoast_datum_packed(stored)
        };
        let bytes = std::slice::from_raw_parts(
            pgrx::vardata_any(plain).cast::<u8>(),
            pgrx::varsize_any_exhdr(plain),
        );
        let result = read(bytes);
        if plain != stored {
            pg_sys::pfree(plain.cast());
        }
        result
    }
}

unsafe fn with_output(
    function: *mut pg_sys::FmgrInfo,
    value: pg_sys::Datum,
    read: impl FnOnce(&[u8]),
) {
    // SAFETY: the function was looked up for the value's type; it returns a terminated string in
    // the current context.
    unsafe {
        let text = pg_sys::OutputFunctionCall(function, value);
        read(CStr::from_ptr(text).to_bytes());
        pg_sys::pfree(text.cast());
    }
}

/// As [`with_output`], for types whose values may be made of any number of others.
///
/// The output function of a large array fills memory with small pieces. It does so in a context of
/// its own, because an error is copied into the outer one on its way through Rust: with that one
/// full to the last byte as well, an error for want of memory would end the server.
unsafe fn with_output_apart(
    function: *mut pg_sys::FmgrInfo,
    value: pg_sys::Datum,
    read: impl FnOnce(&[u8]),
) {
    unsafe extern "C-unwind" {
        /// pgrx's binding would take the inner context for the outer one.
        fn OutputFunctionCall(
            function: *mut pg_sys::FmgrInfo,
            value: pg_sys::Datum,
        ) -> *mut std::ffi::c_char;
    }
    // SAFETY: as of `with_output`; the boundary turns an error the function raises into an
    // unwinding one and goes back to the outer context, with which the inner one ends then.
    unsafe {
        let inner = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"tenant_guard value".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let text = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            let outer = pg_sys::MemoryContextSwitchTo(inner);
            let text = OutputFunctionCall(function, value);
            pg_sys::MemoryContextSwitchTo(outer);
            text
        });
        read(CStr::from_ptr(text).to_bytes());
        pg_sys::MemoryContextDelete(inner);
    }
}

/// Whether the text of a type's values can follow settings beyond those of
/// [`super::pinned::Variables`].
///
/// Composite types are followed into their columns; their relations are added to `depends`.
pub(super) fn follows_settings(type_id: pg_sys::Oid, depends: &mut Vec<pg_sys::Oid>) -> bool {
    // SAFETY: catalog look-ups by the oid of an existing type.
    unsafe {
        let base = pg_sys::getBaseType(type_id);
        if is_built_in(base) {
            return false;
        }
        let element = pg_sys::get_element_type(base);
        if element != pg_sys::Oid::INVALID {
            return follows_settings(element, depends);
        }
        match pg_sys::get_typtype(base) as u8 {
            pg_sys::TYPTYPE_ENUM => false,
            pg_sys::TYPTYPE_RANGE => follows_settings(pg_sys::get_range_subtype(base), depends),
            pg_sys::TYPTYPE_MULTIRANGE => {
                follows_settings(pg_sys::get_multirange_range(base), depends)
            }
            pg_sys::TYPTYPE_COMPOSITE => {
                depends.push(pg_sys::get_typ_typrelid(base));
                let row =
                    pgrx::PgTupleDesc::from_pg_copy(pg_sys::lookup_rowtype_tupdesc_copy(base, -1));
                let mut columns = row.iter().filter(|column| !column.is_dropped());
                columns.any(|column| follows_settings(column.type_oid().value(), depends))
            }
            _ => true,
        }
    }
}

/// Built-in types whose text follows no setting, or only those of [`super::pinned::Variables`].
///
/// Not among them: `money` follows lc_monetary, the `reg*` types the search path, `aclitem` the
/// names of roles, and a type of an extension whatever its author chose.
fn is_built_in(type_id: pg_sys::Oid) -> bool {
    matches!(
        type_id,
        pg_sys::BOOLOID
            | pg_sys::BYTEAOID
            | pg_sys::CHAROID
            | pg_sys::NAMEOID
            | pg_sys::INT8OID
            | pg_sys::INT2OID
            | pg_sys::INT4OID
            | pg_sys::TEXTOID
            | pg_sys::OIDOID
            | pg_sys::TIDOID
            | pg_sys::XIDOID
            | pg_sys::XID8OID
            | pg_sys::CIDOID
            | pg_sys::JSONOID
            | pg_sys::JSONBOID
            | pg_sys::XMLOID
            | pg_sys::POINTOID
            | pg_sys::LSEGOID
            | pg_sys::PATHOID
            | pg_sys::BOXOID
            | pg_sys::POLYGONOID
            | pg_sys::LINEOID
            | pg_sys::CIRCLEOID
            | pg_sys::FLOAT4OID
            | pg_sys::FLOAT8OID
            | pg_sys::MACADDROID
            | pg_sys::MACADDR8OID
            | pg_sys::INETOID
            | pg_sys::CIDROID
            | pg_sys::BPCHAROID
            | pg_sys::VARCHAROID
            | pg_sys::DATEOID
            | pg_sys::TIMEOID
            | pg_sys::TIMETZOID
            | pg_sys::TIMESTAMPOID
            | pg_sys::TIMESTAMPTZOID
            | pg_sys::INTERVALOID
            | pg_sys::BITOID
            | pg_sys::VARBITOID
            | pg_sys::NUMERICOID
            | pg_sys::UUIDOID
            | pg_sys::TSVECTOROID
            | pg_sys::TSQUERYOID
            | pg_sys::PG_LSNOID
            | pg_sys::JSONPATHOID
            | pg_sys::INT2VECTOROID
            | pg_sys::OIDVECTOROID
    )
}

/// Whether two values of one column are stored as the same bytes.
///
/// # Safety
/// Both must be values of a column with this length and way of passing.
pub(super) unsafe fn same_image(
    a: pg_sys::Datum,
    b: pg_sys::Datum,
    by_value: bool,
    length: i16,
) -> bool {
    if by_value {
        return a.value() == b.value();
    }
    // SAFETY: the caller vouches for the column; a length of -1 says varlena, -2 C string.
    unsafe {
        match length {
            -1 => {
                let stored = |datum: pg_sys::Datum| {
                    let varlena = datum.cast_mut_ptr::<pg_sys::varlena>();
                    std::slice::from_raw_parts(varlena.cast::<u8>(), pgrx::varsize_any(varlena))
                };
                // The same bytes in the row, were they a pointer to a toasted value, are the same
                // value; values of another size need not be fetched.
                stored(a) == stored(b)
                    || pg_sys::toast_raw_datum_size(a) == pg_sys::toast_raw_datum_size(b)
                        && with_varlena(a, |a| with_varlena(b, |b| a == b))
            }
            -2 => CStr::from_ptr(a.cast_mut_ptr()) == CStr::from_ptr(b.cast_mut_ptr()),
            _ => {
                let bytes = |datum: pg_sys::Datum| {
                    std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), length as usize)
                };
                bytes(a) == bytes(b)
            }
        }
    }
}
