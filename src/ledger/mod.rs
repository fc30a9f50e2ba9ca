//! The tamper-evident structure over events: sealing, checkpoints, verification.

mod history;
pub(crate) mod rows;
mod seal;
mod status;
mod store;
mod verify;
