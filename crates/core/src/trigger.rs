//! The text of the triggers that write the audit log.

use crate::policy::{array, literal};

/// Name of the row trigger that writes the audit log.
pub const CAPTURE: &str = "tenant_guard_capture";
/// Name of the statement trigger that writes TRUNCATE to the audit log.
pub const CAPTURE_TRUNCATE: &str = "tenant_guard_capture_truncate";

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
    /// The row trigger of `relation`, told the account column, empty where there is none, and the
    /// columns never to log.
    pub fn capture(relation: &str, account_column: &str, redact: &[String]) -> Self {
        Self::wanted(format!(
            "CREATE TRIGGER {CAPTURE} AFTER INSERT OR DELETE OR UPDATE ON {relation} \
             FOR EACH ROW EXECUTE FUNCTION tenant_guard.capture({}, {})",
            literal(account_column),
            literal(&array(redact)),
        ))
    }

    /// The statement trigger of `relation`, told the same.
    pub fn capture_truncate(relation: &str, account_column: &str, redact: &[String]) -> Self {
        Self::wanted(format!(
            "CREATE TRIGGER {CAPTURE_TRUNCATE} AFTER TRUNCATE ON {relation} \
             FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.capture_truncate({}, {})",
            literal(account_column),
            literal(&array(redact)),
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
        let trigger = Trigger::capture("t", "o'clock", &["it's".into(), "a\"b\\c".into()]);
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
        let wanted = Trigger::capture("t", "account_id", &["secret".into()]);
        let present = Trigger::capture("t", "account_id", &[]);
        let statements = wanted.difference(Some(&present), CAPTURE, "t");
        assert!(statements[0].starts_with("CREATE OR REPLACE TRIGGER tenant_guard_capture AFTER"));
        assert_eq!(
            statements[1],
            "ALTER TABLE t ENABLE ALWAYS TRIGGER tenant_guard_capture"
        );
    }
}
