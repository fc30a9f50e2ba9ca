//! Rows of the ledger's tables as JSON: columns by name, NULL left out, byte strings in
//! hexadecimal, times in microseconds since 1970-01-01 UTC.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Context, Entry, EventKey};
use crate::ledger::{StoredAccount, StoredBlock, StoredEvent, StoredLeaf, StoredPruned};

/// Text, borrowed from the JSON where it stands there without an escape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A byte string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes<'a>(pub Cow<'a, [u8]>);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        if text.0.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(serde::de::Error::custom(
                "a hexadecimal digit in upper case",
            ));
        }
        let bytes = hex::decode(text.0.as_bytes()).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes.into()))
    }
}

/// A member that is there: NULL is left out, and never written as such.
fn told<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A list that is there: an empty one is left out.
fn not_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(deserializer)?;
    match list.is_empty() {
        true => Err(serde::de::Error::custom("an empty list")),
        false => Ok(list),
    }
}

fn text(text: &str) -> Text<'_> {
    Text(text.into())
}

fn texts<'a>(list: &[&'a str]) -> Vec<Text<'a>> {
    list.iter().map(|element| text(element)).collect()
}

fn bytes(bytes: &[u8]) -> Bytes<'_> {
    Bytes(bytes.into())
}

fn borrowed<'t>(texts: &'t [Text<'_>]) -> Vec<&'t str> {
    texts.iter().map(|text| &*text.0).collect()
}

fn str_of<'t>(text: &'t Option<Text<'_>>) -> Option<&'t str> {
    text.as_ref().map(|text| &*text.0)
}

fn slice_of<'t>(bytes: &'t Option<Bytes<'_>>) -> Option<&'t [u8]> {
    bytes.as_ref().map(|bytes| &*bytes.0)
}

/// A row of `audit_log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the columns are described in docs/ledger-format.md"
)]
pub struct EventRow<'a> {
    pub incarnation: i64,
    pub xid: i64,
    pub ordinal: i32,
    pub command_id: i64,
    #[serde(borrow)]
    pub kind: Text<'a>,
    pub action: Text<'a>,
    pub account_id: Text<'a>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub relation: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub leaf_relation: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub row_key: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub target: Option<Text<'a>>,
    pub occurred_at: i64,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub context: Option<i16>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub data: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub data_hash: Option<Bytes<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub personal: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub personal_salt: Option<Bytes<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub personal_commitment: Option<Bytes<'a>>,
    #[serde(
        default,
        deserialize_with = "not_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub redacted: Vec<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "not_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub hashed: Vec<Text<'a>>,
    pub leaf_hash: Bytes<'a>,
}

impl<'a> EventRow<'a> {
    /// The row as JSON gives it.
    pub fn of(event: &StoredEvent<'a>) -> Self {
        let entry = &event.entry;
        Self {
            incarnation: entry.key.incarnation,
            xid: entry.key.xid,
            ordinal: entry.key.ordinal,
            command_id: entry.command_id,
            kind: text(entry.kind),
            action: text(entry.action),
            account_id: text(entry.account),
            relation: entry.relation.map(text),
            leaf_relation: entry.leaf_relation.map(text),
            row_key: entry.row_key.map(text),
            target: entry.target.map(text),
            occurred_at: entry.occurred_at,
            context: event.context,
            data: entry.data.map(text),
            data_hash: event.data_hash.map(bytes),
            personal: event.personal.map(text),
            personal_salt: event.personal_salt.map(bytes),
            personal_commitment: entry.personal.map(bytes),
            redacted: texts(entry.redacted),
            hashed: texts(entry.hashed),
            leaf_hash: bytes(event.leaf_hash),
        }
    }

    /// Hands over the row as verification takes it.
    pub fn stored<T>(&self, work: impl FnOnce(&StoredEvent<'_>) -> T) -> T {
        let (redacted, hashed) = (borrowed(&self.redacted), borrowed(&self.hashed));
        work(&StoredEvent {
            entry: Entry {
                key: EventKey {
                    incarnation: self.incarnation,
                    xid: self.xid,
                    ordinal: self.ordinal,
                },
                command_id: self.command_id,
                kind: &self.kind.0,
                action: &self.action.0,
                account: &self.account_id.0,
                relation: str_of(&self.relation),
                leaf_relation: str_of(&self.leaf_relation),
                row_key: str_of(&self.row_key),
                target: str_of(&self.target),
                occurred_at: self.occurred_at,
                context: None,
                data: str_of(&self.data),
                personal: slice_of(&self.personal_commitment),
                redacted: &redacted,
                hashed: &hashed,
            },
            context: self.context,
            leaf_hash: &self.leaf_hash.0,
            data_hash: slice_of(&self.data_hash),
            personal: str_of(&self.personal),
            personal_salt: slice_of(&self.personal_salt),
        })
    }
}

/// A row of `audit_context`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the columns are described in docs/ledger-format.md"
)]
pub struct ContextRow<'a> {
    pub incarnation: i64,
    pub xid: i64,
    pub number: i16,
    #[serde(
        borrow,
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub issuer: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub token_id: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub session: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub subject: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub role: Option<Vec<Text<'a>>>,
    pub session_role: Text<'a>,
    pub current_role: Text<'a>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub client_address: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub application_name: Option<Text<'a>>,
    pub transaction_start: i64,
    pub hash: Bytes<'a>,
}

impl<'a> ContextRow<'a> {
    /// The row as JSON gives it.
    pub fn of(context: &Context<'a>, hash: &'a [u8]) -> Self {
        Self {
            incarnation: context.incarnation,
            xid: context.xid,
            number: context.number,
            issuer: context.issuer.map(text),
            token_id: context.token_id.map(text),
            session: context.session.map(text),
            subject: context.subject.map(text),
            role: context.roles.map(texts),
            session_role: text(context.session_role),
            current_role: text(context.current_role),
            client_address: context.client_address.map(text),
            application_name: context.application_name.map(text),
            transaction_start: context.transaction_start,
            hash: bytes(hash),
        }
    }

    /// Hands over the row as verification takes it, beside its hash.
    pub fn stored<T>(&self, work: impl FnOnce(&Context<'_>) -> T) -> T {
        let roles = self.role.as_deref().map(borrowed);
        work(&Context {
            incarnation: self.incarnation,
            xid: self.xid,
            number: self.number,
            issuer: str_of(&self.issuer),
            token_id: str_of(&self.token_id),
            session: str_of(&self.session),
            subject: str_of(&self.subject),
            roles: roles.as_deref(),
            session_role: &self.session_role.0,
            current_role: &self.current_role.0,
            client_address: str_of(&self.client_address),
            application_name: str_of(&self.application_name),
            transaction_start: self.transaction_start,
        })
    }
}

/// A row of `ledger_account`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the columns are described in docs/ledger-format.md"
)]
pub struct AccountRow<'a> {
    #[serde(borrow)]
    pub account_id: Text<'a>,
    pub blinding: Bytes<'a>,
    pub size: i64,
    pub state: Bytes<'a>,
}

impl<'a> AccountRow<'a> {
    /// The row as JSON gives it.
    pub fn of(row: &StoredAccount<'a>) -> Self {
        Self {
            account_id: text(row.account),
            blinding: bytes(row.blinding),
            size: row.size,
            state: bytes(row.state),
        }
    }

    /// The row as verification takes it.
    pub fn stored(&self) -> StoredAccount<'_> {
        StoredAccount {
            account: &self.account_id.0,
            blinding: &self.blinding.0,
            size: self.size,
            state: &self.state.0,
        }
    }
}

/// A row of `ledger_pruned`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the columns are described in docs/ledger-format.md"
)]
pub struct PrunedRow<'a> {
    pub block: i64,
    #[serde(borrow)]
    pub account_id: Text<'a>,
    pub size: i64,
    pub state: Bytes<'a>,
}

impl<'a> PrunedRow<'a> {
    /// The row as JSON gives it.
    pub fn of(row: &StoredPruned<'a>) -> Self {
        Self {
            block: row.block,
            account_id: text(row.account),
            size: row.size,
            state: bytes(row.state),
        }
    }

    /// The row as verification takes it.
    pub fn stored(&self) -> StoredPruned<'_> {
        StoredPruned {
            block: self.block,
            account: &self.account_id.0,
            size: self.size,
            state: &self.state.0,
        }
    }
}

/// A row of `ledger_block`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the columns are described in docs/ledger-format.md"
)]
pub struct BlockRow<'a> {
    pub version: i64,
    pub block: i64,
    pub epoch: i64,
    pub incarnation: i64,
    pub timeline: i32,
    #[serde(borrow)]
    pub snapshot: Text<'a>,
    pub adopted: Text<'a>,
    pub events: i64,
    pub accounts: i64,
    pub sealed_at: i64,
    pub previous_hash: Bytes<'a>,
    pub previous_size: i64,
    pub previous_root: Bytes<'a>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub previous_checkpoint: Option<Text<'a>>,
    pub configuration_hash: Bytes<'a>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub configuration: Option<Text<'a>>,
    pub hash: Bytes<'a>,
    pub tree_size: i64,
    pub root: Bytes<'a>,
    pub state: Bytes<'a>,
}

impl<'a> BlockRow<'a> {
    /// The row as JSON gives it.
    pub fn of(row: &StoredBlock<'a>) -> Self {
        Self {
            version: row.version,
            block: row.block,
            epoch: row.epoch,
            incarnation: row.incarnation,
            timeline: row.timeline,
            snapshot: text(row.snapshot),
            adopted: text(row.adopted),
            events: row.events,
            accounts: row.accounts,
            sealed_at: row.sealed_at,
            previous_hash: bytes(row.previous_hash),
            previous_size: row.previous_size,
            previous_root: bytes(row.previous_root),
            previous_checkpoint: row.previous_checkpoint.map(text),
            configuration_hash: bytes(row.configuration_hash),
            configuration: row.configuration.map(text),
            hash: bytes(row.hash),
            tree_size: row.tree_size,
            root: bytes(row.root),
            state: bytes(row.state),
        }
    }

    /// The row as verification takes it.
    pub fn stored(&self) -> StoredBlock<'_> {
        StoredBlock {
            version: self.version,
            block: self.block,
            epoch: self.epoch,
            incarnation: self.incarnation,
            timeline: self.timeline,
            snapshot: &self.snapshot.0,
            adopted: &self.adopted.0,
            events: self.events,
            accounts: self.accounts,
            sealed_at: self.sealed_at,
            previous_hash: &self.previous_hash.0,
            previous_size: self.previous_size,
            previous_root: &self.previous_root.0,
            previous_checkpoint: str_of(&self.previous_checkpoint),
            configuration_hash: &self.configuration_hash.0,
            configuration: str_of(&self.configuration),
            hash: &self.hash.0,
            tree_size: self.tree_size,
            root: &self.root.0,
            state: &self.state.0,
        }
    }
}

/// A row of `ledger_leaf`. In the bundle of one account the leaves of others have no `account_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the columns are described in docs/ledger-format.md"
)]
pub struct LeafRow<'a> {
    pub epoch: i64,
    pub position: i64,
    pub block: i64,
    #[serde(
        borrow,
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub account_id: Option<Text<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub blinded_id: Option<Bytes<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub events: Option<i64>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub events_root: Option<Bytes<'a>>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub account_size: Option<i64>,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    pub account_root: Option<Bytes<'a>>,
    pub leaf_hash: Bytes<'a>,
}

impl<'a> LeafRow<'a> {
    /// The row as JSON gives it.
    pub fn of(row: &StoredLeaf<'a>) -> Self {
        Self {
            epoch: row.epoch,
            position: row.position,
            block: row.block,
            account_id: row.account.map(text),
            blinded_id: row.blinded_id.map(bytes),
            events: row.events,
            events_root: row.events_root.map(bytes),
            account_size: row.size,
            account_root: row.root.map(bytes),
            leaf_hash: bytes(row.leaf_hash),
        }
    }

    /// The row as verification takes it.
    pub fn stored(&self) -> StoredLeaf<'_> {
        StoredLeaf {
            epoch: self.epoch,
            position: self.position,
            block: self.block,
            account: str_of(&self.account_id),
            blinded_id: slice_of(&self.blinded_id),
            events: self.events,
            events_root: slice_of(&self.events_root),
            size: self.account_size,
            root: slice_of(&self.account_root),
            leaf_hash: &self.leaf_hash.0,
        }
    }
}
