//! How captured values are written as JSON text.
//!
//! The log stores and hashes these bytes as they are, so they may depend on the value alone: never on a session
//! setting, a locale or the server's build. Everything appends to a caller's buffer, because capture runs once a row.

use std::io::Write;

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;
/// Days from 0000-03-01 of the proleptic Gregorian calendar to 2000-01-01, the origin of PostgreSQL's dates.
const MARCH_YEAR_0_TO_2000: i64 = 730_425;
const DAYS_PER_400_YEARS: i64 = 146_097;

/// Appends `text` as a JSON string (RFC 8259 section 7), quotes included.
///
/// Only what the grammar demands is escaped: the quotation mark, the reverse solidus and the control characters
/// below U+0020. `text` must be UTF-8; it is copied, not checked.
pub fn push_json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    push_json_text(out, text);
    out.push(b'"');
}

/// Appends what stands between the quotes of a JSON string; `text` may be a piece of a whole, cut
/// anywhere.
///
/// It becomes six times as long at the most.
pub fn push_json_text(out: &mut Vec<u8>, text: &[u8]) {
    // Most values need no escape at all. Looking at 16 bytes without a branch lets the compiler use vector registers.
    let mut blocks = text.chunks_exact(16);
    for block in &mut blocks {
        if block
            .iter()
            .fold(false, |found, &byte| found | needs_escape(byte))
        {
            push_escaped(out, block);
        } else {
            out.extend_from_slice(block);
        }
    }
    push_escaped(out, blocks.remainder());
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                push_hex(out, &[byte]);
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
}

/// Appends `number` in decimal digits.
pub fn push_integer(out: &mut Vec<u8>, number: i64) {
    // Writing to a Vec never fails.
    let _ = write!(out, "{number}");
}

/// Appends `bytes` as lower-case hexadecimal digits.
pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| {
        [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]
    }));
}

/// Appends a UUID in its canonical form: lower case, hyphenated (RFC 9562 section 4).
pub fn push_uuid(out: &mut Vec<u8>, uuid: [u8; 16]) {
    let mut text = uuid::Uuid::encode_buffer();
    out.extend_from_slice(
        uuid::Uuid::from_bytes(uuid)
            .hyphenated()
            .encode_lower(&mut text)
            .as_bytes(),
    );
}

/// Appends a `date`, given as days since 2000-01-01, as PostgreSQL writes it with `DateStyle = ISO`.
pub fn push_date(out: &mut Vec<u8>, days: i32) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            let before_christ = push_calendar_day(out, i64::from(days));
            push_era(out, before_christ);
        }
    }
}

/// Appends a `timestamp`, given as microseconds since 2000-01-01 00:00, as PostgreSQL writes it with
/// `DateStyle = ISO`.
pub fn push_timestamp(out: &mut Vec<u8>, microseconds: i64) {
    push_point_in_time(out, microseconds, b"");
}

/// Appends a `timestamptz`, given as microseconds since 2000-01-01 00:00 UTC, as PostgreSQL writes it with
/// `DateStyle = ISO` and `TimeZone = UTC`.
pub fn push_timestamptz(out: &mut Vec<u8>, microseconds: i64) {
    push_point_in_time(out, microseconds, b"+00");
}

fn push_point_in_time(out: &mut Vec<u8>, microseconds: i64, zone: &[u8]) {
    match microseconds {
        i64::MAX => return out.extend_from_slice(b"infinity"),
        i64::MIN => return out.extend_from_slice(b"-infinity"),
        _ => {}
    }
    let before_christ = push_calendar_day(out, microseconds.div_euclid(MICROSECONDS_PER_DAY));
    let of_day = microseconds.rem_euclid(MICROSECONDS_PER_DAY);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    out.push(b' ');
    push_padded(out, seconds / 3600, 2);
    out.push(b':');
    push_padded(out, seconds / 60 % 60, 2);
    out.push(b':');
    push_padded(out, seconds % 60, 2);
    if fraction != 0 {
        out.push(b'.');
        push_padded(out, fraction, 6);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.extend_from_slice(zone);
    push_era(out, before_christ);
}

/// Appends year, month and day; returns whether the year is one before Christ.
fn push_calendar_day(out: &mut Vec<u8>, days_since_2000: i64) -> bool {
    // A year that starts in March has its leap day at the end, and its months follow one linear formula.
    let days = days_since_2000 + MARCH_YEAR_0_TO_2000;
    let (cycle, day_of_cycle) = (
        days.div_euclid(DAYS_PER_400_YEARS),
        days.rem_euclid(DAYS_PER_400_YEARS),
    );
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = 400 * cycle + year_of_cycle + i64::from(month <= 2);
    // There is no year 0: astronomical year 0 is 1 BC.
    push_padded(out, if year > 0 { year } else { 1 - year }, 4);
    out.push(b'-');
    push_padded(out, month, 2);
    out.push(b'-');
    push_padded(out, day, 2);
    year <= 0
}

fn push_era(out: &mut Vec<u8>, before_christ: bool) {
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// Appends a number that is not negative with at least `width` digits, at most six of them padding.
fn push_padded(out: &mut Vec<u8>, number: i64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    let mut rest = number;
    while rest > 0 {
        first -= 1;
        digits[first] += (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[first.min(digits.len() - width)..]);
}

/// Appends `name` as one part of a qualified SQL name, quoted unless it is made of lower-case letters, digits and
/// underscores alone.
///
/// The server's own quoting follows its list of keywords and the setting `quote_all_identifiers`; this does not. The
/// result is always valid input of the type `regclass`.
pub fn push_identifier(out: &mut String, name: &str) {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let bare = name.bytes().next().is_some_and(plain)
        && name
            .bytes()
            .all(|byte| plain(byte) || byte.is_ascii_digit());
    if bare {
        out.push_str(name);
    } else {
        out.push('"');
        out.push_str(&name.replace('"', "\"\""));
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("the writers emit UTF-8")
    }

    #[test]
    fn strings_are_escaped_as_the_grammar_demands() {
        let json = text(|out| {
            push_json_string(out, "a\"b\\c\n\r\t\u{8}\u{c}\u{1}\u{1f}é\u{7f}/".as_bytes())
        });
        assert_eq!(json, "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u001fé\u{7f}/\"");
    }

    #[test]
    fn dates_follow_the_server() {
        for (days, expected) in [
            (0, "2000-01-01"),
            (59, "2000-02-29"),
            (60, "2000-03-01"),
            (366, "2001-01-01"),
            (-36_524, "1900-01-01"),
            (-730_119, "0001-01-01"),
            (-730_120, "0001-12-31 BC"),
            (-2_451_545, "4714-11-24 BC"),
            (2_145_031_948, "5874897-12-31"),
            (i32::MAX, "infinity"),
            (i32::MIN, "-infinity"),
        ] {
            assert_eq!(text(|out| push_date(out, days)), expected, "{days} days");
        }
    }

    #[test]
    fn times_follow_the_server() {
        for (microseconds, expected) in [
            (0, "2000-01-01 00:00:00+00"),
            (-1, "1999-12-31 23:59:59.999999+00"),
            (500_000, "2000-01-01 00:00:00.5+00"),
            (-63_082_281_600_000_001, "0001-12-31 23:59:59.999999+00 BC"),
            (i64::MAX, "infinity"),
            (i64::MIN, "-infinity"),
        ] {
            assert_eq!(text(|out| push_timestamptz(out, microseconds)), expected);
        }
        assert_eq!(
            text(|out| push_timestamp(out, 45_296_120_000)),
            "2000-01-01 12:34:56.12"
        );
    }

    #[test]
    fn names_are_quoted_when_they_are_not_plain() {
        for (name, expected) in [
            ("message", "message"),
            ("t_2024", "t_2024"),
            ("2024", "\"2024\""),
            ("Mixed", "\"Mixed\""),
            ("a\"b", "\"a\"\"b\""),
            ("größe", "\"größe\""),
        ] {
            let mut out = String::new();
            push_identifier(&mut out, name);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn uuids_are_canonical() {
        let uuid = text(|out| {
            push_uuid(
                out,
                *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef",
            )
        });
        assert_eq!(uuid, "01234567-89ab-cdef-0123-456789abcdef");
    }

    proptest! {
        #[test]
        fn every_string_reads_back(value in any::<String>()) {
            let json = text(|out| push_json_string(out, value.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("valid JSON"), value);
        }

        #[test]
        fn integers_read_back(value in any::<i64>()) {
            prop_assert_eq!(text(|out| push_integer(out, value)).parse::<i64>().expect("digits"), value);
        }
    }
}
