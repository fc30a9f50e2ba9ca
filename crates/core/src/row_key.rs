//! Keys of rows as people write them, in the one form that can be compared.

use std::collections::BTreeMap;

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
