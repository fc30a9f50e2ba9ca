//! Names of relations as keys of a manifest.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

use crate::audit::push_identifier;

/// PostgreSQL cuts longer identifiers off.
const LONGEST: usize = 63;

/// A relation with its schema. Printed quoted where it needs to be, as the type `regclass` reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelationName {
    /// The schema as the catalog has it.
    pub schema: String,
    /// The name as the catalog has it.
    pub name: String,
}

impl RelationName {
    /// Reads `schema.name` as SQL would: in lower case, unless it is quoted.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.chars().peekable();
        let schema = identifier(&mut rest)?;
        if rest.next() != Some('.') {
            return None;
        }
        let name = identifier(&mut rest)?;
        rest.next().is_none().then_some(Self { schema, name })
    }
}

impl fmt::Display for RelationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        push_identifier(&mut text, &self.schema);
        text.push('.');
        push_identifier(&mut text, &self.name);
        f.write_str(&text)
    }
}

fn identifier(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut name = String::new();
    if rest.next_if_eq(&'"').is_some() {
        loop {
            match rest.next()? {
                '"' if rest.next_if_eq(&'"').is_some() => name.push('"'),
                '"' => break,
                c => name.push(c),
            }
        }
    } else {
        let starts = |c: &char| c.is_ascii_alphabetic() || *c == '_' || !c.is_ascii();
        name.push(rest.next_if(starts)?);
        while let Some(c) = rest.next_if(|c| starts(c) || c.is_ascii_digit() || *c == '$') {
            name.push(c);
        }
        // As PostgreSQL in UTF-8: only ASCII is folded.
        name.make_ascii_lowercase();
    }
    (!name.is_empty() && name.len() <= LONGEST && !name.contains('\0')).then_some(name)
}

/// Whether PostgreSQL would keep this name whole.
pub(super) fn fits(name: &str) -> bool {
    name.len() <= LONGEST
}

#[cfg(test)]
mod tests {
    use super::RelationName;

    #[test]
    fn spellings_of_one_name_are_equal() {
        for (text, normal) in [
            ("crm.contact", "crm.contact"),
            ("CRM.Contact", "crm.contact"),
            ("\"crm\".contact", "crm.contact"),
            ("\"My CRM\".\"a.\"\"b\"", "\"My CRM\".\"a.\"\"b\""),
            ("größe.x$1", "\"größe\".\"x$1\""),
            ("public.user", "public.user"),
        ] {
            let name = RelationName::parse(text).expect(text);
            assert_eq!(name.to_string(), normal);
            assert_eq!(RelationName::parse(normal), Some(name));
        }
    }

    #[test]
    fn what_is_no_qualified_name_is_refused() {
        for text in [
            "",
            "contact",
            "a.b.c",
            ".b",
            "a.",
            "a .b",
            "a.b ",
            "1a.b",
            "\"a.b",
            "\"\".b",
            "a.\"b\"c",
            "a-b.c",
            &format!("a.{}", "x".repeat(64)),
        ] {
            assert_eq!(RelationName::parse(text), None, "{text}");
        }
    }
}
