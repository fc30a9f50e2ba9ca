//! Erasures of personal values, as the ledger holds them: events that name other events.

use serde::{Deserialize, Serialize};

use crate::event::{Entry, EventKey, Kind};

/// Action of the events that name what was erased.
pub const ACTION: &str = "erase_personal";

/// Most events that one of them names: an event is read as a whole wherever it is verified, and one
/// of these has at most a few hundred thousand bytes.
pub const MOST_NAMED: usize = 10_000;

/// The data of such an event.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    erased: Vec<OfIncarnation>,
    legal_basis: String,
    #[serde(
        default,
        deserialize_with = "told",
        skip_serializing_if = "Option::is_none"
    )]
    reason: Option<String>,
}

/// Incarnation in hexadecimal, and transactions: each a transaction id and the ordinals in it.
type OfIncarnation = (String, Vec<Vec<i64>>);

fn told<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// The data of an event that says that the values of these were erased, which are in ascending
/// order.
pub fn data(erased: &[EventKey], legal_basis: &str, reason: Option<&str>) -> String {
    let mut groups: Vec<OfIncarnation> = Vec::new();
    let mut last: Option<EventKey> = None;
    for key in erased {
        let same_incarnation = last.is_some_and(|last| last.incarnation == key.incarnation);
        if !same_incarnation {
            groups.push((format!("{:016x}", key.incarnation), Vec::new()));
        }
        let of_incarnation = groups.last_mut().map(|(_, transactions)| transactions);
        let transactions = of_incarnation.expect("one was pushed");
        if !same_incarnation || last.is_none_or(|last| last.xid != key.xid) {
            transactions.push(vec![key.xid]);
        }
        let transaction = transactions.last_mut().expect("one was pushed");
        transaction.push(key.ordinal.into());
        last = Some(*key);
    }
    let data = Data {
        erased: groups,
        legal_basis: legal_basis.to_owned(),
        reason: reason.map(str::to_owned),
    };
    serde_json::to_string(&data).expect("texts and numbers")
}

/// The events that an event says were erased; none where it is no erasure as this code writes one.
pub fn named_by(entry: &Entry<'_>) -> Option<Vec<EventKey>> {
    if !is_erasure(entry.kind, entry.action) {
        return None;
    }
    let data: Data = serde_json::from_str(entry.data?).ok()?;
    let mut named = Vec::new();
    for (incarnation, transactions) in data.erased {
        let of_incarnation = u64::from_str_radix(&incarnation, 16).ok()?;
        if format!("{of_incarnation:016x}") != incarnation {
            return None;
        }
        for transaction in transactions {
            let (xid, ordinals) = transaction.split_first()?;
            if *xid < 0 || ordinals.is_empty() {
                return None;
            }
            for ordinal in ordinals {
                named.push(EventKey {
                    incarnation: of_incarnation as i64,
                    xid: *xid,
                    ordinal: i32::try_from(*ordinal).ok().filter(|n| *n >= 0)?,
                });
            }
        }
    }
    Some(named)
}

/// Whether an event of this kind and action is one that the extension names erased events in.
pub fn is_erasure(kind: &str, action: &str) -> bool {
    kind == Kind::System.as_str() && action == ACTION
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(incarnation: i64, xid: i64, ordinal: i32) -> EventKey {
        EventKey {
            incarnation,
            xid,
            ordinal,
        }
    }

    fn event<'a>(kind: &'a str, action: &'a str, data: Option<&'a str>) -> Entry<'a> {
        Entry {
            key: key(1, 1, 0),
            command_id: 0,
            kind,
            action,
            account: "a",
            relation: None,
            leaf_relation: None,
            row_key: None,
            target: None,
            occurred_at: 0,
            context: None,
            data,
            personal: None,
            redacted: &[],
            hashed: &[],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let keys = [
            key(-1, 5, 0),
            key(7, 5, 0),
            key(7, 5, 3),
            key(7, i64::MAX, i32::MAX),
        ];
        let text = data(&keys, "Art. 17", Some("asked for"));
        assert_eq!(
            text,
            r#"{"erased":[["ffffffffffffffff",[[5,0]]],["0000000000000007",[[5,0,3],[9223372036854775807,2147483647]]]],"legal_basis":"Art. 17","reason":"asked for"}"#
        );
        let named = named_by(&event("system", ACTION, Some(&text)));
        assert_eq!(named.as_deref(), Some(&keys[..]));
        let text = data(&keys[..1], "x", None);
        assert!(text.ends_with(r#""legal_basis":"x"}"#), "{text}");
    }

    /// The application chooses its actions; what it records names nothing.
    #[test]
    fn erasure_forged_as_the_application_s_names_nothing() {
        let text = data(&[key(1, 2, 3)], "x", None);
        for (kind, action) in [
            ("application", ACTION),
            ("row", ACTION),
            ("system", "erase"),
            ("System", ACTION),
        ] {
            assert_eq!(named_by(&event(kind, action, Some(&text))), None);
        }
        assert_eq!(named_by(&event("system", ACTION, None)), None);
    }

    #[test]
    fn data_of_another_form_names_nothing() {
        for data in [
            "",
            "[]",
            r#"{"erased":[]}"#,
            r#"{"erased":[["1",[[5,0]]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000A",[[5,0]]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[5]]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[]]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[-5,0]]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[5,-1]]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[5,2147483648]]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[5,1.0]]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[5,1]]]],"legal_basis":1}"#,
            r#"{"erased":[["000000000000000a",[[5,1]]]],"legal_basis":"x","reason":null}"#,
            r#"{"erased":[["000000000000000a",[[5,1]]]],"legal_basis":"x","more":1}"#,
            r#"{"erased":[["000000000000000a",[[5,1]]]],"legal_basis":"x","legal_basis":"y"}"#,
        ] {
            assert_eq!(
                named_by(&event("system", ACTION, Some(data))),
                None,
                "{data}"
            );
        }
    }
}
