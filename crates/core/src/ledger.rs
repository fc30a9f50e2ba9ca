//! The ledger over events: blocks, account trees, one global tree an epoch.

mod claims;
mod finding;
mod part;
mod reading;
mod records;
pub mod retention;
mod seal;
mod snapshot;
mod stored;
mod verify;

pub use claims::{Claim, Claims};
pub use finding::{Code, Finding};
pub use part::{Depth, Part};
pub use reading::{Rows, Server};
pub use records::{
    AccountLeaf, BlockRecord, EpochRecord, NO_BLOCK, blinded_account, configuration_hash,
};
pub use seal::{AccountRound, BlockPlan, Leaf, Participant, Sealed, seal};
pub use snapshot::{Adopted, InvalidAdopted, InvalidSnapshot, Snapshot, XidRanges};
pub use stored::{
    EventLeaf, Opening, StoredAccount, StoredBlock, StoredEvent, StoredLeaf, StoredPruned,
    epoch_record, leaf_record,
};
pub use verify::{EventChecks, Scope, Verifier};
