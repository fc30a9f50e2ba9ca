//! Erasures of personal values, as the ledger holds them: events that name other events.

mod reading;

use serde::Serialize;

use crate::event::{Entry, EventKey, Kind};

/// Action of the events that name what was erased.
pub const ACTION: &str = "erase_personal";

/// Most events that one of them names; one that names more names none. An event is read as a whole
/// wherever it is verified, so whoever made a ledger must not decide what that takes.
pub const MOST_NAMED: usize = 10_000;

/// The data of such an event.
#[derive(Serialize)]
struct Data<'a> {
    erased: Vec<OfIncarnation>,
    legal_basis: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Incarnation in hexadecimal, and transactions: each a transaction id and the ordinals in it.
type OfIncarnation = (String, Vec<Vec<i64>>);

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
        legal_basis,
        reason,
    };
    serde_json::to_string(&data).expect("texts and numbers")
}

/// The events that an event says were erased; none where it is no erasure as the format has them.
pub fn named_by(entry: &Entry<'_>) -> Option<Vec<EventKey>> {
    if !is_erasure(entry.kind, entry.action) {
        return None;
    }
    reading::named(entry.data?)
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
            r#"{"erased":[["000000000000000a",[[5,1]]]],"erased":[],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[5,1]]]]}"#,
            r#"{"erased":[["000000000000000a",[[5,1]],[]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[5,1]]],["000000000000000b"]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[5,1]]],["000000000000000b",{}]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[5,1]]],["+00000000000000b",[]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[5,true]]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[5,-0]]]],"legal_basis":"x"}"#,
            r#"{"erased":[["000000000000000a",[[9223372036854775808,0]]]],"legal_basis":"x"}"#,
            r#"{"erased":{"000000000000000a":[[5,1]]},"legal_basis":"x"}"#,
            // An array of what the members would hold is no object.
            r#"[[["000000000000000a",[[5,1]]]],"x"]"#,
            r#"[[["000000000000000a",[[5,1]]]],"x","y"]"#,
            // Half of a surrogate pair is no text.
            r#"{"erased":[["000000000000000a",[[5,1]]]],"legal_basis":"\ud800"}"#,
            r#"{"erased":[["000000000000000a",[[5,1]]]],"legal_basis":"x","reason":"\udc00 "}"#,
        ] {
            assert_eq!(
                named_by(&event("system", ACTION, Some(data))),
                None,
                "{data}"
            );
        }
    }
    /// So that what an event takes to read does not grow with the event.
    #[test]
    fn erasure_of_more_than_the_format_allows_names_nothing() {
        let keys: Vec<_> = (0..=MOST_NAMED as i64).map(|xid| key(7, xid, 0)).collect();
        let named = |keys: &[EventKey]| {
            let text = data(keys, "x", None);
            named_by(&event("system", ACTION, Some(&text)))
        };
        assert_eq!(named(&keys), None);
        assert_eq!(named(&keys[1..]).as_deref(), Some(&keys[1..]));
        // One that is named again counts again.
        assert_eq!(named(&vec![keys[0]; MOST_NAMED + 1]), None);
    }

    #[test]
    fn order_white_space_and_escapes_are_free() {
        let text = r#" { "reason" : "\ud83d\ude00", "legal_\u0062asis":"", "erased" :
            [ [ "000000000000000\u0061" , [ ] ], ["000000000000000a", [[ 5 , 1 ]]] ] } "#;
        let named = named_by(&event("system", ACTION, Some(text)));
        assert_eq!(named, Some(vec![key(10, 5, 1)]));
    }
}
