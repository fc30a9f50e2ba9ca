//! Audited facts: their keys, the bytes that are hashed for them, and their leaf hashes.
//!
//! `docs/ledger-format.md` is the law here; every array below stands there field by field.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::cbor::{Out, Writer};
use crate::merkle::Hash;

/// Version of all records written by this code.
pub const FORMAT_VERSION: i64 = 1;

const LEAF: u8 = 0x00;
const PERSONAL: u8 = 0x03;

/// Names one database of one cluster, so that keys of events never repeat after a restore
/// elsewhere: the first eight bytes of a SHA-256, as a signed number because SQL has no other.
pub fn incarnation(system_identifier: u64, database_oid: u32) -> i64 {
    let hash = Sha256::new()
        .chain_update(b"tenant_guard incarnation\0")
        .chain_update(system_identifier.to_be_bytes())
        .chain_update(database_oid.to_be_bytes())
        .finalize();
    let [a, b, c, d, e, f, g, h, ..] = <Hash>::from(hash);
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The key of an event, unique over every database the ledger has lived in.
///
/// Its text form, the `event_id`, is the incarnation as 16 hexadecimal digits of its unsigned
/// value, the transaction id and the ordinal in decimal: `9f86d081884c7d65-1234-7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKey {
    /// Database of its origin, see [`incarnation`].
    pub incarnation: i64,
    /// Top-level transaction, 64 bits wide (`xid8`).
    pub xid: i64,
    /// Position among the transaction's events in the order they were captured.
    pub ordinal: i32,
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}-{}", self.incarnation, self.xid, self.ordinal)
    }
}

/// The text is not an event id in its one canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid event id")]
pub struct InvalidEventId;

impl FromStr for EventKey {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let parse = || {
            let mut parts = text.splitn(3, '-');
            let key = Self {
                incarnation: u64::from_str_radix(parts.next()?, 16).ok()? as i64,
                xid: parts.next()?.parse().ok()?,
                ordinal: parts.next()?.parse().ok()?,
            };
            // Comparing with the canonical text refuses signs, leading zeros and upper case.
            (key.xid >= 0 && key.ordinal >= 0 && key.to_string() == text).then_some(key)
        };
        parse().ok_or(InvalidEventId)
    }
}

/// Who may have written an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A change of a protected row, captured by the trigger.
    Row,
    /// A fact the application recorded.
    Application,
    /// A privileged act of the extension itself.
    System,
}

impl Kind {
    /// The text that is stored and hashed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Application => "application",
            Self::System => "system",
        }
    }
}

/// Who acted in a transaction and from where; events name it by its hash. A transaction has one
/// for each identity and role that wrote events in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context<'a> {
    /// Database of the transaction, see [`incarnation`].
    pub incarnation: i64,
    /// The transaction, 64 bits wide.
    pub xid: i64,
    /// Position among the contexts of one transaction.
    pub number: i16,
    /// `iss` of the token.
    pub issuer: Option<&'a str>,
    /// `jti` of the token.
    pub token_id: Option<&'a str>,
    /// Session the token names.
    pub session: Option<&'a str>,
    /// Subject of the token.
    pub subject: Option<&'a str>,
    /// Roles of the token.
    pub roles: Option<&'a [&'a str]>,
    /// `session_user` of the database.
    pub session_role: &'a str,
    /// `current_user` of the database.
    pub current_role: &'a str,
    /// Address of the client, null on a local socket.
    pub client_address: Option<&'a str>,
    /// `application_name` of the connection.
    pub application_name: Option<&'a str>,
    /// When the transaction began, in microseconds since 1970-01-01 UTC.
    pub transaction_start: i64,
}

impl Context<'_> {
    /// Replaces the content of `out` by the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        Writer::new(out)
            .array(15)
            .text("context")
            .int(FORMAT_VERSION)
            .int(self.incarnation)
            .int(self.xid)
            .int(self.number.into())
            .text_or_null(self.issuer)
            .text_or_null(self.token_id)
            .text_or_null(self.session)
            .text_or_null(self.subject)
            .texts_or_null(self.roles)
            .text(self.session_role)
            .text(self.current_role)
            .text_or_null(self.client_address)
            .text_or_null(self.application_name)
            .int(self.transaction_start);
    }

    /// SHA-256 of the record.
    pub fn hash(&self) -> Hash {
        self.hash_in(&mut Vec::with_capacity(256))
    }

    /// The same, with a buffer that is used again.
    pub fn hash_in(&self, buffer: &mut Vec<u8>) -> Hash {
        self.encode(buffer);
        Sha256::digest(&buffer).into()
    }
}

/// One event as it is hashed. Everything is borrowed: capture builds one per changed row.
///
/// Texts are what the database stores, byte for byte, even where only few values are genuine
/// (`kind`): verification must be able to hash whatever it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Key of the event.
    pub key: EventKey,
    /// Command within the transaction; changes happened in the order (xid, command id, ordinal).
    pub command_id: i64,
    /// Text of a [`Kind`].
    pub kind: &'a str,
    /// What was done: `INSERT`, `UPDATE`, or a name the application chose.
    pub action: &'a str,
    /// Account in canonical text; empty for the system account.
    pub account: &'a str,
    /// Schema-qualified name of the relation, of a partition the root's.
    pub relation: Option<&'a str>,
    /// Schema-qualified name of the partition that holds the row, if it is one.
    pub leaf_relation: Option<&'a str>,
    /// Key of the row, JSON text.
    pub row_key: Option<&'a str>,
    /// What an application event is about.
    pub target: Option<&'a str>,
    /// Clock at capture, in microseconds since 1970-01-01 UTC.
    pub occurred_at: i64,
    /// Hash of the transaction's [`Context`].
    pub context: Option<Hash>,
    /// The row or its changed columns, JSON text; the entry holds its SHA-256.
    pub data: Option<&'a str>,
    /// Commitment to the values of personal columns, see [`personal_commitment`].
    pub personal: Option<&'a [u8]>,
    /// Names of columns left out of `data`.
    pub redacted: &'a [&'a str],
    /// Names of columns whose value stands in `data` as a keyed hash.
    pub hashed: &'a [&'a str],
}

/// Bytes of text above which an entry is hashed without being put together: a row's key is as
/// large as the row where that has no primary key. Below, one call of the hash is the faster way.
const LONG: usize = 64 << 10;

impl Entry<'_> {
    /// The leaf hash of the event, `SHA-256(0x00 || entry)`. `buffer` is scratch space.
    pub fn leaf_hash(&self, buffer: &mut Vec<u8>) -> Hash {
        self.leaf_hash_of_data(self.data_hash(), buffer)
    }

    /// The same where only the SHA-256 of [`data`](Self::data) is known.
    pub fn leaf_hash_of_data(&self, data: Option<Hash>, buffer: &mut Vec<u8>) -> Hash {
        let texts = [self.relation, self.leaf_relation, self.row_key, self.target];
        let length: usize = texts.into_iter().flatten().map(str::len).sum();
        if length > LONG {
            let mut hash = Sha256::new_with_prefix([LEAF]);
            self.append_to(data, &mut hash);
            return hash.finalize().into();
        }
        buffer.clear();
        buffer.push(LEAF);
        self.append_to(data, buffer);
        Sha256::digest(&buffer).into()
    }

    /// SHA-256 of [`data`](Self::data).
    pub fn data_hash(&self) -> Option<Hash> {
        self.data.map(|data| Sha256::digest(data).into())
    }

    fn append_to(&self, data: Option<Hash>, out: &mut impl Out) {
        let mut w = Writer::new(out);
        w.array(19)
            .text("entry")
            .int(FORMAT_VERSION)
            .int(self.key.incarnation)
            .int(self.key.xid)
            .int(self.key.ordinal.into())
            .int(self.command_id)
            .text(self.kind)
            .text(self.action)
            .text(self.account)
            .text_or_null(self.relation)
            .text_or_null(self.leaf_relation)
            .text_or_null(self.row_key)
            .text_or_null(self.target)
            .int(self.occurred_at)
            .bytes_or_null(self.context.as_ref().map(Hash::as_slice))
            .bytes_or_null(data.as_ref().map(Hash::as_slice))
            .bytes_or_null(self.personal)
            .texts(self.redacted)
            .texts(self.hashed);
    }
}

/// Replaces the content of `out` by the entry of an event.
pub fn encode_entry(entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.clear();
    entry.append_to(entry.data_hash(), out);
}

/// Commits to personal values without revealing them: `SHA-256(0x03 || salt || personal)`. Once
/// the random salt is gone nobody can tell by trying which values it was.
pub fn personal_commitment(salt: &[u8; 32], personal: &str) -> Hash {
    let hash = Sha256::new().chain_update([PERSONAL]).chain_update(salt);
    hash.chain_update(personal).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long one is hashed as it is encoded, which must come to the same.
    #[test]
    fn leaf_hash_is_that_of_the_entry_however_long() {
        for length in [0, 1, LONG, LONG + 1, 3 * LONG] {
            let key = "k".repeat(length);
            let entry = Entry {
                key: EventKey {
                    incarnation: -1,
                    xid: 1 << 40,
                    ordinal: 70_000,
                },
                command_id: 300,
                kind: "row",
                action: "delete",
                account: "a",
                relation: Some("shop.item"),
                leaf_relation: None,
                row_key: Some(&key),
                target: None,
                occurred_at: -5,
                context: Some([7; 32]),
                data: Some("{}"),
                personal: None,
                redacted: &["b"],
                hashed: &[],
            };
            let (mut buffer, mut record) = (Vec::new(), vec![LEAF]);
            entry.append_to(entry.data_hash(), &mut record);
            let expected: Hash = Sha256::digest(&record).into();
            assert_eq!(entry.leaf_hash(&mut buffer), expected, "{length}");
            assert!(buffer.len() < 2 * LONG);
        }
    }
}
