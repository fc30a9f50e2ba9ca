//! The ledger over events: blocks, account trees, one global tree an epoch.

mod records;
mod snapshot;

pub use records::{AccountLeaf, BlockRecord, EpochRecord, EventsHash, NO_BLOCK, blinded_account};
pub use snapshot::{Adopted, InvalidAdopted, InvalidSnapshot, Snapshot, XidRanges};
