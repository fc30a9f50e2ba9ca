//! How rows of one table are read: their keys, their account, and what they refer to.

use pgrx::prelude::*;

use super::examine::{Misdirected, Part, Reference, Source, Way};
use super::rows::Row;
use super::values::{AccountReader, Accounts, Form, Keys, NO_ACCOUNT, Table, column_number};
use crate::isolation::registry;
use crate::subtransaction;

/// Columns of one table that make a key.
pub(super) struct Key(Vec<(i16, Form)>);

impl Key {
    pub(super) fn of(of: pg_sys::Oid, columns: &[String]) -> Option<Self> {
        let column = |name: &String| {
            let number = column_number(of, name)?;
            Some((number, Form::of(of, number)?))
        };
        columns.iter().map(column).collect::<Option<_>>().map(Self)
    }

    pub(super) fn forms(&self) -> Vec<Form> {
        self.0.iter().map(|(_, form)| *form).collect()
    }

    pub(super) fn widest(&self) -> i16 {
        self.0.iter().map(|(number, _)| *number).max().unwrap_or(0)
    }

    /// None where a column is null.
    ///
    /// # Safety
    /// The row must be of the key's table.
    pub(super) unsafe fn fingerprint(&self, row: &Row, keys: &Keys) -> Option<u128> {
        // SAFETY: the caller vouches; the forms are those of the columns.
        unsafe {
            if let [(number, form)] = self.0.as_slice() {
                return Some(form.fingerprint(row.get(*number)?, keys));
            }
            let one =
                |(number, form): &(i16, Form)| Some(form.fingerprint(row.get(*number)?, keys));
            let all: Option<Vec<_>> = self.0.iter().map(one).collect();
            Some(keys.several(&all?))
        }
    }
}

/// A value that a column has in rows of one kind.
pub(super) struct Kind {
    number: i16,
    form: Form,
    value: pg_sys::Datum,
}

impl Kind {
    fn of(of: pg_sys::Oid, (column, value): &(String, String)) -> Option<Self> {
        let number = column_number(of, column)?;
        let form = Form::of(of, number)?;
        let value = std::ffi::CString::new(value.as_str()).ok()?;
        // No row has a value that the column's type does not know, or no longer.
        // SAFETY: input functions of PostgreSQL's own types, which `Form` names; the value stays in the
        // memory of the call.
        let value = subtransaction::attempt(|| unsafe {
            let kind = pg_sys::getBaseType(pg_sys::get_atttype(of, number));
            let (mut function, mut parameter) = (pg_sys::Oid::INVALID, pg_sys::Oid::INVALID);
            pg_sys::getTypeInputInfo(kind, &mut function, &mut parameter);
            pg_sys::OidInputFunctionCall(function, value.as_ptr().cast_mut(), parameter, -1)
        });
        let value = value.ok()?;
        Some(Self {
            number,
            form,
            value,
        })
    }

    /// # Safety
    /// The row must be of the kind's table.
    unsafe fn is(&self, row: &Row, keys: &Keys) -> bool {
        row.get(self.number).is_some_and(|value| {
            // SAFETY: both are values of the column's type.
            unsafe { self.form.fingerprint(value, keys) == self.form.fingerprint(self.value, keys) }
        })
    }
}

/// How rows of one table find their account.
pub(super) enum Owner<'a> {
    Column(i16, AccountReader),
    Links(Vec<(Key, Option<Kind>, &'a Table)>),
    Nothing,
}

impl<'a> Owner<'a> {
    pub(super) fn of(source: &'a Source, of: pg_sys::Oid) -> Self {
        match source {
            Source::Nothing => Self::Nothing,
            Source::Column(name) => match column_number(of, name) {
                Some(number) => match Form::of(of, number) {
                    Some(form) => Self::Column(number, AccountReader::new(form)),
                    None => Self::Nothing,
                },
                None => Self::Nothing,
            },
            Source::Links(ways) => {
                let way = |way: &'a Way| {
                    let (forms, rows) = way.parent.as_ref().as_ref()?;
                    let key = Key::of(of, std::slice::from_ref(&way.via))?;
                    let fits = key.forms()[0].fits(forms[0]);
                    let kind = way.when.as_ref().map(|when| Kind::of(of, when));
                    let kind = match kind {
                        None => None,
                        Some(kind) => Some(kind?),
                    };
                    fits.then_some((key, kind, rows))
                };
                Self::Links(ways.iter().filter_map(way).collect())
            }
        }
    }

    pub(super) fn has_column(&self) -> bool {
        matches!(self, Self::Column(..))
    }

    pub(super) fn widest(&self) -> i16 {
        match self {
            Self::Column(number, _) => *number,
            Self::Links(ways) => {
                let way = |(key, kind, _): &(Key, Option<Kind>, _)| {
                    key.widest()
                        .max(kind.as_ref().map_or(0, |kind| kind.number))
                };
                ways.iter().map(way).max().unwrap_or(0)
            }
            Self::Nothing => 0,
        }
    }

    /// The account of a row, [`NO_ACCOUNT`] where its column is null; none where the row has no way to
    /// an account.
    ///
    /// # Safety
    /// The row must be of the table.
    pub(super) unsafe fn account(
        &mut self,
        row: &Row,
        keys: &Keys,
        accounts: &mut Accounts,
    ) -> Option<u32> {
        match self {
            Self::Column(number, reader) => Some(match row.get(*number) {
                // SAFETY: the caller vouches; the reader is of the column's form.
                Some(value) => unsafe { reader.number(value, keys, accounts) },
                None => NO_ACCOUNT,
            }),
            Self::Links(ways) => ways.iter().find_map(|(key, kind, rows)| {
                // SAFETY: as above.
                unsafe {
                    if kind.as_ref().is_some_and(|kind| !kind.is(row, keys)) {
                        return None;
                    }
                    rows.get(key.fingerprint(row, keys)?)
                }
            }),
            Self::Nothing => None,
        }
    }
}

/// A reference as rows of one table follow it.
pub(super) struct Reaching<'a> {
    key: Key,
    kind: Option<Kind>,
    rows: &'a Table,
}

impl<'a> Reaching<'a> {
    pub(super) fn new(
        reference: &Reference,
        referred: Option<&'a (Vec<Form>, Table)>,
        of: pg_sys::Oid,
    ) -> Option<Self> {
        let (forms, rows) = referred?;
        let key = Key::of(of, &reference.columns)?;
        let own = key.forms();
        let kind = match &reference.when {
            Some(when) => Some(Kind::of(of, when)?),
            None => None,
        };
        let fits = own.iter().zip(forms).all(|(one, other)| one.fits(*other));
        fits.then_some(Self { key, kind, rows })
    }

    pub(super) fn widest(&self) -> i16 {
        let kind = self.kind.as_ref().map_or(0, |kind| kind.number);
        self.key.widest().max(kind)
    }

    /// # Safety
    /// The row must be of the table.
    pub(super) unsafe fn follow(
        &mut self,
        row: &Row,
        account: Option<u32>,
        part: Part,
        keys: &Keys,
        found: &mut Misdirected,
        shown: &Shown,
    ) {
        // SAFETY: the caller vouches.
        unsafe {
            if self.kind.as_ref().is_some_and(|kind| !kind.is(row, keys)) {
                return;
            }
            let Some(fingerprint) = self.key.fingerprint(row, keys) else {
                return;
            };
            if !part.has(&self.key, row) {
                return;
            }
            match (self.rows.get(fingerprint), account) {
                (None, _) => found.dangling.add(|| shown.text(row)),
                // Rows without an account are everybody's; a row that leads nowhere is nobody's.
                (Some(NO_ACCOUNT), _) | (_, None) => {}
                (Some(parent), Some(account)) if parent != account => {
                    found.foreign.add(|| shown.text(row));
                }
                _ => {}
            }
        }
    }
}

/// How a row of one table is named: by its primary key, else by where it stands.
pub(super) struct Shown(Option<Key>);

impl Shown {
    pub(super) fn of(of: pg_sys::Oid) -> Self {
        let columns = registry::read(
            "SELECT a.attname::text FROM pg_index AS i \
             CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) \
                 WITH ORDINALITY AS k (number, position) \
             JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number \
             WHERE i.indrelid = $1 AND i.indisprimary ORDER BY k.position",
            &[of.into()],
            |row| row.get::<String>(1).map(Option::unwrap_or_default),
        );
        Self(
            (!columns.is_empty())
                .then(|| Key::of(of, &columns))
                .flatten(),
        )
    }

    pub(super) fn widest(&self) -> i16 {
        self.0.as_ref().map_or(0, Key::widest)
    }

    /// # Safety
    /// The row must be of the table.
    pub(super) unsafe fn text(&self, row: &Row) -> String {
        let Some(key) = &self.0 else {
            let (block, number) = row.place();
            return format!("({block},{number})");
        };
        let texts: Vec<_> = { key.0.iter() }
            .filter_map(|(number, form)| {
                // SAFETY: the caller vouches; the form is the column's.
                row.get(*number).map(|value| unsafe { form.text(value) })
            })
            .collect();
        texts.join(",")
    }
}
