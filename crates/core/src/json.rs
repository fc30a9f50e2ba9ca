//! Strict JSON for what is signed or trusted: no repeated member, bounded nesting, no U+0000.
//!
//! RFC 8259 section 4 leaves repeated member names to the reader, so two readers of one token may
//! see two different accounts (RFC 7515 section 10.12); RFC 7515 section 4 lets us refuse them.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use crate::json_path::JsonPath;

/// Objects and arrays may nest this deep; real tokens nest three or four.
pub(crate) const MAX_DEPTH: usize = 32;

/// A JSON value; text borrows from the input where it has no escapes.
#[derive(Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    /// A number written without fraction or exponent that fits 64 bits.
    Integer(i64),
    /// Any other number; nothing here needs its value.
    OtherNumber,
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Object<'a>),
}

/// The members of a JSON object, each name once.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Object<'a>(BTreeMap<Cow<'a, str>, Json<'a>>);

/// Why a text is not acceptable JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JsonError {
    /// Not JSON (RFC 8259), or a number beyond what readers agree on (section 6): larger than a
    /// double, or with an exponent of more than three digits.
    #[error("is not valid JSON")]
    Syntax,
    /// A member name occurs twice in one object.
    #[error("repeats a member")]
    RepeatedMember,
    /// More than 32 levels of objects and arrays.
    #[error("is nested too deeply")]
    TooDeep,
    /// U+0000 in a name or a string, which PostgreSQL's `jsonb` cannot hold.
    #[error("contains a null character")]
    Nul,
}

/// Parses one whole JSON text.
pub(crate) fn parse(text: &str) -> Result<Json<'_>, JsonError> {
    parse_noting(text, None)
}

/// [`parse`] for what people write: says where the first fault stands.
pub(crate) fn parse_located(text: &str) -> Result<Json<'_>, (JsonPath, JsonError)> {
    let path = RefCell::new(JsonPath::root());
    parse_noting(text, Some(&path)).map_err(|error| (path.take(), error))
}

fn parse_noting<'t>(
    text: &'t str,
    path: Option<&RefCell<JsonPath>>,
) -> Result<Json<'t>, JsonError> {
    let refusal = Cell::new(None);
    if has_long_exponent(text) {
        return Err(JsonError::Syntax);
    }
    let mut input = serde_json::Deserializer::from_str(text);
    let value = Node {
        depth: 0,
        refusal: &refusal,
        path,
    }
    .deserialize(&mut input)
    .and_then(|value| input.end().map(|()| value));
    value.map_err(|_| refusal.get().unwrap_or(JsonError::Syntax))
}

/// Whether a number of the text has an exponent of more than three digits. serde reads `1e-99999` as
/// zero, where PostgreSQL's `jsonb` has no place for so many decimals.
///
/// Outside strings only numbers have an `e` before a digit or sign.
fn has_long_exponent(text: &str) -> bool {
    let mut bytes = text.bytes().peekable();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            b'e' | b'E' if !in_string => {
                bytes.next_if(|sign| matches!(sign, b'+' | b'-'));
                let digits = std::iter::from_fn(|| bytes.next_if(u8::is_ascii_digit));
                if digits.count() > 3 {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

impl<'a> Object<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.0.get(name)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }
}

impl Json<'_> {
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// One value at a nesting depth. serde's errors carry only text, so the reason travels beside.
#[derive(Clone, Copy)]
struct Node<'c> {
    depth: usize,
    refusal: &'c Cell<Option<JsonError>>,
    /// The value being read; after an error, the one that is at fault.
    path: Option<&'c RefCell<JsonPath>>,
}

impl Node<'_> {
    fn refuse<E: serde::de::Error>(self, reason: JsonError) -> E {
        self.refusal.set(Some(reason));
        E::custom(reason)
    }

    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse(JsonError::TooDeep));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }

    fn note(self, change: impl FnOnce(&mut JsonPath)) {
        if let Some(path) = self.path {
            change(&mut path.borrow_mut());
        }
    }

    fn text<'de, E: serde::de::Error>(self, text: Cow<'de, str>) -> Result<Json<'de>, E> {
        if text.contains('\0') {
            return Err(self.refuse(JsonError::Nul));
        }
        Ok(Json::Text(text))
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Json::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(Json::OtherNumber, Json::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.text(Cow::Owned(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        self.note(|path| path.push_element(0));
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
            self.note(|path| {
                path.pop();
                path.push_element(array.len());
            });
        }
        self.note(JsonPath::pop);
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let inner = self.inner()?;
        let mut object = BTreeMap::new();
        while let Some(name) = members.next_key_seed(inner)? {
            let Json::Text(name) = name else {
                return Err(A::Error::custom("a member name is a string"));
            };
            self.note(|path| path.push_member(&name));
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(self.refuse(JsonError::RepeatedMember));
            }
            self.note(JsonPath::pop);
        }
        Ok(Json::Object(Object(object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_what_is_judged_later() {
        assert_eq!(parse("null"), Ok(Json::Null));
        assert_eq!(parse(" true "), Ok(Json::Bool(true)));
        assert_eq!(parse("-9223372036854775808"), Ok(Json::Integer(i64::MIN)));
        assert_eq!(parse(r#""\u00e9""#), Ok(Json::Text("é".into())));
        assert_eq!(parse("[]"), Ok(Json::Array(vec![])));
    }

    #[test]
    fn numbers_that_are_not_plain_integers_are_told_apart() {
        for text in [
            "1.0",
            "1e3",
            "-0",
            "9223372036854775808",
            "123456789012345678901234567890",
        ] {
            assert_eq!(parse(text), Ok(Json::OtherNumber), "{text}");
        }
    }

    #[test]
    fn exponents_beyond_what_readers_agree_on_are_refused() {
        for text in [
            "1e-9999",
            "[0e4000]",
            r#"{"a":"\\","n":-1.5E+0001}"#,
            r#"{"\"":1e-2147483649}"#,
        ] {
            assert_eq!(parse(text), Err(JsonError::Syntax), "{text}");
        }
        for text in [
            "1e-999",
            "0E+999",
            r#""1e-9999""#,
            r#"["\"e12345",true,1e5]"#,
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn repeated_members_are_refused_at_every_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"[[{"a":[],"a":[]}]]"#,
        ] {
            assert_eq!(parse(text), Err(JsonError::RepeatedMember), "{text}");
        }
        assert!(parse(r#"{"a":{"a":1},"A":2}"#).is_ok());
    }

    #[test]
    fn the_first_fault_is_located() {
        for (text, path, error) in [
            (
                r#"{"a":[1,{"b":1,"b":2}]}"#,
                "$['a'][1]['b']",
                JsonError::RepeatedMember,
            ),
            (r#"{"a":{},"c":[1,"\u0000"]}"#, "$['c'][1]", JsonError::Nul),
            (r#"{"a":[1,2],"c":tru}"#, "$['c']", JsonError::Syntax),
        ] {
            let (found, reason) = parse_located(text).expect_err(text);
            assert_eq!(
                (found.to_string().as_str(), reason),
                (path, error),
                "{text}"
            );
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(parse(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep));
        assert_eq!(parse(&nested(5000)), Err(JsonError::TooDeep));
        let objects = r#"{"a":"#.repeat(MAX_DEPTH + 1) + "1" + &"}".repeat(MAX_DEPTH + 1);
        assert_eq!(parse(&objects), Err(JsonError::TooDeep));
    }

    #[test]
    fn null_characters_are_refused_in_names_and_strings() {
        for text in [
            r#""\u0000""#,
            r#"{"a\u0000":1}"#,
            r#"["x",{"a":["b\u0000c"]}]"#,
        ] {
            assert_eq!(parse(text), Err(JsonError::Nul), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "{}{}",
            "{} x",
            "\u{feff}{}",
            "{'a':1}",
            "{a:1}",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "+1",
            ".5",
            "1.",
            "NaN",
            "Infinity",
            "1e999",
            "\"\t\"",
            "\"\u{0}\"",
            r#""\ud800""#,
            r#""\ud800\ud800""#,
            r#""\udc00""#,
            r#""\x41""#,
            "// c\n{}",
            "nul",
        ] {
            assert_eq!(parse(text), Err(JsonError::Syntax), "{text:?}");
        }
    }
}
