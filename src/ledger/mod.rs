//! The tamper-evident structure over events: sealing, checkpoints, verification.

mod export;
mod history;
mod proof;
mod read;
mod receipt;
pub(crate) mod rows;
mod seal;
pub(crate) mod sealer;
mod signing;
mod status;
mod store;
mod verify;
mod wait;
