//! From a change to an event: triggers that capture rows, events of the application and of the
//! extension itself, and the append-only tables they go to.

mod capture;
pub(crate) mod configuration;
mod events;
pub(crate) mod filling;
pub(crate) mod hash_key;
mod log;
pub(crate) mod partitions;
pub(crate) mod pinned;
pub(crate) mod reads;
pub(crate) mod record;
mod relation;
mod routing;
pub(crate) mod standing;
pub(crate) mod tables;
pub(crate) mod text;
pub(crate) mod transaction;
pub(crate) mod values;
