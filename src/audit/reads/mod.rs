//! Who read what: records made when a statement starts, kept in a buffer that no ROLLBACK reaches, and
//! written to the log by the sealer.

mod copies;
mod fingerprints;
pub(crate) mod flush;
mod hooks;
mod known;
mod memory;
mod notes;
mod persons;
pub(crate) mod refusals;
mod standby;
mod statements;

pub(crate) use copies::{asked_without_executor, granted};
pub(crate) use statements::Ours;

/// Installs the hooks.
pub(crate) fn install() {
    hooks::install();
    refusals::install();
}

/// Makes the buffer of this database where there is none.
pub(crate) fn prepare() {
    memory::Buffer::ensure();
}

/// Whether reads of any relation are audited, be it one that is gone.
pub(crate) fn are_registered() -> bool {
    known::are_registered()
}

/// What the event of a statement that runs is called by the event of its end.
fn name(made_at: i64, number: u64) -> String {
    format!("{made_at:x}-{number:x}")
}
