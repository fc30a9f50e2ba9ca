//! Account ids: one canonical text whatever the column type or the token's spelling.

use std::fmt;

use thiserror::Error;
use uuid::Uuid;

/// Length in bytes of a UUID's hyphenated text (RFC 9562 section 4).
const HYPHENATED_UUID_LEN: usize = 36;

/// Longest account id in bytes.
///
/// The ledger keeps a btree of them, whose entries hold no more than 2,704 bytes.
pub const LONGEST_ACCOUNT: usize = 1024;

/// The canonical text of one account (tenant).
///
/// Two ids name the same account exactly when their canonical texts are the same bytes:
/// a hyphenated UUID in lower case, an integer as its decimal digits, any other text as it came.
/// `007` is therefore a text of its own and never account 7.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(String);

/// Why a text cannot name an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AccountError {
    /// The empty text is the system account of the ledger and never a customer's.
    #[error("account id is empty")]
    Empty,
    /// PostgreSQL text cannot hold the character U+0000.
    #[error("account id contains a null character")]
    Nul,
    /// More than [`LONGEST_ACCOUNT`] bytes.
    #[error("account id is longer than {LONGEST_ACCOUNT} bytes")]
    TooLong,
}

impl AccountId {
    /// The account named by a text: a hyphenated UUID (RFC 9562 section 4) in any case becomes
    /// lower case, anything else is kept byte for byte.
    ///
    /// # Errors
    ///
    /// [`AccountError`] when the text is empty, too long or contains U+0000.
    pub fn from_text(text: &str) -> Result<Self, AccountError> {
        if text.is_empty() {
            return Err(AccountError::Empty);
        }
        if text.contains('\0') {
            return Err(AccountError::Nul);
        }
        if text.len() > LONGEST_ACCOUNT {
            return Err(AccountError::TooLong);
        }
        Ok(Self(match parse_hyphenated(text) {
            Some(uuid) => uuid.hyphenated().to_string(),
            None => text.to_owned(),
        }))
    }

    /// The account named by an integer: its decimal digits, `-` before them when negative.
    pub fn from_integer(number: i64) -> Self {
        Self(number.to_string())
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 16 bytes of the UUID in network order, when the account is a hyphenated UUID.
    pub fn as_uuid(&self) -> Option<[u8; 16]> {
        parse_hyphenated(&self.0).map(Uuid::into_bytes)
    }

    /// The integer, when the text is exactly what [`AccountId::from_integer`] writes for it:
    /// no leading zero, no plus sign, no `-0`, within the range of `bigint`.
    pub fn as_bigint(&self) -> Option<i64> {
        let digits = self.0.strip_prefix('-').unwrap_or(&self.0);
        let canonical = match digits.as_bytes() {
            [b'0'] => digits.len() == self.0.len(),
            [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        if canonical { self.0.parse().ok() } else { None }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `Uuid::try_parse` also takes simple, braced and URN forms; their lengths differ.
fn parse_hyphenated(text: &str) -> Option<Uuid> {
    if text.len() != HYPHENATED_UUID_LEN {
        return None;
    }
    Uuid::try_parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> AccountId {
        AccountId::from_text(text).unwrap()
    }

    #[test]
    fn hyphenated_uuid_is_lower_cased() {
        let id = account("550E8400-E29B-41d4-A716-446655440000");
        assert_eq!(id.as_str(), "550e8400-e29b-41d4-a716-446655440000");
        assert_eq!(
            id.as_uuid().map(hex::encode).as_deref(),
            Some("550e8400e29b41d4a716446655440000")
        );
    }

    #[test]
    fn other_spellings_of_a_uuid_stay_text() {
        for text in [
            "550E8400E29B41D4A716446655440000",
            "{550E8400-E29B-41D4-A716-446655440000}",
            "urn:uuid:550E8400-E29B-41D4-A716-446655440000",
            "550E8400-E29B-41D4-A716-44665544000G",
            "550E8400-E29B-41D4-A7164-46655440000",
            " 550E8400-E29B-41D4-A716-44665544000",
        ] {
            assert_eq!(account(text).as_str(), text);
            assert_eq!(account(text).as_uuid(), None, "{text}");
        }
    }

    #[test]
    fn integers_are_their_digits() {
        for number in [0, 7, -7, i64::MAX, i64::MIN] {
            let id = AccountId::from_integer(number);
            assert_eq!(id, account(&number.to_string()));
            assert_eq!(id.as_bigint(), Some(number));
        }
    }

    #[test]
    fn what_is_not_canonical_digits_is_no_integer() {
        for text in [
            "007",
            "00",
            "-0",
            "-",
            "+7",
            " 7",
            "7 ",
            "-07",
            "7.0",
            "1e3",
            "٧",
            "9223372036854775808",
        ] {
            assert_eq!(account(text).as_str(), text);
            assert_eq!(account(text).as_bigint(), None, "{text}");
        }
    }

    #[test]
    fn empty_text_and_nul_are_refused() {
        assert_eq!(AccountId::from_text(""), Err(AccountError::Empty));
        assert_eq!(AccountId::from_text("a\0b"), Err(AccountError::Nul));
    }

    #[test]
    fn text_that_the_ledger_could_not_index_is_refused() {
        let longest = "é".repeat(LONGEST_ACCOUNT / 2);
        assert_eq!(account(&longest).as_str(), longest);
        assert_eq!(
            AccountId::from_text(&(longest + "x")),
            Err(AccountError::TooLong)
        );
    }
}
