//! The part of CBOR that ledger records use, in its deterministic form (RFC 8949 section 4.2.1).
//!
//! Records are arrays of integers, text, byte strings and null. A writer for these five cannot
//! fail and needs no memory of its own, which the capture of a row counts on; a general encoder
//! returns a `Result` for each item. Tests read its output back with one.

use sha2::{Digest, Sha256};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const NULL: u8 = 0xf6;

/// What takes the bytes of a record: a buffer, or a hash that needs none.
pub(crate) trait Out {
    fn put(&mut self, bytes: &[u8]);
}

impl Out for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Out for Sha256 {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// Appends items to what the caller gives.
pub(crate) struct Writer<'b, O = Vec<u8>> {
    out: &'b mut O,
}

impl<'b, O: Out> Writer<'b, O> {
    pub(crate) fn new(out: &'b mut O) -> Self {
        Self { out }
    }

    /// Opens an array; exactly `len` items must follow.
    pub(crate) fn array(&mut self, len: usize) -> &mut Self {
        self.head(ARRAY, len as u64)
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        // A negative integer n stands as the unsigned -1 - n, which is its bitwise complement.
        if value < 0 {
            self.head(NEGATIVE, !value as u64)
        } else {
            self.head(UNSIGNED, value as u64)
        }
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64);
        self.out.put(value.as_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.out.put(value);
        self
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.out.put(&[NULL]);
        self
    }

    pub(crate) fn text_or_null(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    pub(crate) fn bytes_or_null(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => self.bytes(value),
            None => self.null(),
        }
    }

    pub(crate) fn texts(&mut self, values: &[&str]) -> &mut Self {
        self.array(values.len());
        for value in values {
            self.text(value);
        }
        self
    }

    pub(crate) fn texts_or_null(&mut self, values: Option<&[&str]>) -> &mut Self {
        match values {
            Some(values) => self.texts(values),
            None => self.null(),
        }
    }

    /// Major type and argument, the argument in the fewest bytes that hold it.
    fn head(&mut self, major: u8, argument: u64) -> &mut Self {
        let major = major << 5;
        match argument {
            0..=23 => self.out.put(&[major | argument as u8]),
            24..=0xff => self.out.put(&[major | 24, argument as u8]),
            0x100..=0xffff => {
                self.out.put(&[major | 25]);
                self.out.put(&(argument as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.out.put(&[major | 26]);
                self.out.put(&(argument as u32).to_be_bytes());
            }
            _ => {
                self.out.put(&[major | 27]);
                self.out.put(&argument.to_be_bytes());
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out));
        hex::encode(out)
    }

    /// RFC 8949 appendix A.
    #[test]
    fn integers_of_the_rfc() {
        let known = [
            (0_i64, "00"),
            (23, "17"),
            (24, "1818"),
            (100, "1864"),
            (1000, "1903e8"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
            (-1, "20"),
            (-10, "29"),
            (-100, "3863"),
            (-1000, "3903e7"),
            (i64::MIN, "3b7fffffffffffffff"),
        ];
        for (value, expected) in known {
            assert_eq!(written(|w| _ = w.int(value)), expected, "{value}");
        }
    }

    /// RFC 8949 appendix A.
    #[test]
    fn strings_and_arrays_of_the_rfc() {
        assert_eq!(written(|w| _ = w.text("")), "60");
        assert_eq!(written(|w| _ = w.text("IETF")), "6449455446");
        assert_eq!(written(|w| _ = w.text("\u{6c34}")), "63e6b0b4");
        assert_eq!(written(|w| _ = w.bytes(&[1, 2, 3, 4])), "4401020304");
        assert_eq!(written(|w| _ = w.array(3).int(1).int(2).int(3)), "83010203");
        assert_eq!(written(|w| _ = w.null()), "f6");
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (len, head) in [(23, "77"), (24, "7818"), (255, "78ff"), (256, "790100")] {
            let text = "x".repeat(len);
            assert!(written(|w| _ = w.text(&text)).starts_with(head), "{len}");
        }
        let text = "x".repeat(65_536);
        assert!(written(|w| _ = w.text(&text)).starts_with("7a00010000"));
    }
}
