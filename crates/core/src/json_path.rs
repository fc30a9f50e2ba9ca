//! Where in a JSON text something stands, as a normalized path (RFC 9535 section 2.7).

use std::fmt;

/// A place in a JSON value. Printed as `$['relations']['crm.contact']['permissions'][0]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JsonPath(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Member(String),
    Element(usize),
}

impl JsonPath {
    /// The whole value.
    pub fn root() -> Self {
        Self::default()
    }

    /// The member of this name of the object that stands here.
    pub fn member(&self, name: &str) -> Self {
        let mut path = self.clone();
        path.push_member(name);
        path
    }

    /// The element at this place, from 0, of the array that stands here.
    pub fn element(&self, place: usize) -> Self {
        let mut path = self.clone();
        path.push_element(place);
        path
    }

    pub(crate) fn push_member(&mut self, name: &str) {
        self.0.push(Segment::Member(name.to_owned()));
    }

    pub(crate) fn push_element(&mut self, place: usize) {
        self.0.push(Segment::Element(place));
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for segment in &self.0 {
            match segment {
                Segment::Element(place) => write!(f, "[{place}]")?,
                Segment::Member(name) => {
                    f.write_str("['")?;
                    name.chars().try_for_each(|c| escaped(f, c))?;
                    f.write_str("']")?;
                }
            }
        }
        Ok(())
    }
}

fn escaped(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\'' => f.write_str("\\'"),
        '\\' => f.write_str("\\\\"),
        '\u{8}' => f.write_str("\\b"),
        '\u{c}' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c)),
        c => write!(f, "{c}"),
    }
}

#[cfg(test)]
mod tests {
    use super::JsonPath;

    #[test]
    fn paths_are_normalized() {
        let path = JsonPath::root()
            .member("relations")
            .member("crm.contact")
            .element(0);
        assert_eq!(path.to_string(), "$['relations']['crm.contact'][0]");
        let path = JsonPath::root().member("it's\\\n\u{1}é\"");
        assert_eq!(path.to_string(), r#"$['it\'s\\\n\u0001é"']"#);
        assert_eq!(JsonPath::root().to_string(), "$");
    }
}
