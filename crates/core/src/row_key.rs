//! Keys of rows as people write them, in the one form that can be compared, and whether they can be
//! those of a relation at all.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use crate::audit::push_json_string;

/// A JSON object with its members in the order of their names, without white space, and with texts
/// escaped as the log escapes them. Numbers stay as they are written. None where the text is no
/// object, or names a member twice.
pub fn normalised(key: &str) -> Option<String> {
    let mut out = Vec::with_capacity(key.len());
    if !key.trim_ascii_start().starts_with('{') {
        return None;
    }
    push(&mut out, key)?;
    String::from_utf8(out).ok()
}

/// How the values of a column stand in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// `true` and `false`.
    Boolean,
    /// Digits and a sign.
    Integer,
    /// A number; what is none, such as infinity, is a text.
    Number,
    /// A text of lower-case hexadecimal in five groups.
    Uuid,
    /// A text.
    Text,
    /// JSON of any kind.
    Any,
}

impl Written {
    fn fits(self, value: &str) -> bool {
        match self {
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Integer => { value.parse::<i64>() }.is_ok_and(|n| n.to_string() == value),
            Self::Number => match value.as_bytes() {
                [b'"', ..] => matches!(value, r#""NaN""# | r#""Infinity""# | r#""-Infinity""#),
                [b'-' | b'0'..=b'9', ..] => true,
                _ => false,
            },
            Self::Uuid => {
                let text = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                text.is_some_and(is_uuid)
            }
            Self::Text => value.starts_with('"'),
            Self::Any => true,
        }
    }
}

fn is_uuid(text: &str) -> bool {
    let groups = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let digit = |c: char| matches!(c, '-' | '0'..='9' | 'a'..='f');
    groups && text.chars().all(digit)
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Any => "json",
        })
    }
}

/// What names the rows of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyColumns {
    /// All columns of its primary key.
    Key(Vec<(String, Written)>),
    /// Without one the row itself, of which these columns may be left out or hashed.
    Row(Vec<(String, Written)>),
}

impl KeyColumns {
    /// Whether a normalised key can be that of a row.
    pub fn admit(&self, key: &str) -> bool {
        let Ok(Members(members)) = serde_json::from_str::<Members<'_>>(key) else {
            return false;
        };
        let (columns, whole) = match self {
            Self::Key(columns) => (columns, false),
            Self::Row(columns) => (columns, true),
        };
        let fits = |(name, value): (&String, &&RawValue)| {
            let column = columns.iter().find(|(column, _)| column == name);
            let value = value.get().trim_ascii();
            column.is_some_and(|(_, written)| {
                written.fits(value) || whole && (value == "null" || value.starts_with('"'))
            })
        };
        (whole || members.len() == columns.len()) && members.iter().all(fits)
    }
}

/// Columns and what stands there: `{"id": integer}`.
impl fmt::Display for KeyColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Key(columns) | Self::Row(columns)) = self;
        f.write_str("{")?;
        for (n, (name, written)) in columns.iter().enumerate() {
            let mut quoted = Vec::new();
            push_json_string(&mut quoted, name.as_bytes());
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{}: {written}", String::from_utf8_lossy(&quoted))?;
        }
        f.write_str("}")
    }
}

/// Names of a key and how the values stand there, by which those of one relation are alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape(Vec<(String, Kind)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    Text,
    Other,
}

impl Kind {
    fn of(value: &str) -> Self {
        match value.as_bytes() {
            [b'n', ..] => Self::Null,
            [b't' | b'f', ..] => Self::Boolean,
            [b'"', ..] => Self::Text,
            [b'-' | b'0'..=b'9', ..] if Written::Integer.fits(value) => Self::Integer,
            [b'-' | b'0'..=b'9', ..] => Self::Number,
            _ => Self::Other,
        }
    }
}

impl Shape {
    /// That of a normalised key; none where it is no object.
    pub fn of(key: &str) -> Option<Self> {
        let Members(members) = serde_json::from_str(key).ok()?;
        let member =
            |(name, value): (String, &RawValue)| (name, Kind::of(value.get().trim_ascii()));
        Some(Self(members.into_iter().map(member).collect()))
    }

    /// Whether keys of this shape can be of a relation that has one of the other. A null there says
    /// nothing of its column, and some numbers are integers.
    pub fn is_like(&self, logged: &Self) -> bool {
        let alike = |((name, kind), (other, logged)): (&(String, Kind), &(String, Kind))| {
            let fits = kind == logged
                || *logged == Kind::Null
                || (*kind, *logged) == (Kind::Integer, Kind::Number);
            name == other && fits
        };
        self.0.len() == logged.0.len() && self.0.iter().zip(&logged.0).all(alike)
    }
}

fn push(out: &mut Vec<u8>, value: &str) -> Option<()> {
    let value = value.trim_ascii();
    match value.as_bytes().first()? {
        b'{' => {
            let members: Members<'_> = serde_json::from_str(value).ok()?;
            out.push(b'{');
            for (n, (name, member)) in members.0.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                push_json_string(out, name.as_bytes());
                out.push(b':');
                push(out, member.get())?;
            }
            out.push(b'}');
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(value).ok()?;
            out.push(b'[');
            for (n, element) in elements.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                push(out, element.get())?;
            }
            out.push(b']');
        }
        b'"' => {
            let text: String = serde_json::from_str(value).ok()?;
            push_json_string(out, text.as_bytes());
        }
        _ => out.extend_from_slice(value.as_bytes()),
    }
    Some(())
}

/// Members by name, each once.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> serde::de::Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a member twice"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_by_what_they_say() {
        for key in [
            r#"{"b":"\u00fc/","a":{"y":[1, 2.50],"x":null}}"#,
            " {\n\"a\" : {\"x\":null,\"y\":[1,2.50]}, \"b\":\"\u{fc}\\/\"} ",
        ] {
            let normal = "{\"a\":{\"x\":null,\"y\":[1,2.50]},\"b\":\"\u{fc}/\"}";
            assert_eq!(normalised(key).as_deref(), Some(normal), "{key}");
        }
        assert_ne!(normalised(r#"{"id":1}"#), normalised(r#"{"id":"1"}"#));
        assert_eq!(normalised(r#"{"id": 1}"#).as_deref(), Some(r#"{"id":1}"#));
    }

    #[test]
    fn key_must_have_the_names_and_types_of_the_columns() {
        let columns = |columns: &[(&str, Written)]| {
            let column = |(name, written): &(&str, Written)| ((*name).to_owned(), *written);
            columns.iter().map(column).collect::<Vec<_>>()
        };
        let key = KeyColumns::Key(columns(&[("no", Written::Integer), ("at", Written::Text)]));
        assert_eq!(key.to_string(), r#"{"no": integer, "at": text}"#);
        assert!(key.admit(r#"{"at":"x","no":-20}"#));
        for wrong in [
            r#"{"no":20}"#,
            r#"{"at":"x","no":"20"}"#,
            r#"{"at":"x","no":20.0}"#,
            r#"{"at":"x","no":2e1}"#,
            r#"{"at":"x","no":null}"#,
            r#"{"at":7,"no":20}"#,
            r#"{"at":"x","NO":20}"#,
            r#"{"at":"x","no":20,"more":1}"#,
            "{}",
        ] {
            assert!(!key.admit(wrong), "{wrong}");
        }
        for (written, fit, unfit) in [
            (Written::Boolean, "true", "\"true\""),
            (Written::Number, "1.50", "\"1.50\""),
            (Written::Number, "\"NaN\"", "true"),
            (
                Written::Uuid,
                "\"00000000-0000-0000-0000-00000000000a\"",
                "\"00000000-0000-0000-0000-00000000000A\"",
            ),
            (
                Written::Uuid,
                "\"00000000-0000-0000-0000-00000000000b\"",
                "7",
            ),
        ] {
            let key = KeyColumns::Key(columns(&[("c", written)]));
            assert!(key.admit(&format!("{{\"c\":{fit}}}")), "{fit}");
            assert!(!key.admit(&format!("{{\"c\":{unfit}}}")), "{unfit}");
        }
        let row = KeyColumns::Row(columns(&[("n", Written::Integer), ("s", Written::Any)]));
        for fit in [r#"{"n":1}"#, r#"{"n":null,"s":[1]}"#, r#"{"n":"hash"}"#] {
            assert!(row.admit(fit), "{fit}");
        }
        assert!(!row.admit(r#"{"n":true}"#) && !row.admit(r#"{"m":1}"#));
    }

    #[test]
    fn shapes_are_alike_by_names_and_types() {
        let like = |a: &str, b: &str| {
            let shape = |text| Shape::of(text).expect("an object");
            shape(a).is_like(&shape(b))
        };
        assert!(like(r#"{"a":1,"b":true}"#, r#"{"a":-25,"b":false}"#));
        assert!(like(r#"{"a":1}"#, r#"{"a":1.5}"#) && !like(r#"{"a":1.0}"#, r#"{"a":1}"#));
        assert!(like(r#"{"a":"x"}"#, r#"{"a":null}"#) && !like(r#"{"a":null}"#, r#"{"a":"x"}"#));
        assert!(!like(r#"{"a":1}"#, r#"{"a":"1"}"#));
        assert!(!like(r#"{"a":1}"#, r#"{"b":1}"#));
        assert!(!like(r#"{"a":1}"#, r#"{"a":1,"b":1}"#));
        assert_eq!(Shape::of("[1]"), None);
    }

    #[test]
    fn what_is_no_key_is_none() {
        for text in [
            "",
            "1",
            "[1]",
            "{",
            r#"{"a":1}}"#,
            r#"{"a":1,"a":2}"#,
            "{a:1}",
            r#"{"a":01}"#,
        ] {
            assert_eq!(normalised(text), None, "{text}");
        }
    }
}
