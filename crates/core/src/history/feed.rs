//! Where a reader of the feed stands.

use std::fmt;
use std::str::FromStr;

use crate::event::EventKey;
use crate::merkle::Hash;

/// The place of an event in the ledger: its block, by number and hash, and its key. Text form
/// `12-9f86d081884c7d65/9f86d081884c7d65-1234-7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of the block.
    pub block: i64,
    /// The first bytes of its hash: another ledger, or this one restored, has another block there.
    pub hash: u64,
    /// The event.
    pub event: EventKey,
}

impl Position {
    /// The place of an event in a block of this hash.
    pub fn new(block: i64, hash: &Hash, event: EventKey) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *hash;
        let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        Self { block, hash, event }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}/{}", self.block, self.hash, self.event)
    }
}

/// The text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid position")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let parse = || {
            let (block, event) = text.split_once('/')?;
            let (block, hash) = block.split_once('-')?;
            let position = Self {
                block: block.parse().ok()?,
                hash: u64::from_str_radix(hash, 16).ok()?,
                event: event.parse().ok()?,
            };
            // Comparing with the canonical text refuses signs, leading zeros and upper case.
            (position.block > 0 && position.to_string() == text).then_some(position)
        };
        parse().ok_or(InvalidPosition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_and_nothing_else_does() {
        let event = EventKey {
            incarnation: -3,
            xid: 7,
            ordinal: 0,
        };
        let position = Position::new(12, &[0xab; 32], event);
        let text = position.to_string();
        assert_eq!(text, "12-abababababababab/fffffffffffffffd-7-0");
        assert_eq!(text.parse(), Ok(position));
        for wrong in ["", "12", "0-abababababababab/fffffffffffffffd-7-0", " 12"] {
            assert_eq!(wrong.parse::<Position>(), Err(InvalidPosition), "{wrong}");
        }
    }
}
