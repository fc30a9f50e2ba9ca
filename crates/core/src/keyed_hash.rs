//! Hashes that stand in the log in the place of values: equal values can be told from unequal ones,
//! and only who holds the key can try which value it was.

use aws_lc_rs::hmac;

use crate::audit::push_hex;

/// Computes HMAC-SHA-256 (RFC 2104) under one key.
#[derive(Clone)]
pub struct KeyedHash(hmac::Key);

impl KeyedHash {
    /// Hashes under this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Appends what stands in the log for a value given as JSON text: the string
    /// `"hmac-sha256:..."` with the hash in hexadecimal.
    pub fn push(&self, out: &mut Vec<u8>, json: &[u8]) {
        out.extend_from_slice(b"\"hmac-sha256:");
        push_hex(out, hmac::sign(&self.0, json).as_ref());
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's hmac module.
    #[test]
    fn hash_is_the_one_of_the_rfc() {
        let mut out = b"x".to_vec();
        KeyedHash::new(&[0x0b; 32]).push(&mut out, b"\"a@example.org\"");
        let expected =
            "x\"hmac-sha256:82e8b225f9942f4982cb700e998b27647a2f899b43bf2be91cb41f0ba295df0a\"";
        assert_eq!(String::from_utf8(out).as_deref(), Ok(expected));
    }
}
