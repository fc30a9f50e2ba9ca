//! Hashes that stand in the log in the place of values: equal values of a column can be told from
//! unequal ones, and only who holds the key can try which value it was.

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

    /// Appends what stands in the log for a value of a column of a relation, given as JSON text:
    /// the string `"hmac-sha256:..."` with the hash in hexadecimal. Relation and column are hashed
    /// with it, so that it tells nothing of values that stand elsewhere.
    pub fn push(&self, out: &mut Vec<u8>, (relation, column): (&str, &str), json: &[u8]) {
        let mut hash = hmac::Context::with_key(&self.0);
        // No name has a zero byte in it.
        for part in [relation.as_bytes(), b"\0", column.as_bytes(), b"\0", json] {
            hash.update(part);
        }
        out.extend_from_slice(b"\"hmac-sha256:");
        push_hex(out, hash.sign().as_ref());
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
        let key = KeyedHash::new(&[0x0b; 32]);
        key.push(&mut out, ("shop.person", "email"), b"\"a@example.org\"");
        let expected =
            "x\"hmac-sha256:52f56a094eb8091f99c8a9432a4860fd731af919e13ce48c9c66bec96ab6b6c7\"";
        assert_eq!(String::from_utf8(out).as_deref(), Ok(expected));
    }

    #[test]
    fn equal_values_of_other_tables_and_columns_cannot_be_told() {
        let key = KeyedHash::new(&[0x0b; 32]);
        let places = [("a.b", "c"), ("a.b", "d"), ("a.e", "c"), ("a.b\u{1}", "c")];
        let hashes = places.map(|place| {
            let mut out = Vec::new();
            key.push(&mut out, place, b"1");
            out
        });
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash));
        }
    }
}
