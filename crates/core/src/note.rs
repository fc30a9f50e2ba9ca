//! Signed notes of C2SP (<https://c2sp.org/signed-note>) with Ed25519 keys, and the cosignatures of
//! witnesses on them (<https://c2sp.org/tlog-cosignature>).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// What begins a line of signature.
const SIGNATURE: &str = "\u{2014} ";

/// Signatures of a note that are read; more make it no note, since each costs a verification.
const MOST_SIGNATURES: usize = 100;

/// The text is not a signed note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid signed note")]
pub struct InvalidNote;

/// The text is not a key, or not one of a supported kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid note key")]
pub struct InvalidKey;

/// A text and who signed it, nothing of it verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// What is signed, its last newline included.
    pub text: &'a str,
    /// In order, at least one.
    pub signatures: Vec<Signature<'a>>,
}

/// A line of signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Name of the key.
    pub name: &'a str,
    /// Identifies the key together with the name.
    pub key_id: [u8; 4],
    /// What the key's algorithm made.
    pub bytes: Vec<u8>,
    /// The line as it stands, its newline included.
    pub line: &'a str,
}

/// A note or the text of one, with the newline at its end, which shells take off.
pub fn completed(text: &str) -> Cow<'_, str> {
    match text.ends_with('\n') {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("{text}\n")),
    }
}

impl<'a> Note<'a> {
    /// Reads a note.
    pub fn parse(note: &'a str) -> Result<Self, InvalidNote> {
        let control = |c: char| c < ' ' && c != '\n';
        let end = note.rfind("\n\n").ok_or(InvalidNote)? + 1;
        if note.contains(control) || !note.ends_with('\n') {
            return Err(InvalidNote);
        }
        let signatures = note[end + 1..]
            .split_inclusive('\n')
            .map(Signature::parse)
            .collect::<Option<Vec<_>>>()
            .filter(|signatures| (1..=MOST_SIGNATURES).contains(&signatures.len()))
            .ok_or(InvalidNote)?;
        Ok(Self {
            text: &note[..end],
            signatures,
        })
    }
}

impl<'a> Signature<'a> {
    /// Reads a line of signature with its newline; `None` where it is none.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (name, encoded) = line
            .strip_prefix(SIGNATURE)?
            .strip_suffix('\n')?
            .split_once(' ')?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let (key_id, bytes) = decoded.split_first_chunk::<4>()?;
        (is_key_name(name) && !bytes.is_empty()).then(|| Self {
            name,
            key_id: *key_id,
            bytes: bytes.to_vec(),
            line,
        })
    }
}

/// A name is not empty and has neither a space of Unicode nor a plus sign.
fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// The text of a note.
    Ed25519,
    /// The text of a checkpoint with the time at which a witness saw it.
    Cosignature,
}

impl KeyKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ed25519, Self::Cosignature]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }
}

/// A public key by which notes are verified. Text form: name, id in hexadecimal, and base64 of
/// kind and key, joined by plus signs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    public: [u8; 32],
}

/// What a key says of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did not sign.
    Absent,
    /// It signed; a witness says when, in seconds since 1970-01-01 UTC.
    Signed(Option<u64>),
    /// A signature that names the key is not of it.
    Forged,
}

impl VerifierKey {
    /// Name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs with.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key itself, without name and kind.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// First four bytes of `SHA-256(name || 0x0A || kind || key)`.
    pub fn id(&self) -> [u8; 4] {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.kind.byte()])
            .chain_update(self.public)
            .finalize()
            .into();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Whether the key signed the note. Several signatures of one key must all be good.
    pub fn verify(&self, note: &Note<'_>) -> Verdict {
        let id = self.id();
        let mut verdict = Verdict::Absent;
        for signature in &note.signatures {
            if signature.name == self.name && signature.key_id == id {
                match self.verify_one(note.text, &signature.bytes) {
                    Some(time) => verdict = Verdict::Signed(time),
                    None => return Verdict::Forged,
                }
            }
        }
        verdict
    }

    /// The time of a good signature; `None` for another.
    fn verify_one(&self, text: &str, signature: &[u8]) -> Option<Option<u64>> {
        let key = UnparsedPublicKey::new(&ED25519, &self.public);
        match self.kind {
            KeyKind::Ed25519 => key.verify(text.as_bytes(), signature).ok().map(|()| None),
            KeyKind::Cosignature => {
                let (time, signature) = signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                let message = cosigned_message(time, text);
                let signed = key.verify(message.as_bytes(), signature).is_ok();
                (signed && i64::try_from(time).is_ok()).then_some(Some(time))
            }
        }
    }
}

fn cosigned_message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = [self.kind.byte(); 33];
        key[1..].copy_from_slice(&self.public);
        let id = hex::encode(self.id());
        write!(f, "{}+{id}+{}", self.name, STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let parse = || {
            let mut parts = text.splitn(3, '+');
            let (name, id) = (parts.next()?, parts.next()?);
            let key: [u8; 33] = STANDARD.decode(parts.next()?).ok()?.try_into().ok()?;
            let (kind, public) = key.split_first_chunk::<1>()?;
            let key = Self {
                name: name.to_owned(),
                kind: KeyKind::from_byte(kind[0])?,
                public: public.try_into().ok()?,
            };
            (is_key_name(name) && hex::encode(key.id()) == id).then_some(key)
        };
        parse().ok_or(InvalidKey)
    }
}

/// A private key. Text form, that of Go's `note` package: `PRIVATE+KEY+`, name, id, and base64 of
/// kind and seed. It never shows itself.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifier)
    }
}

impl SigningKey {
    /// The key of a seed, 32 random bytes that nobody else has.
    pub fn from_seed(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| InvalidKey)?;
        let public = pair.public_key().as_ref();
        let verifier = VerifierKey {
            name: name.to_owned(),
            kind,
            public: public.try_into().map_err(|_| InvalidKey)?,
        };
        is_key_name(name)
            .then_some(Self { pair, verifier })
            .ok_or(InvalidKey)
    }

    /// The public key.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The line of signature for a text, with its newline. `time`, in seconds since 1970-01-01
    /// UTC, stands in a cosignature and nowhere else.
    pub fn sign(&self, text: &str, time: u64) -> String {
        let mut bytes = self.verifier.id().to_vec();
        match self.verifier.kind {
            KeyKind::Ed25519 => bytes.extend(self.pair.sign(text.as_bytes()).as_ref()),
            KeyKind::Cosignature => {
                bytes.extend(time.to_be_bytes());
                let message = cosigned_message(time, text);
                bytes.extend(self.pair.sign(message.as_bytes()).as_ref());
            }
        }
        let name = &self.verifier.name;
        format!("{SIGNATURE}{name} {}\n", STANDARD.encode(bytes))
    }
}

impl FromStr for SigningKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let parse = || {
            let mut parts = text.strip_prefix("PRIVATE+KEY+")?.splitn(3, '+');
            let (name, id) = (parts.next()?, parts.next()?);
            let key: [u8; 33] = STANDARD.decode(parts.next()?).ok()?.try_into().ok()?;
            let (kind, seed) = key.split_first_chunk::<1>()?;
            let kind = KeyKind::from_byte(kind[0])?;
            let key = Self::from_seed(name, kind, seed.try_into().ok()?).ok()?;
            (hex::encode(key.verifier.id()) == id).then_some(key)
        };
        parse().ok_or(InvalidKey)
    }
}
