//! The tamper-evident structure over events: sealing, checkpoints, verification.

pub(crate) mod rows;
mod seal;
mod status;
mod store;
mod verify;
