//! JSON objects as the log holds them: their members, and texts that can be compared.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::audit::push_json_string;
use crate::bundle::rows::Text;

/// The members of a JSON object in their order, values as they stand there.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Reads an object; none where the text is something else.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(member, _)| member == name);
        found.map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((name.0, value.get()));
                }
                Ok(Members(members))
            }
        }
        input.deserialize_map(Object)
    }
}

/// Whether a text is a JSON object.
pub fn is_object(text: &str) -> bool {
    Members::read(text).is_some()
}

/// Objects and arrays are followed this deep; what is below is compared as it stands.
const MAX_DEPTH: usize = 64;

/// A JSON text in one form: members sorted by name, no white space, strings without escapes that
/// need not be, numbers without zeros and exponents that change nothing. Two texts of one value give
/// the same, so keys of rows can be compared however they were written.
pub fn canonical(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push(&mut out, text.trim(), 0);
    out
}

fn push(out: &mut String, text: &str, depth: usize) {
    let inner = depth + 1;
    match text.as_bytes().first() {
        Some(b'{') if depth < MAX_DEPTH => {
            if let Some(members) = Members::read(text) {
                let sorted: BTreeMap<_, _> = members.0.into_iter().collect();
                out.push('{');
                for (n, (name, value)) in sorted.iter().enumerate() {
                    out.push_str(if n == 0 { "" } else { "," });
                    push_string(out, name);
                    out.push(':');
                    push(out, value, inner);
                }
                return out.push('}');
            }
        }
        Some(b'[') if depth < MAX_DEPTH => {
            if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text) {
                out.push('[');
                for (n, element) in elements.iter().enumerate() {
                    out.push_str(if n == 0 { "" } else { "," });
                    push(out, element.get(), inner);
                }
                return out.push(']');
            }
        }
        Some(b'"') => {
            if let Ok(string) = serde_json::from_str::<Text<'_>>(text) {
                return push_string(out, &string.0);
            }
        }
        Some(b'-' | b'0'..=b'9') => return push_number(out, text),
        _ => {}
    }
    out.push_str(text);
}

fn push_string(out: &mut String, text: &str) {
    let mut bytes = Vec::new();
    push_json_string(&mut bytes, text.as_bytes());
    out.push_str(&String::from_utf8(bytes).unwrap_or_default());
}

/// Digits without zeros at either end, and the power of ten behind them.
fn push_number(out: &mut String, text: &str) {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i64>() else {
        return out.push_str(text);
    };
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    let digits = significant.trim_end_matches('0');
    if digits.is_empty() {
        return out.push('0');
    }
    let zeros = (significant.len() - digits.len()) as i64;
    let power = exponent.saturating_sub(fraction.len() as i64) + zeros;
    out.push_str(sign);
    out.push_str(digits);
    if power != 0 {
        out.push_str(&format!("e{power}"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_of_one_value_are_one() {
        for (a, b) in [
            (r#"{"b": 1, "a":"x"}"#, r#"{"a":"x","b":1}"#),
            ("1.50", "1.5"),
            ("100", "1E2"),
            ("-0", "0.000"),
            ("0.001", "1e-3"),
            (r#""\u00e9\/""#, r#""é/""#),
            (r#"[1, {"z":0,"a":[] }]"#, r#"[1,{"a":[],"z":0.0}]"#),
        ] {
            assert_eq!(canonical(a), canonical(b), "{a} {b}");
        }
    }

    #[test]
    fn values_that_differ_stay_apart() {
        for (a, b) in [
            ("1", "10"),
            ("1", r#""1""#),
            ("-1", "1"),
            ("null", r#""null""#),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            ("12345678901234567890", "12345678901234567891"),
            ("0.1", "0.01"),
        ] {
            assert_ne!(canonical(a), canonical(b), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_compared_to_the_last_digit(a in 0_u64.., b in 0_u64.., zeros in 0_usize..5) {
            let padded = format!("{a}.{}", "0".repeat(zeros + 1));
            prop_assert_eq!(canonical(&padded), canonical(&a.to_string()));
            prop_assert_eq!(canonical(&a.to_string()) == canonical(&b.to_string()), a == b);
        }

        #[test]
        fn the_form_is_its_own(text in any::<String>(), number in any::<i64>()) {
            let json = serde_json::json!({ "t": text, "n": [number, null, { "t": true }] });
            let once = canonical(&json.to_string());
            prop_assert_eq!(canonical(&once), once);
        }
    }
}
