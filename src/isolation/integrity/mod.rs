//! Rows that belong together belong to one account: keys that hold it, and a look at the data.

mod bind;
mod buckets;
mod data;
mod examine;
mod firing;
mod keys;
mod origins;
mod owner;
mod path;
mod pieces;
mod rows;
mod subjects;
mod triggers;
mod values;

pub(super) use rows::{is_empty, tables_of};
pub(super) use triggers::{drop_of, holds, is_as_made, is_ours};
