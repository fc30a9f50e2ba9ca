//! The tamper-evident structure over events: sealing, checkpoints, verification.

mod export;
mod feed;
mod history;
mod index;
pub(crate) mod moment;
mod progress;
mod proof;
mod publication;
mod read;
mod receipt;
mod retention;
pub(crate) mod rows;
mod seal;
pub(crate) mod sealer;
mod signing;
mod since;
mod spans;
mod status;
pub(crate) mod store;
mod verify;
mod wait;

pub(crate) use store::exists;

use crate::catalog::has_role;
use crate::isolation::is_admin;

/// Whether the current user may know of every event: an admin or an auditor.
pub(crate) fn reads_ledger() -> bool {
    is_admin() || has_role(c"tenant_guard_auditor")
}
