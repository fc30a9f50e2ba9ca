//! What rows have in a column that came after them.

use std::ffi::CStr;

use pgrx::pg_sys;
use serde_json::{Map, Value};

use super::pinned::Settings;
use super::standing::tables_of;
use super::values::Form;
use crate::versions;

/// The JSON text, by column, that all rows of before have in new columns of a relation. One is left
/// out where each row has a value of its own, which no catalog holds.
pub(crate) fn of<'a>(
    relation: pg_sys::Oid,
    columns: impl Iterator<Item = &'a str>,
) -> Map<String, Value> {
    let mut filled = Map::new();
    let mut tables = Vec::new();
    for column in columns {
        if tables.is_empty() {
            // A partitioned table has no rows; its partitions know what theirs have, each by itself.
            tables = tables_of(relation);
            if tables.is_empty() {
                tables.push(relation);
            }
        }
        let value = of_column(tables[0], column);
        let same = |table: &pg_sys::Oid| of_column(*table, column) == value;
        if let Some(value) = value.clone().filter(|_| tables.iter().all(same)) {
            filled.insert(column.to_owned(), value.into());
        }
    }
    filled
}

/// Whether a relation has this column, and rows hold no value of it.
pub(crate) fn is_virtual(relation: pg_sys::Oid, column: &str) -> bool {
    // SAFETY: opened and closed here, locked by the running command.
    unsafe {
        let relation = pg_sys::table_open(relation, pg_sys::AccessShareLock as i32);
        let attributes = versions::attributes((*relation).rd_att);
        let found = attributes.iter().any(|attribute| {
            let name = CStr::from_ptr(attribute.attname.data.as_ptr());
            !attribute.attisdropped
                && name.to_bytes() == column.as_bytes()
                && versions::is_virtual(attribute)
        });
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        found
    }
}

fn of_column(table: pg_sys::Oid, column: &str) -> Option<String> {
    let _settings = Settings::pin();
    // SAFETY: opened and closed here, locked by the running command. What a table keeps for rows of before
    // is there where it says so, and of the column's type.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let descriptor = (*relation).rd_att;
        let attributes = versions::attributes(descriptor);
        let named = |attribute: &&pg_sys::FormData_pg_attribute| {
            let name = CStr::from_ptr(attribute.attname.data.as_ptr());
            !attribute.attisdropped && name.to_bytes() == column.as_bytes()
        };
        let value = attributes.iter().find(named).and_then(|attribute| {
            if !attribute.atthasmissing {
                return is_null(attribute).then(|| "null".to_owned());
            }
            let mut null = false;
            let value = pg_sys::getmissingattr(descriptor, attribute.attnum.into(), &mut null);
            let mut out = Vec::new();
            if null {
                out.extend_from_slice(b"null");
            } else {
                Form::of(attribute.atttypid).push(&mut out, value);
            }
            String::from_utf8(out).ok()
        });
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        value
    }
}

/// Whether nothing gave rows of before a value: no default of the column's or its domain's.
fn is_null(attribute: &pg_sys::FormData_pg_attribute) -> bool {
    // SAFETY: a catalog look-up by the oid of an existing type.
    let of_type = unsafe { pg_sys::get_typdefault(attribute.atttypid) };
    !attribute.atthasdef
        && attribute.attidentity == 0
        && attribute.attgenerated == 0
        && of_type.is_null()
}
