//! Looking back: the events of a row, rows as they stood, whether a table is what its events made of it,
//! and who of an account may read its log.

mod access;
pub(crate) mod answer;
mod as_of;
mod baseline;
mod events;
mod limit;
pub(crate) mod readers;
mod row;
mod verify;

pub(crate) use row::events_of_rows;

use crate::error::{Error, Looking};
use tenant_guard_core::history::as_logged;

/// The name of a relation as events bear it.
fn named(relation: Option<&str>) -> Result<String, Error> {
    let relation = relation.ok_or(Error::NullArgument("relation"))?;
    as_logged(relation).map_err(|_| Error::Looking(Looking::UnfitName))
}
