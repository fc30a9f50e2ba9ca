//! What verification can find.

use std::fmt;

/// A kind of damage. The list is closed and documented in `docs/ledger-format.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// An event or its leaf hash was changed: the one does not give the other.
    EventAltered,
    /// The events of an account in a block are not the sealed ones.
    EventSetChanged,
    /// An event of another database that no block took over.
    EventUnclaimed,
    /// A context record was changed.
    ContextAltered,
    /// The context record of an event is gone.
    ContextMissing,
    /// A context record that no event names.
    ContextUnreferenced,
    /// Personal values do not open their commitment.
    PersonalAltered,
    /// Personal values or their salt are gone and no erasure accounts for it.
    PersonalMissing,
    /// An erasure names an event whose personal values are there.
    PersonalRestored,
    /// The data of an event is gone, and no rule let it go.
    DataMissing,
    /// A row of `ledger_account` is not what the sealed leaves give.
    AccountAltered,
    /// The row of an account with sealed events is gone.
    AccountMissing,
    /// A row of `ledger_pruned` is not what the sealed leaves give.
    PrunedAltered,
    /// A block states rules that keep less than those before, or lets go what they keep.
    RetentionBroken,
    /// A row of `ledger_leaf` is not what was sealed.
    LeafAltered,
    /// A leaf of the global tree is gone.
    LeafMissing,
    /// A leaf that was not sealed.
    LeafInserted,
    /// A row of `ledger_block` is not what was sealed.
    BlockAltered,
    /// A block is gone.
    BlockMissing,
    /// What a block says was captured is not what it was sealed with.
    ConfigurationAltered,
    /// A block does not follow from the one before it.
    ChainBroken,
    /// The ledger is not the one the given checkpoint is of.
    CheckpointMismatch,
    /// The ledger ends before the given checkpoint.
    CheckpointTruncated,
    /// An index of a table of the ledger does not lead to the rows the table holds.
    IndexDiffers,
}

impl Code {
    /// Every code, in order.
    pub const ALL: [Self; 24] = [
        Self::EventAltered,
        Self::EventSetChanged,
        Self::EventUnclaimed,
        Self::ContextAltered,
        Self::ContextMissing,
        Self::ContextUnreferenced,
        Self::PersonalAltered,
        Self::PersonalMissing,
        Self::PersonalRestored,
        Self::DataMissing,
        Self::AccountAltered,
        Self::AccountMissing,
        Self::PrunedAltered,
        Self::RetentionBroken,
        Self::LeafAltered,
        Self::LeafMissing,
        Self::LeafInserted,
        Self::BlockAltered,
        Self::BlockMissing,
        Self::ConfigurationAltered,
        Self::ChainBroken,
        Self::CheckpointMismatch,
        Self::CheckpointTruncated,
        Self::IndexDiffers,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventAltered => "event_altered",
            Self::EventSetChanged => "event_set_changed",
            Self::EventUnclaimed => "event_unclaimed",
            Self::ContextAltered => "context_altered",
            Self::ContextMissing => "context_missing",
            Self::ContextUnreferenced => "context_unreferenced",
            Self::PersonalAltered => "personal_altered",
            Self::PersonalMissing => "personal_missing",
            Self::PersonalRestored => "personal_restored",
            Self::DataMissing => "data_missing",
            Self::AccountAltered => "account_altered",
            Self::AccountMissing => "account_missing",
            Self::PrunedAltered => "pruned_altered",
            Self::RetentionBroken => "retention_broken",
            Self::LeafAltered => "leaf_altered",
            Self::LeafMissing => "leaf_missing",
            Self::LeafInserted => "leaf_inserted",
            Self::BlockAltered => "block_altered",
            Self::BlockMissing => "block_missing",
            Self::ConfigurationAltered => "configuration_altered",
            Self::ChainBroken => "chain_broken",
            Self::CheckpointMismatch => "checkpoint_mismatch",
            Self::CheckpointTruncated => "checkpoint_truncated",
            Self::IndexDiffers => "index_differs",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One piece of damage, as exactly named as the ledger allows. No finding holds a value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Kind of damage.
    pub code: Code,
    /// Block, of a sealed thing.
    pub block: Option<i64>,
    /// Account in canonical text.
    pub account: Option<String>,
    /// Text of the [`EventKey`](crate::event::EventKey).
    pub event_id: Option<String>,
    /// Relation the event is about.
    pub relation: Option<String>,
    /// What differs from what, for a person.
    pub detail: String,
}

impl Finding {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            code,
            block: None,
            account: None,
            event_id: None,
            relation: None,
            detail,
        }
    }

    /// The rows that an index of `relation` leads to are not those that the relation holds.
    pub fn index_differs(relation: &str, by_index: u64, held: u64) -> Self {
        let detail = match by_index == held {
            true => format!("its index leads to {held} rows, but not to those it holds"),
            false => format!("its index leads to {by_index} rows, it holds {held}"),
        };
        Self {
            relation: Some(relation.to_owned()),
            ..Self::new(Code::IndexDiffers, detail)
        }
    }

    pub(super) fn block(mut self, block: i64) -> Self {
        self.block = Some(block);
        self
    }

    pub(super) fn account(mut self, account: &str) -> Self {
        self.account = Some(account.to_owned());
        self
    }
}
