//! Values of columns as numbers that are equal where the values are, found without running code of
//! a type's owner.

use std::collections::HashMap;
use std::ffi::CStr;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher, RandomState};

use pgrx::prelude::*;
use tenant_guard_core::account::AccountId;
pub(super) use tenant_guard_core::fingerprints::Table;

use crate::audit::values::with_varlena;

/// How values of a column are compared: types of PostgreSQL's own whose equal values are stored
/// alike, up to what is said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An integer of so many bytes.
    Number(i16),
    /// By value, of so many bytes, and compared with values of its own type only.
    Own(pg_sys::Oid, i16),
    Uuid,
    Text,
    /// `character(n)`, whose trailing spaces say nothing.
    Padded,
}

impl Form {
    /// The form of a column; none of types whose equality is not that of their bytes.
    pub(super) fn of(relation: pg_sys::Oid, number: i16) -> Option<Self> {
        let (mut kind, mut modifier, mut collation) =
            (pg_sys::Oid::INVALID, 0, pg_sys::Oid::INVALID);
        // SAFETY: catalog look-ups by oid; the relation has the column, whose number the caller read.
        unsafe {
            pg_sys::get_atttypetypmodcoll(
                relation,
                number,
                &mut kind,
                &mut modifier,
                &mut collation,
            );
            let base = pg_sys::getBaseType(kind);
            let exact = || {
                collation == pg_sys::Oid::INVALID
                    || pg_sys::get_collation_isdeterministic(collation)
            };
            Some(match base {
                pg_sys::UUIDOID => Self::Uuid,
                pg_sys::INT2OID => Self::Number(2),
                pg_sys::INT4OID => Self::Number(4),
                pg_sys::INT8OID => Self::Number(8),
                pg_sys::DATEOID => Self::Own(base, 4),
                pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => Self::Own(base, 8),
                pg_sys::OIDOID => Self::Own(base, -4),
                pg_sys::BOOLOID | pg_sys::CHAROID => Self::Own(base, 1),
                pg_sys::TEXTOID | pg_sys::VARCHAROID if exact() => Self::Text,
                pg_sys::BPCHAROID if exact() => Self::Padded,
                base if pg_sys::type_is_enum(base) => Self::Own(base, -4),
                _ => return None,
            })
        }
    }

    /// Whether equal values of both forms have equal fingerprints.
    pub(super) fn fits(self, other: Self) -> bool {
        match (self, other) {
            (Self::Number(_), Self::Number(_)) => true,
            (Self::Text | Self::Padded, Self::Text | Self::Padded) => true,
            (one, other) => one == other,
        }
    }

    /// A number that equal values share and unlike ones do not, but by an accident of 1 in 2^128.
    ///
    /// # Safety
    /// `value` must be a value of a column of this form, not null.
    pub(super) unsafe fn fingerprint(self, value: pg_sys::Datum, keys: &Keys) -> u128 {
        // SAFETY: the caller vouches: a uuid is a pointer to 16 bytes, the others as they say.
        unsafe {
            match self {
                Self::Number(length) | Self::Own(_, length) => {
                    integer(length, value) as u64 as u128
                }
                Self::Uuid => u128::from_be_bytes(*value.cast_mut_ptr::<[u8; 16]>()),
                Self::Text => with_varlena(value, |bytes| keys.of(bytes)),
                Self::Padded => with_varlena(value, |bytes| keys.of(trimmed(bytes))),
            }
        }
    }

    /// The canonical text of an account.
    ///
    /// # Safety
    /// As of [`fingerprint`](Self::fingerprint).
    pub(super) unsafe fn account(self, value: pg_sys::Datum) -> String {
        // SAFETY: the caller vouches.
        let text = unsafe { self.text(value) };
        match (self, AccountId::from_text(&text)) {
            (Self::Text, Ok(account)) => account.as_str().to_owned(),
            _ => text,
        }
    }

    /// The value as text.
    ///
    /// # Safety
    /// As of [`fingerprint`](Self::fingerprint).
    pub(super) unsafe fn text(self, value: pg_sys::Datum) -> String {
        let read = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // SAFETY: the caller vouches.
        unsafe {
            match self {
                Self::Number(length) => integer(length, value).to_string(),
                Self::Own(kind, _) => output(kind, value),
                Self::Uuid => uuid::Uuid::from_bytes(*value.cast_mut_ptr::<[u8; 16]>()).to_string(),
                Self::Text => with_varlena(value, read),
                Self::Padded => with_varlena(value, |bytes| read(trimmed(bytes))),
            }
        }
    }
}

/// What a type of PostgreSQL's own prints.
///
/// # Safety
/// `value` must be one of the type.
unsafe fn output(kind: pg_sys::Oid, value: pg_sys::Datum) -> String {
    let (mut function, mut varlena) = (pg_sys::Oid::INVALID, false);
    // SAFETY: the caller vouches; an output function gives a terminated text.
    unsafe {
        pg_sys::getTypeOutputInfo(kind, &mut function, &mut varlena);
        let text = pg_sys::OidOutputFunctionCall(function, value);
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

fn integer(length: i16, value: pg_sys::Datum) -> i64 {
    match length {
        1 => i64::from(value.value() as i8),
        2 => i64::from(value.value() as i16),
        4 => i64::from(value.value() as i32),
        -4 => i64::from(value.value() as u32),
        _ => value.value() as i64,
    }
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != b' ');
    &bytes[..end.map_or(0, |last| last + 1)]
}

/// Keys of hashes.
pub(super) enum Keys {
    /// Secret ones: whoever writes rows cannot choose some that meet.
    Drawn(RandomState, RandomState),
    /// The same in every run.
    Fixed(BuildHasherDefault<DefaultHasher>),
}

impl Keys {
    pub(super) fn new() -> Self {
        Self::Drawn(RandomState::new(), RandomState::new())
    }

    pub(super) fn fixed() -> Self {
        Self::Fixed(BuildHasherDefault::new())
    }

    fn of(&self, bytes: &[u8]) -> u128 {
        self.hash(|hasher| hasher.write(bytes))
    }

    /// One number for the values of several columns.
    pub(super) fn several(&self, values: &[u128]) -> u128 {
        self.hash(|hasher| values.hash(hasher))
    }

    fn hash(&self, write: impl Fn(&mut DefaultHasher)) -> u128 {
        let half = |mut hasher: DefaultHasher| {
            write(&mut hasher);
            u128::from(hasher.finish())
        };
        match self {
            Self::Drawn(one, other) => half(one.build_hasher()) << 64 | half(other.build_hasher()),
            Self::Fixed(state) => half(state.build_hasher()),
        }
    }
}

/// An empty table. Its keys are drawn: whoever writes rows cannot choose keys that fall together.
pub(super) fn table() -> Table {
    let drawn = RandomState::new();
    let half = |n: u8| u128::from(drawn.hash_one(n));
    Table::new([0, 1, 2].map(|n| half(n) << 64 | half(n + 3)))
}

/// Numbers for accounts; equal accounts of columns of unlike types have one.
#[derive(Default)]
pub(super) struct Accounts {
    numbers: HashMap<String, u32>,
    texts: Vec<String>,
}

/// The number of what has no account.
pub(super) const NO_ACCOUNT: u32 = 0;

impl Accounts {
    /// The number of the account of this canonical text.
    pub(super) fn number(&mut self, text: String) -> u32 {
        if let Some(number) = self.numbers.get(&text) {
            return *number;
        }
        self.texts.push(text.clone());
        let number = self.texts.len() as u32;
        self.numbers.insert(text, number);
        number
    }

    /// The canonical text of a number; empty for none.
    pub(super) fn text(&self, number: u32) -> &str {
        let at = (number as usize).checked_sub(1);
        at.and_then(|at| self.texts.get(at))
            .map_or("", String::as_str)
    }
}

/// Reads the accounts of one column, the last ones from memory.
pub(super) struct AccountReader {
    form: Form,
    last: Option<(u128, u32)>,
    met: Table,
}

impl AccountReader {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            last: None,
            met: table(),
        }
    }

    /// # Safety
    /// `value` must be a value of a column of the reader's form, not null.
    pub(super) unsafe fn number(
        &mut self,
        value: pg_sys::Datum,
        keys: &Keys,
        accounts: &mut Accounts,
    ) -> u32 {
        // SAFETY: the caller vouches.
        let fingerprint = unsafe { self.form.fingerprint(value, keys) };
        if let Some((last, number)) = self.last
            && last == fingerprint
        {
            return number;
        }
        let number = match self.met.get(fingerprint) {
            Some(number) => number,
            None => {
                // SAFETY: as above.
                let number = accounts.number(unsafe { self.form.account(value) });
                self.met.insert(fingerprint, number);
                number
            }
        };
        self.last = Some((fingerprint, number));
        number
    }
}

/// The bytes of a name of a column, as the catalog takes it.
pub(super) fn column_number(relation: pg_sys::Oid, name: &str) -> Option<i16> {
    let name = std::ffi::CString::new(name).ok()?;
    let name: &CStr = &name;
    // SAFETY: a catalog look-up by oid and name; 0 for what is not there.
    let number = unsafe { pg_sys::get_attnum(relation, name.as_ptr()) };
    (number > 0).then_some(number)
}
