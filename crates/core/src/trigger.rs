//! The text of the triggers that write the audit log.

use serde_json::{Map, Value, json};

use crate::policy::{array, literal};

/// Name of the row trigger that writes the audit log.
pub const CAPTURE: &str = "tenant_guard_capture";
/// Name of the statement trigger that writes TRUNCATE to the audit log.
pub const CAPTURE_TRUNCATE: &str = "tenant_guard_capture_truncate";

/// How changes of a relation are captured. It stands in the arguments of the relation's triggers,
/// which are all that capture goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureRule {
    /// The columns to capture beside those in `redact` and `hash`; none for all.
    pub include: Option<Vec<String>>,
    /// Columns that are left out without a word.
    pub exclude: Vec<String>,
    /// Columns whose values are never logged, only that they are concerned.
    pub redact: Vec<String>,
    /// Columns of whose values a keyed hash is logged.
    pub hash: Vec<String>,
    /// Columns whose values are logged apart, under a commitment that outlives them.
    pub personal: Vec<String>,
    /// Whether an UPDATE that changes no captured column leaves no event.
    pub skip_unchanged: bool,
    /// Whether TRUNCATE leaves an event for each row.
    pub truncate_rows: bool,
}

/// The arguments of a trigger are not those of a capture trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid capture rule")]
pub struct InvalidRule;

impl CaptureRule {
    /// The rule that only redacts.
    pub fn redacting(redact: &[String]) -> Self {
        Self {
            redact: redact.to_vec(),
            ..Self::default()
        }
    }

    /// The same rule with more columns redacted.
    pub fn and_redact(mut self, more: &[String]) -> Self {
        for column in more {
            if !self.redact.contains(column) {
                self.redact.push(column.clone());
            }
            self.hash.retain(|hashed| hashed != column);
        }
        self
    }

    /// The same rule with these columns personal, and no others.
    pub fn and_personal(self, personal: Vec<String>) -> Self {
        Self { personal, ..self }
    }

    /// A column that is both hashed and personal, if there is one. Its hash could not be erased. What
    /// is left out or redacted may be personal: it is not logged, so there is nothing to erase.
    pub fn hashed_and_personal(&self) -> Option<&str> {
        let mut hashed = self.hash.iter();
        let column = hashed.find(|column| self.personal.contains(column));
        column.map(String::as_str)
    }

    /// A column that stands in two lists that exclude each other, if there is one.
    pub fn contradiction(&self) -> Option<&str> {
        let lists = [&self.exclude, &self.redact, &self.hash];
        let named = lists.into_iter().flatten();
        let mut seen = Vec::new();
        for column in named {
            let included = self.include.iter().flatten().any(|name| name == column);
            if seen.contains(&column) || included && self.exclude.contains(column) {
                return Some(column);
            }
            seen.push(column);
        }
        None
    }

    /// The trigger's third argument; none where the first two say it all.
    fn argument(&self) -> Option<String> {
        let mut members = Map::new();
        if let Some(include) = &self.include {
            members.insert("include".into(), json!(include));
        }
        for (name, columns) in [
            ("exclude", &self.exclude),
            ("hash", &self.hash),
            ("personal", &self.personal),
        ] {
            if !columns.is_empty() {
                members.insert(name.into(), json!(columns));
            }
        }
        for (name, set) in [
            ("skip_unchanged", self.skip_unchanged),
            ("truncate_rows", self.truncate_rows),
        ] {
            if set {
                members.insert(name.into(), json!(true));
            }
        }
        (!members.is_empty()).then(|| Value::Object(members).to_string())
    }

    /// Reads the rule from the redacted columns and the trigger's third argument. Whatever is not
    /// understood is an error: a list that was passed over would log what it is to keep out.
    pub fn read(redact: Vec<String>, argument: Option<&str>) -> Result<Self, InvalidRule> {
        let mut rule = Self {
            redact,
            ..Self::default()
        };
        let Some(argument) = argument else {
            return Ok(rule);
        };
        let members: Map<String, Value> =
            serde_json::from_str(argument).map_err(|_| InvalidRule)?;
        for (name, value) in members {
            let columns = || serde_json::from_value(value.clone()).map_err(|_| InvalidRule);
            let flag = || value.as_bool().ok_or(InvalidRule);
            match name.as_str() {
                "include" => rule.include = Some(columns()?),
                "exclude" => rule.exclude = columns()?,
                "hash" => rule.hash = columns()?,
                "personal" => rule.personal = columns()?,
                "skip_unchanged" => rule.skip_unchanged = flag()?,
                "truncate_rows" => rule.truncate_rows = flag()?,
                _ => return Err(InvalidRule),
            }
        }
        Ok(rule)
    }

    fn arguments(&self, account_column: &str) -> String {
        let mut arguments = format!(
            "{}, {}",
            literal(account_column),
            literal(&array(&self.redact))
        );
        if let Some(more) = self.argument() {
            arguments += ", ";
            arguments += &literal(&more);
        }
        arguments
    }
}

/// A trigger as the catalog holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The statement `pg_get_triggerdef` prints.
    pub definition: String,
    /// `ENABLE ALWAYS`: fires whatever `session_replication_role` says.
    pub always: bool,
    /// Whether it came from the partitioned table above and follows it.
    pub inherited: bool,
}

impl Trigger {
    /// The row trigger of `relation`, told the account column, empty where there is none, and how
    /// to capture.
    pub fn capture(relation: &str, account_column: &str, rule: &CaptureRule) -> Self {
        Self::wanted(format!(
            "CREATE TRIGGER {CAPTURE} AFTER INSERT OR DELETE OR UPDATE ON {relation} \
             FOR EACH ROW EXECUTE FUNCTION tenant_guard.capture({})",
            rule.arguments(account_column),
        ))
    }

    /// The statement trigger of `relation`, told the same. It fires while the rows are still there
    /// where each is to leave an event.
    pub fn capture_truncate(relation: &str, account_column: &str, rule: &CaptureRule) -> Self {
        let timing = if rule.truncate_rows {
            "BEFORE"
        } else {
            "AFTER"
        };
        Self::wanted(format!(
            "CREATE TRIGGER {CAPTURE_TRUNCATE} {timing} TRUNCATE ON {relation} \
             FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.capture_truncate({})",
            rule.arguments(account_column),
        ))
    }

    fn wanted(definition: String) -> Self {
        Self {
            definition,
            always: true,
            inherited: false,
        }
    }

    /// The statements that turn `present` into this trigger, named `name`, on `relation`.
    pub fn difference(&self, present: Option<&Self>, name: &str, relation: &str) -> Vec<String> {
        let enable = format!("ALTER TABLE {relation} ENABLE ALWAYS TRIGGER {name}");
        match present {
            None => vec![self.definition.clone(), enable],
            Some(present) if present.definition != self.definition && !present.inherited => {
                // OR REPLACE also sets the trigger back to firing on origin only.
                let replace = self.definition.replacen("CREATE", "CREATE OR REPLACE", 1);
                vec![replace, enable]
            }
            Some(present) if !present.always => vec![enable],
            Some(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        let rule = CaptureRule::redacting(&["it's".into(), "a\"b\\c".into()]);
        let trigger = Trigger::capture("t", "o'clock", &rule);
        assert!(
            trigger
                .definition
                .ends_with(r#"capture('o''clock', '{"it''s","a\"b\\c"}')"#),
            "{}",
            trigger.definition
        );
    }

    #[test]
    fn replaced_trigger_is_enabled_again() {
        let secret = CaptureRule::redacting(&["secret".into()]);
        let wanted = Trigger::capture("t", "account_id", &secret);
        let present = Trigger::capture("t", "account_id", &CaptureRule::default());
        let statements = wanted.difference(Some(&present), CAPTURE, "t");
        assert!(statements[0].starts_with("CREATE OR REPLACE TRIGGER tenant_guard_capture AFTER"));
        assert_eq!(
            statements[1],
            "ALTER TABLE t ENABLE ALWAYS TRIGGER tenant_guard_capture"
        );
    }

    #[test]
    fn what_a_trigger_is_told_it_reads_back() {
        let rule = CaptureRule {
            include: Some(vec!["a".into(), "it's".into()]),
            exclude: vec!["b\"c".into()],
            redact: vec!["secret".into()],
            hash: vec!["email".into()],
            personal: vec!["name".into()],
            skip_unchanged: true,
            truncate_rows: true,
        };
        let argument = rule.argument();
        assert_eq!(
            argument.as_deref(),
            Some(
                r#"{"exclude":["b\"c"],"hash":["email"],"include":["a","it's"],"personal":["name"],"skip_unchanged":true,"truncate_rows":true}"#
            )
        );
        let read = CaptureRule::read(rule.redact.clone(), argument.as_deref());
        assert_eq!(read.as_ref(), Ok(&rule));
        assert_eq!(CaptureRule::redacting(&rule.redact).argument(), None);
        let truncate = Trigger::capture_truncate("t", "", &rule).definition;
        assert!(
            truncate.starts_with("CREATE TRIGGER tenant_guard_capture_truncate BEFORE TRUNCATE")
        );
    }

    #[test]
    fn argument_that_is_not_understood_is_refused() {
        for argument in [
            "",
            "[]",
            r#"{"redacted":["a"]}"#,
            r#"{"hash":"a"}"#,
            r#"{"hash":[1]}"#,
        ] {
            assert_eq!(
                CaptureRule::read(vec![], Some(argument)),
                Err(InvalidRule),
                "{argument}"
            );
        }
    }

    #[test]
    fn column_in_two_lists_is_a_contradiction() {
        let rule = |include: Option<&str>, exclude: &str, redact: &str, hash: &str| {
            let list = |text: &str| text.split_whitespace().map(str::to_owned).collect();
            CaptureRule {
                include: include.map(list),
                exclude: list(exclude),
                redact: list(redact),
                hash: list(hash),
                ..CaptureRule::default()
            }
        };
        assert_eq!(rule(Some("a b"), "c", "a", "b").contradiction(), None);
        assert_eq!(rule(Some("a"), "a", "", "").contradiction(), Some("a"));
        assert_eq!(rule(None, "", "x", "y x").contradiction(), Some("x"));
        assert_eq!(rule(None, "x", "", "x").contradiction(), Some("x"));
        let personal = |list: &str| {
            let names = list.split_whitespace().map(str::to_owned).collect();
            rule(Some("a"), "b", "c", "d").and_personal(names)
        };
        assert_eq!(personal("a b c e").hashed_and_personal(), None);
        assert_eq!(personal("a d").hashed_and_personal(), Some("d"));
        let hashed = rule(None, "", "", "x y");
        assert_eq!(hashed.and_redact(&["x".into()]), rule(None, "", "x", "y"));
    }
}
