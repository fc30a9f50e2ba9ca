//! Reads the data of an erasure into the keys it names and keeps nothing else, so that reading one
//! takes no more memory than [`MOST_NAMED`] keys, whatever stands there.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::MOST_NAMED;
use crate::event::EventKey;

/// The events that the data names; none where it is not of the format's form.
pub(super) fn named(data: &str) -> Option<Vec<EventKey>> {
    let mut deserializer = serde_json::Deserializer::from_str(data);
    let named = deserializer.deserialize_map(Members).ok()?;
    deserializer.end().ok()?;
    Some(named)
}

/// The object. An array of what its members would hold is none.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<EventKey>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the data of an erasure")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        const NAMES: [&str; 3] = ["erased", "legal_basis", "reason"];
        let mut named = Vec::new();
        let mut stands = [false; NAMES.len()];
        let name = |name: &str| NAMES.iter().position(|known| *known == name);
        while let Some(at) = members.next_key_seed(Text(name))? {
            if std::mem::replace(&mut stands[at], true) {
                return Err(Error::duplicate_field(NAMES[at]));
            }
            match at {
                0 => members.next_value_seed(Array {
                    of: Level::Incarnations,
                    named: &mut named,
                })?,
                _ => members.next_value_seed(Text(|_: &str| Some(())))?,
            }
        }
        match stands {
            [true, true, _] => Ok(named),
            _ => Err(Error::custom("a member lacks")),
        }
    }
}

/// A text, of which only what the function makes of it is kept.
struct Text<F>(F);

impl<'de, T, F: Fn(&str) -> Option<T>> DeserializeSeed<'de> for Text<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: Fn(&str) -> Option<T>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text of the format")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).ok_or_else(|| E::custom("another text than the format has here"))
    }
}

/// What an array is one of.
#[derive(Clone, Copy)]
enum Level {
    Incarnations,
    /// An incarnation and the array of its transactions.
    Incarnation,
    Transactions(i64),
    /// The transaction id and ordinals.
    Transaction(i64),
}

/// An array, whose names are added to those before.
struct Array<'a> {
    of: Level,
    named: &'a mut Vec<EventKey>,
}

impl<'de> DeserializeSeed<'de> for Array<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of the format")
    }

    /// Elements that are left over are an error of whoever called.
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let lacks = || A::Error::custom("an element lacks");
        let Self { of, named } = self;
        let inner = match of {
            Level::Incarnations => Level::Incarnation,
            Level::Incarnation => {
                let incarnation = elements.next_element_seed(Text(incarnation))?;
                let of = Level::Transactions(incarnation.ok_or_else(lacks)?);
                let transactions = elements.next_element_seed(Array { of, named })?;
                return transactions.ok_or_else(lacks);
            }
            Level::Transactions(incarnation) => Level::Transaction(incarnation),
            Level::Transaction(incarnation) => {
                let xid = elements.next_element()?.filter(|xid: &i64| *xid >= 0);
                let xid = xid.ok_or_else(lacks)?;
                let mut ordinals = 0;
                while let Some(ordinal) = elements.next_element::<i32>()? {
                    if ordinal < 0 || named.len() == MOST_NAMED {
                        return Err(Error::custom("an ordinal or number of names out of range"));
                    }
                    ordinals += 1;
                    named.push(EventKey {
                        incarnation,
                        xid,
                        ordinal,
                    });
                }
                return (ordinals > 0).then_some(()).ok_or_else(lacks);
            }
        };
        let mut element = || {
            let named = &mut *named;
            elements.next_element_seed(Array { of: inner, named })
        };
        while element()?.is_some() {}
        Ok(())
    }
}

/// Reads an incarnation in hexadecimal.
fn incarnation(digits: &str) -> Option<i64> {
    let lower = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    let number = u64::from_str_radix(digits, 16).ok();
    let number = number.filter(|_| digits.len() == 16 && digits.bytes().all(lower));
    number.map(u64::cast_signed)
}
