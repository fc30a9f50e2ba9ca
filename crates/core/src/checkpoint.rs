//! Checkpoints: the body of a C2SP `tlog-checkpoint` (<https://c2sp.org/tlog-checkpoint>).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::merkle::Hash;
use crate::note::{Note, completed};

/// Size and root of the global tree of one epoch. Its text form is the body of a checkpoint:
/// origin, size and root, a line each, every line ended by a newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Database, see [`incarnation`](crate::event::incarnation).
    pub incarnation: i64,
    /// Epoch of the tree.
    pub epoch: i64,
    /// Leaves of the tree.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            incarnation,
            epoch,
            size,
            root,
        } = self;
        write!(
            f,
            "tenant_guard/{incarnation:016x}/{epoch}\n{size}\n{}\n",
            STANDARD.encode(root)
        )
    }
}

/// The text is not a checkpoint of a tenant_guard ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid checkpoint")]
pub struct InvalidCheckpoint;

/// A position is a signed number in the database.
const MOST: u64 = i64::MAX as u64;

impl Checkpoint {
    /// Reads what somebody gives as a checkpoint, whose last newline may be missing.
    ///
    /// # Errors
    ///
    /// [`InvalidCheckpoint`] where more than that is missing.
    pub fn given(text: &str) -> Result<Self, InvalidCheckpoint> {
        completed(text).parse()
    }
}

impl FromStr for Checkpoint {
    type Err = InvalidCheckpoint;

    /// Reads a body, or a signed note whose body it is; no signature is verified.
    fn from_str(text: &str) -> Result<Self, InvalidCheckpoint> {
        let parse = || {
            let body = match text.contains("\n\n") {
                true => Note::parse(text).ok()?.text,
                false => text,
            };
            let mut lines = body.split('\n');
            let (incarnation, epoch) = lines
                .next()?
                .strip_prefix("tenant_guard/")?
                .split_once('/')?;
            let checkpoint = Self {
                incarnation: u64::from_str_radix(incarnation, 16).ok()? as i64,
                epoch: epoch.parse().ok()?,
                size: lines.next()?.parse().ok()?,
                root: STANDARD.decode(lines.next()?).ok()?.try_into().ok()?,
            };
            // The tree of an epoch begins with a leaf, so no checkpoint is of size 0. Comparing
            // with the canonical text refuses further lines, signs, leading zeros.
            let possible = checkpoint.epoch > 0 && (1..=MOST).contains(&checkpoint.size);
            (possible && checkpoint.to_string() == body).then_some(checkpoint)
        };
        parse().ok_or(InvalidCheckpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "tenant_guard/9f86d081884c7d65/2\n17\n\
                        47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";

    #[test]
    fn reads_what_it_writes() {
        let checkpoint = Checkpoint {
            incarnation: 0x9f86_d081_884c_7d65_u64 as i64,
            epoch: 2,
            size: 17,
            root: crate::merkle::empty_root(),
        };
        assert_eq!(checkpoint.to_string(), BODY);
        assert_eq!(BODY.parse(), Ok(checkpoint));
        let signed = format!("{BODY}\n\u{2014} witness.example Az3grlgtzPICa5OS\n");
        assert_eq!(signed.parse(), Ok(checkpoint));
        // As $(...) of a shell leaves them.
        for given in [BODY, &signed] {
            assert_eq!(Checkpoint::given(given), Ok(checkpoint));
            assert_eq!(Checkpoint::given(given.trim_end()), Ok(checkpoint));
        }
        let cut = BODY.trim_end().trim_end_matches('=');
        assert_eq!(Checkpoint::given(cut), Err(InvalidCheckpoint));
    }

    #[test]
    fn refuses_all_other_texts() {
        let replaced = |from: &str, to: &str| BODY.replace(from, to);
        for text in [
            String::new(),
            BODY.trim_end().to_owned(),
            BODY.replace('\n', "\r\n"),
            format!(" {BODY}"),
            format!("{BODY}extension line\n"),
            format!("{BODY}\n"),
            format!("{BODY}\n\u{2014} cut off"),
            format!("{BODY}\nno signature\n"),
            format!("{BODY}\n\u{2014} short Az3grg==\n"),
            format!("{BODY}\n\u{2014} a+b Az3grlgtzPICa5OS\n"),
            format!("{BODY}\n\u{2014} witness.example Az3grlgtzPICa5OS\n\n"),
            replaced("\n17\n", "\n9223372036854775808\n"),
            replaced("tenant_guard/", "example.com/"),
            replaced("9f86d081884c7d65", "9F86D081884C7D65"),
            replaced("9f86d081884c7d65", "9f86d081884c7d6"),
            replaced("/2\n", "/02\n"),
            replaced("/2\n", "/0\n"),
            replaced("/2\n", "/2/3\n"),
            replaced("\n17\n", "\n0\n"),
            replaced("\n17\n", "\n017\n"),
            replaced("\n17\n", "\n+17\n"),
            replaced("\n17\n", "\n-17\n"),
            replaced("uFU=", "uFU"),
            replaced("uFU=", "uFV="),
            replaced("47DE", ""),
            replaced("+/", "-_"),
        ] {
            assert_eq!(
                text.parse::<Checkpoint>(),
                Err(InvalidCheckpoint),
                "{text:?}"
            );
        }
    }
}
