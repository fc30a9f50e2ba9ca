//! Receipts: proof that an event is in the ledger, a C2SP `tlog-proof`
//! (<https://c2sp.org/tlog-proof>) whose extra data opens the leaf.
//!
//! The leaf in the log is the account record of the event's block. The extra data holds the event
//! and its path to that record; `docs/ledger-format.md` says how.

use std::cmp::Ordering;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::bundle::rows::{Bytes, ContextRow, EventRow};
use crate::checkpoint::Checkpoint;
use crate::event::{Context, Entry, EventKey, personal_commitment};
use crate::ledger::{AccountLeaf, StoredEvent, blinded_account};
use crate::merkle::Hash;
use crate::proof::root_of_inclusion;

const HEADER: &str = "c2sp.org/tlog-proof@v1";
const RECEIPT: &str = "tenant_guard/event";
const VERSION: i64 = 1;

/// A `tlog-proof` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof<'a> {
    /// What the application adds; not authenticated by itself.
    pub extra: Option<Vec<u8>>,
    /// Place of the entry in the log, counted from 0.
    pub index: u64,
    /// From the leaf's sibling upwards.
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: &'a str,
}

impl fmt::Display for LogProof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl<'a> LogProof<'a> {
    /// Reads a proof; `None` when the text is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (proof, checkpoint) = text.split_once("\n\n")?;
        let mut lines = proof.split('\n');
        if lines.next()? != HEADER {
            return None;
        }
        let mut line = lines.next()?;
        let extra = match line.strip_prefix("extra ") {
            Some(encoded) => {
                line = lines.next()?;
                Some(STANDARD.decode(encoded).ok()?)
            }
            None => None,
        };
        let number = line.strip_prefix("index ")?;
        let index: u64 = number.parse().ok()?;
        let path = lines
            .map(|line| STANDARD.decode(line).ok()?.try_into().ok())
            .collect::<Option<Vec<Hash>>>()?;
        let possible = index.to_string() == number && path.len() <= 64 && !checkpoint.is_empty();
        possible.then_some(Self {
            extra,
            index,
            path,
            checkpoint,
        })
    }
}

/// The extra data of a receipt, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening<'a> {
    /// Always `tenant_guard/event`.
    pub receipt: String,
    /// Always 1.
    pub version: i64,
    /// The event, or what the holder may know of it.
    #[serde(borrow)]
    pub event: EventRow<'a>,
    /// SHA-256 of `data`, where the event has it and it is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_hash: Option<Bytes<'a>>,
    /// The context the event names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextRow<'a>>,
    /// What the account record of the block says but for the root of its events.
    pub account: AccountOpening<'a>,
    /// Place of the event among those of the account in the block, counted from 0.
    pub index: u64,
    /// From the event's sibling upwards to the root of the account's events in the block.
    pub path: Vec<Bytes<'a>>,
}

/// Columns of the account record, and what hides the account in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the columns are described in docs/ledger-format.md"
)]
pub struct AccountOpening<'a> {
    pub block: i64,
    #[serde(borrow)]
    pub blinding: Bytes<'a>,
    pub events: i64,
    pub account_size: i64,
    pub account_root: Bytes<'a>,
}

/// How much of an event its receipt tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// All that is stored.
    All,
    /// Not the values of the row, but their hash and the commitment to personal ones.
    Hashes,
}

/// Makes the opening of an event. `context` is what the event names.
pub fn open<'a>(
    event: &StoredEvent<'a>,
    context: Option<(&Context<'a>, &'a [u8])>,
    telling: Telling,
    account: AccountOpening<'a>,
    (index, path): (u64, &'a [Hash]),
) -> Opening<'a> {
    let mut row = EventRow::of(event);
    let told = telling == Telling::All;
    let data_hash = event.data_hash().filter(|_| !told || event.is_pruned());
    // A receipt says it in one place, whoever withholds the data.
    row.data_hash = None;
    if !told {
        (row.data, row.personal, row.personal_salt) = (None, None, None);
    }
    Opening {
        receipt: RECEIPT.to_owned(),
        version: VERSION,
        event: row,
        data_hash: data_hash.map(|hash| Bytes(hash.to_vec().into())),
        context: context.map(|(context, hash)| ContextRow::of(context, hash)),
        account,
        index,
        path: path.iter().map(|hash| Bytes(hash.into())).collect(),
    }
}

/// Why a receipt proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not a receipt of this format.
    #[error("not a receipt: {0}")]
    Malformed(String),
    /// The event, or its leaf hash, is not the one that was sealed.
    #[error("the columns of the event do not give its leaf hash")]
    Event,
    /// The context is not the one the event was sealed with.
    #[error("the context does not give its hash, or is not the event's")]
    Context,
    /// Personal values are not those that were sealed.
    #[error("the personal values do not open their commitment")]
    Personal,
    /// The event is not in the tree the checkpoint is of.
    #[error("the paths do not lead to the root of the checkpoint")]
    Inclusion,
}

/// What a sound receipt shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The event.
    pub event: EventKey,
    /// Its account in canonical text.
    pub account: String,
    /// Block that holds it.
    pub block: i64,
    /// State of the log that holds the block.
    pub checkpoint: Checkpoint,
}

/// Verifies all of a receipt but the signatures of its checkpoint. Also returns the note that the
/// checkpoint came in.
pub fn verify(text: &str) -> Result<(Shown, &str), ReceiptError> {
    let malformed = |what: &str| ReceiptError::Malformed(what.to_owned());
    let proof = LogProof::parse(text).ok_or_else(|| malformed("it is no tlog-proof"))?;
    let extra = proof.extra.as_deref().unwrap_or_default();
    // A list of values in order would pass for an object.
    if !extra.trim_ascii_start().starts_with(b"{") {
        return Err(malformed("its extra data is no object"));
    }
    let opening: Opening<'_> =
        serde_json::from_slice(extra).map_err(|error| malformed(&error.to_string()))?;
    if opening.receipt != RECEIPT || opening.version != VERSION {
        return Err(malformed("it is of another kind or version"));
    }
    let checkpoint: Checkpoint = proof
        .checkpoint
        .parse()
        .map_err(|_| malformed("its checkpoint is none of a tenant_guard ledger"))?;
    let leaf = opening.leaf()?;
    let account = opening.account_leaf(leaf).ok_or(ReceiptError::Inclusion)?;
    let root = root_of_inclusion(account.hash(), proof.index, checkpoint.size, &proof.path);
    if root != Some(checkpoint.root) {
        return Err(ReceiptError::Inclusion);
    }
    let event = &opening.event;
    let shown = Shown {
        event: EventKey {
            incarnation: event.incarnation,
            xid: event.xid,
            ordinal: event.ordinal,
        },
        account: event.account_id.0.clone().into_owned(),
        block: opening.account.block,
        checkpoint,
    };
    Ok((shown, proof.checkpoint))
}

impl Opening<'_> {
    /// The leaf hash that the event's columns give.
    fn leaf(&self) -> Result<Hash, ReceiptError> {
        let context = self.context()?;
        let told = |hash: &Bytes<'_>| <Hash>::try_from(&*hash.0).map_err(|_| ReceiptError::Event);
        let data_hash = self.data_hash.as_ref().map(told).transpose()?;
        let leaf = self.event.stored(|event| {
            let beside = event.entry.data.is_some() && data_hash.is_some();
            if beside || event.data_hash.is_some() {
                return Err(ReceiptError::Event);
            }
            check_personal(event)?;
            let data = data_hash.or_else(|| event.entry.data_hash());
            let entry = Entry {
                context,
                ..event.entry
            };
            Ok(entry.leaf_hash_of_data(data, &mut Vec::new()))
        })?;
        match leaf[..] == self.event.leaf_hash.0[..] {
            true => Ok(leaf),
            false => Err(ReceiptError::Event),
        }
    }

    fn context(&self) -> Result<Option<Hash>, ReceiptError> {
        let Some(context) = &self.context else {
            return Ok(None);
        };
        let event = &self.event;
        let named = (context.incarnation, context.xid, Some(context.number))
            == (event.incarnation, event.xid, event.context);
        let hash = context.stored(|context| context.hash());
        match named && hash[..] == context.hash.0[..] {
            true => Ok(Some(hash)),
            false => Err(ReceiptError::Context),
        }
    }

    /// The account record that the event's leaf gives.
    fn account_leaf(&self, leaf: Hash) -> Option<AccountLeaf> {
        let account = &self.account;
        let events = u64::try_from(account.events).ok()?;
        let path = self
            .path
            .iter()
            .map(|hash| <Hash>::try_from(&*hash.0).ok())
            .collect::<Option<Vec<_>>>()?;
        let blinding = account.blinding.0.as_ref().try_into().ok()?;
        let record = AccountLeaf {
            block: account.block,
            blinded_id: blinded_account(blinding, &self.event.account_id.0),
            events: account.events,
            events_root: root_of_inclusion(leaf, self.index, events, &path)?,
            size: account.account_size,
            root: account.account_root.0.as_ref().try_into().ok()?,
        };
        // The first events of an account are its whole tree.
        let possible = match record.size.cmp(&record.events) {
            Ordering::Less => false,
            Ordering::Equal => record.root == record.events_root,
            Ordering::Greater => true,
        };
        possible.then_some(record)
    }
}

/// Personal values that are told must open their commitment; they need not be told.
fn check_personal(event: &StoredEvent<'_>) -> Result<(), ReceiptError> {
    let opens = match (event.personal, event.personal_salt) {
        (None, None) => true,
        (Some(personal), Some(salt)) => salt
            .try_into()
            .is_ok_and(|salt| event.entry.personal == Some(&personal_commitment(salt, personal))),
        _ => false,
    };
    opens.then_some(()).ok_or(ReceiptError::Personal)
}
