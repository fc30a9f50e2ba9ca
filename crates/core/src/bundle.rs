//! Bundles: a ledger, or what it holds of one account, as files that are verified without a
//! database. `docs/ledger-format.md` says what is in them.

mod export;
pub mod rows;
mod trees;
mod verify;
mod write;

use serde::{Deserialize, Serialize};

pub use export::BundleExport;
pub use verify::{BundleError, BundleVerifier, Summary};
pub use write::Sink;

/// Name of the first file.
pub const ABOUT: &str = "bundle.json";

/// What the first file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Always `tenant_guard/ledger`.
    pub bundle: String,
    /// Always 1.
    pub version: i64,
    /// Database it was exported from.
    pub incarnation: i64,
    /// The transaction id that database gave out next.
    pub next_xid: i64,
    /// Account whose events are in it; all where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

const BUNDLE: &str = "tenant_guard/ledger";
const VERSION: i64 = 1;

/// What begins each line of an opening: the table a row is of, or what comes to its end.
mod line {
    pub(super) const ACCOUNT: &str = "ledger_account";
    pub(super) const PRUNED: &str = "ledger_pruned";
    pub(super) const BLOCK: &str = "ledger_block";
    pub(super) const CONTEXT: &str = "audit_context";
    pub(super) const EVENT: &str = "audit_log";
    pub(super) const LEAF: &str = "ledger_leaf";
    pub(super) const END_OF_BLOCK: &str = "end_of_block";
    pub(super) const UNSEALED: &str = "unsealed";
}
