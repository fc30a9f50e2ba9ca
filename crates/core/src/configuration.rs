//! What was captured when a block was sealed: the text whose hash the block carries.

use serde::Serialize;
use serde_json::{Map, Value};

/// What is captured, by which triggers, and who could change that.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Configuration {
    /// Version of the extension.
    pub extension: String,
    /// The triggers that capture changes, and the relations that are registered without one.
    pub relations: Vec<Captured>,
    /// Event triggers that watch commands.
    pub guards: Vec<Guard>,
    /// Triggers that keep the ledger's own tables append-only.
    pub ledger: Vec<LedgerGuard>,
    /// Roles that may change any of it, or look past it.
    pub roles: Vec<Holder>,
    /// Relations whose reads are recorded.
    pub reads: Vec<String>,
    /// Roles of the product whose holders read the log of their account.
    pub log_readers: Vec<String>,
    /// Views of the extension.
    pub views: Vec<View>,
    /// What stands on the ledger's tables and does not belong there.
    pub alterations: Vec<Alteration>,
}

/// A trigger that captures changes of a relation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Captured {
    /// Schema-qualified name.
    pub relation: String,
    /// Name of the trigger; none where a registered relation has none.
    pub trigger: Option<String>,
    /// When it fires: `always`, `origin`, `replica` or `disabled`.
    pub enabled: Option<String>,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// An event trigger of the extension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Guard {
    /// Its name.
    pub trigger: String,
    /// When it fires.
    pub enabled: String,
}

/// The guard of a table of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LedgerGuard {
    /// Name of the table.
    pub table: String,
    /// Name of the trigger; none where it is gone.
    pub trigger: Option<String>,
    /// When it fires.
    pub enabled: Option<String>,
}

/// A view, through which people read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct View {
    /// Its name.
    pub view: String,
    /// Name of its owner, in whose name it reads.
    pub owner: String,
    /// Its options, parted by commas.
    pub options: String,
    /// SHA-256 of its definition as PostgreSQL prints it, in hexadecimal.
    pub definition: String,
}

/// Something on a table of the ledger that decides what is written there or who reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Alteration {
    /// Name of the table.
    pub table: String,
    /// `row security`, or the kind and name of a policy, rule, trigger or other owner.
    pub what: String,
}

/// A role and why it matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Holder {
    /// Name of the role.
    pub role: String,
    /// `superuser`, `bypassrls`, or the group role of the extension it can act as.
    pub holds: String,
}

impl Configuration {
    /// The text that is hashed and stored. It has the lists in one order, however they were read.
    pub fn into_text(mut self) -> String {
        self.relations.sort_unstable();
        self.guards.sort_unstable();
        self.ledger.sort_unstable();
        self.roles.sort_unstable();
        self.reads.sort_unstable();
        self.log_readers.sort_unstable();
        self.views.sort_unstable();
        self.alterations.sort_unstable();
        serde_json::to_string(&self).expect("strings and lists always have a JSON text")
    }
}

/// A difference between the configurations of two blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The part of the configuration, a member of its JSON object.
    pub part: String,
    /// Whether the entry came or went.
    pub added: bool,
    /// The entry.
    pub entry: Value,
}

/// What differs between two texts, in the order of the parts; all of `after` is new where there is
/// no `before`. A text that is not a JSON object counts as empty: verification reports it.
pub fn changes(before: Option<&str>, after: &str) -> Vec<Change> {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let before = before.map(read).unwrap_or_default();
    let after = read(after);
    let mut parts: Vec<&String> = before.keys().chain(after.keys()).collect();
    parts.sort_unstable();
    parts.dedup();
    let mut found = Vec::new();
    for part in parts {
        let (old, new) = (entries(before.get(part)), entries(after.get(part)));
        let mut differ = |added: bool, these: &[String], others: &[String]| {
            let only = these
                .iter()
                .filter(|entry| others.binary_search(entry).is_err());
            found.extend(only.map(|entry| Change {
                part: part.clone(),
                added,
                entry: serde_json::from_str(entry).unwrap_or_default(),
            }));
        };
        differ(false, &old, &new);
        differ(true, &new, &old);
    }
    found
}

/// The texts of a part's entries, sorted.
fn entries(part: Option<&Value>) -> Vec<String> {
    let mut texts: Vec<String> = match part {
        None => Vec::new(),
        Some(Value::Array(entries)) => entries.iter().map(Value::to_string).collect(),
        Some(other) => vec![other.to_string()],
    };
    texts.sort_unstable();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn captured(relation: &str, enabled: &str) -> Captured {
        Captured {
            relation: relation.into(),
            trigger: Some("tenant_guard_capture".into()),
            enabled: Some(enabled.into()),
            arguments: vec!["account_id".into()],
        }
    }

    fn configuration(relations: Vec<Captured>) -> String {
        Configuration {
            extension: "1".into(),
            relations,
            ..Configuration::default()
        }
        .into_text()
    }

    #[test]
    fn a_trigger_that_was_disabled_is_one_entry_gone_and_one_new() {
        let before = configuration(vec![captured("a.t", "always"), captured("a.u", "always")]);
        let after = configuration(vec![captured("a.t", "always"), captured("a.u", "disabled")]);
        let found = changes(Some(&before), &after);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|change| change.part == "relations"));
        assert_eq!(
            (found[0].added, &found[0].entry["enabled"]),
            (false, &json!("always"))
        );
        assert_eq!(
            (found[1].added, &found[1].entry["enabled"]),
            (true, &json!("disabled"))
        );
        assert_eq!(changes(Some(&after), &after), []);
    }

    #[test]
    fn everything_is_new_at_first() {
        let found = changes(None, &configuration(vec![captured("a.t", "always")]));
        let parts: Vec<_> = found.iter().map(|change| change.part.as_str()).collect();
        assert_eq!(parts, ["extension", "relations"]);
        assert!(found.iter().all(|change| change.added));
    }

    #[test]
    fn the_text_names_what_is_missing() {
        let text = configuration(vec![Captured {
            trigger: None,
            enabled: None,
            arguments: vec![],
            ..captured("a.t", "")
        }]);
        assert_eq!(
            text,
            r#"{"extension":"1","relations":[{"relation":"a.t","trigger":null,"enabled":null,"arguments":[]}],"guards":[],"ledger":[],"roles":[],"reads":[],"log_readers":[],"views":[],"alterations":[]}"#
        );
    }
}
