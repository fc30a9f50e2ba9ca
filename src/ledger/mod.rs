//! The tamper-evident structure over events: sealing, checkpoints, verification.

mod history;
pub(crate) mod rows;
mod seal;
pub(crate) mod sealer;
mod status;
mod store;
mod verify;
mod wait;
