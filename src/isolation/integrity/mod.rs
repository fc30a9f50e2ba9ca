//! Rows that belong together belong to one account: keys that hold it, and a look at the data.

mod bind;
mod binding_triggers;
mod buckets;
mod data;
mod examine;
mod keys;
mod origins;
mod pieces;
mod rows;
mod subjects;
mod values;

pub(super) use binding_triggers::{drop_of, holds, is_as_made, is_ours};
