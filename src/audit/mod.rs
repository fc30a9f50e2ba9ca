//! From a change to an event: triggers that capture rows, events of the application and of the
//! extension itself, and the append-only tables they go to.

mod capture;
mod events;
mod log;
mod pinned;
mod record;
mod relation;
mod tables;
mod text;
mod transaction;
mod values;

pub(crate) use record::record_system;
pub(crate) use tables::{LedgerWriting, ensure_ledger};
pub(crate) use transaction::incarnation;

pgrx::extension_sql_file!("../../sql/audit.sql", name = "audit", requires = ["identity"]);
