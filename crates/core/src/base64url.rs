//! Base64url as JOSE wants it: no padding, no white space, no stray bits (RFC 7515 section 2,
//! RFC 4648 section 3.5). Each byte string has one text, so a token cannot be respelled.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The bytes, or `None` when the text is not their one spelling.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_only() {
        assert_eq!(decode(""), Some(vec![]));
        assert_eq!(decode("_-8"), Some(vec![0xff, 0xef]));
        // Padding, the other alphabet, white space, an impossible length, bits after the last byte.
        for text in ["_-8=", "/+8", "_-8 ", "_-\n8", "_", "_-9", "_-8A8", "é"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
