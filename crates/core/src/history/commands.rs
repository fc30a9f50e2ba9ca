//! What recorded commands did to the rows of a relation.

use serde_json::Value;

use super::members::Members;
use super::names::{bare, qualified, split};

/// What one event of a command means for rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// A column has another name.
    RenamedColumn(String, String),
    /// The relation had this name before.
    Renamed(String),
    /// A new column, with the JSON text that stands in all rows of before.
    Added(String, Filling),
    /// A column is gone.
    DroppedColumn(String),
    /// The column's values are others, and no event says which.
    Changed(String),
    /// The relation is gone, with its rows.
    Dropped,
    /// Partitions left with their rows.
    Detached(Vec<String>),
    /// Partitions left with their rows, and transactions that began before may still write them.
    Leaving(Vec<String>),
    /// A crash may take the rows, without an event.
    Unlogged,
    /// Nothing is known of the rows any more.
    Lost,
}

/// What rows that stood before have in a new column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filling {
    /// This JSON text.
    Value(String),
    /// Something no event says.
    Unknown,
    /// Nothing that is captured.
    LeftOut,
}

/// Reads the data of an event of action `ddl`. `relation` is the name the event bears.
pub(super) fn done(relation: &str, data: &str) -> Vec<Done> {
    let Some(said) = Members::read(data) else {
        return vec![Done::Lost];
    };
    let text = |name: &str| -> Option<String> { serde_json::from_str(said.get(name)?).ok() };
    let mut found = Vec::new();
    let actions: Vec<String> = { said.get("actions") }
        .and_then(|actions| serde_json::from_str(actions).ok())
        .unwrap_or_default();
    if said.get("type").is_some() {
        // A label of an enumeration by another name is another value, and so is a composite value with
        // more attributes or fewer; more labels are none, nor is another name of the type. An attribute by
        // another name is a column of the tables that were made of the type.
        let renamed = match text("object").as_deref() {
            Some("attribute") => said.get("made_of") == Some("true"),
            object => object == Some("value"),
        };
        let dropped = said.get("dropped").is_some();
        if renamed || dropped || actions.iter().any(|action| action != "change the owner") {
            found.push(Done::Lost);
        }
        return found;
    }
    if let Some(schema) = text("schema")
        && let Ok((_, name)) = split(relation)
    {
        found.push(Done::Renamed(qualified(&schema, &name)));
    }
    if let Some((before, after)) = text("renamed").zip(text("to")) {
        match text("object").as_deref() {
            Some("column") => found.push(Done::RenamedColumn(before, after)),
            Some("table") => {
                if let Ok((schema, _)) = split(relation) {
                    found.push(Done::Renamed(qualified(&schema, &before)));
                }
            }
            _ => {}
        }
    }
    match text("dropped").as_deref() {
        Some("relation") => found.push(Done::Dropped),
        Some("column") => {
            let column = text("object").and_then(|identity| bare(&identity));
            found.extend(column.map(Done::DroppedColumn));
        }
        Some("trigger") if text("object").is_some_and(|name| is_capture(&name)) => {
            found.push(Done::Lost);
        }
        _ => {}
    }
    let detached: Vec<String> = { said.get("detached") }
        .and_then(|detached| serde_json::from_str(detached).ok())
        .unwrap_or_default();
    // Which partitions left must be known.
    if detached.is_empty() && actions.iter().any(|a| a.starts_with("detach partition")) {
        found.push(Done::Lost);
    } else if said.get("leaving") == Some("true") {
        found.push(Done::Leaving(detached));
    } else if !detached.is_empty() {
        found.push(Done::Detached(detached));
    }
    let filled: Value = { said.get("filled") }
        .and_then(|filled| serde_json::from_str(filled).ok())
        .unwrap_or_default();
    let arrived_empty = said.get("empty") == Some("true");
    for action in &actions {
        if !(arrived_empty && action.starts_with("attach partition")) {
            found.extend(of_action(action, &filled));
        }
    }
    found
}

fn is_capture(name: &str) -> bool {
    name.contains("tenant_guard_capture")
}

fn of_action(action: &str, filled: &Value) -> Option<Done> {
    let named = |prefix: &str| action.strip_prefix(prefix).map(str::to_owned);
    if let Some(column) = named("add column ") {
        let filling = match filled.get(&column) {
            Some(Value::String(json)) => Filling::Value(json.clone()),
            Some(Value::Null) => Filling::LeftOut,
            _ => Filling::Unknown,
        };
        return Some(Done::Added(column, filling));
    }
    if let Some(column) = named("drop column ") {
        return Some(Done::DroppedColumn(column));
    }
    let changed =
        named("change the type of column ").or_else(|| named("change the expression of column "));
    if let Some(column) = changed {
        // No event has a value of a column that is left out.
        let left_out = filled.get(&column) == Some(&Value::Null);
        return (!left_out).then_some(Done::Changed(column));
    }
    if action == "set unlogged" {
        return Some(Done::Unlogged);
    }
    let stops = match named("disable trigger ") {
        Some(trigger) => is_capture(&trigger),
        None => ["attach partition ", "disable triggers", "set logged"]
            .iter()
            .any(|prefix| action.starts_with(prefix)),
    };
    stops.then_some(Done::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_for_what_they_do_to_rows() {
        let column = |name: &str| name.to_owned();
        for (data, expected) in [
            (
                r#"{"command":"ALTER TABLE","renamed":"a","to":"b","object":"column"}"#,
                vec![Done::RenamedColumn(column("a"), column("b"))],
            ),
            (
                r#"{"command":"ALTER TABLE","renamed":"Old","to":"t","object":"table"}"#,
                vec![Done::Renamed("s.\"Old\"".into())],
            ),
            (
                r#"{"command":"ALTER TABLE","actions":["change the expression of column v"],
                    "filled":{"v":null}}"#,
                vec![],
            ),
            (
                r#"{"command":"ALTER TABLE","schema":"before"}"#,
                vec![Done::Renamed("before.t".into())],
            ),
            (
                r#"{"command":"ALTER TABLE","renamed":"c1","to":"c2"}"#,
                vec![],
            ),
            (
                r#"{"actions":["add column a b","add column c","add column d"],
                    "filled":{"a b":"1.50","c":null}}"#,
                vec![
                    Done::Added(column("a b"), Filling::Value("1.50".into())),
                    Done::Added(column("c"), Filling::LeftOut),
                    Done::Added(column("d"), Filling::Unknown),
                ],
            ),
            (
                r#"{"actions":["change the type of column a by an expression","drop column b"],
                    "by_expression":["a by an expression"]}"#,
                vec![
                    Done::Changed(column("a by an expression")),
                    Done::DroppedColumn(column("b")),
                ],
            ),
            (
                r#"{"dropped":"column","object":"s.t.\"A\""}"#,
                vec![Done::DroppedColumn(column("A"))],
            ),
            (r#"{"dropped":"relation"}"#, vec![Done::Dropped]),
            (
                r#"{"actions":["disable trigger tenant_guard_capture"]}"#,
                vec![Done::Lost],
            ),
            (r#"{"actions":["disable trigger mine"]}"#, vec![]),
            (
                r#"{"command":"ALTER TYPE","renamed":"ok","to":"paid","object":"value","type":"s.mood"}"#,
                vec![Done::Lost],
            ),
            (
                r#"{"command":"ALTER TYPE","actions":["add column a"],"type":"s.pair"}"#,
                vec![Done::Lost],
            ),
            (
                r#"{"command":"ALTER TYPE","renamed":"pair","to":"two","type":"s.two"}"#,
                vec![],
            ),
            (
                r#"{"command":"ALTER TYPE","added":"new","type":"s.mood"}"#,
                vec![],
            ),
            (
                r#"{"actions":["detach partition s.P 1"],"detached":["s.\"P 1\"","s.p2"]}"#,
                vec![Done::Detached(vec!["s.\"P 1\"".into(), "s.p2".into()])],
            ),
            (r#"{"actions":["detach partition s.p1"]}"#, vec![Done::Lost]),
            (
                r#"{"detached":["s.p1"],"leaving":true}"#,
                vec![Done::Leaving(vec!["s.p1".into()])],
            ),
            (
                r#"{"command":"DROP TYPE","dropped":"attribute","type":"s.pair"}"#,
                vec![Done::Lost],
            ),
            (r#"{"actions":["set unlogged"]}"#, vec![Done::Unlogged]),
            (r#"{"actions":["set logged"]}"#, vec![Done::Lost]),
            (r#"{"actions":["attach partition s.p1"]}"#, vec![Done::Lost]),
            (
                r#"{"actions":["attach partition s.p1"],"empty":true}"#,
                vec![],
            ),
            (
                r#"{"actions":["change the expression of column a"]}"#,
                vec![Done::Changed(column("a"))],
            ),
            ("nonsense", vec![Done::Lost]),
        ] {
            assert_eq!(done("s.t", data), expected, "{data}");
        }
    }
}
