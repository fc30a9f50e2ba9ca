//! The text of policies and triggers: the one place that decides how isolation is written in SQL.
//!
//! Two spellings of each object are kept side by side: the statement that makes it, and the form
//! in which PostgreSQL prints it back with `search_path = pg_catalog, pg_temp`. Comparing the
//! second with the catalog tells whether an object still is what this module would make.

/// Name of the restrictive policy that binds every row to the verified account.
pub const FLOOR: &str = "tenant_guard_floor";
/// Name of the permissive policy that lets roles in, within the floor.
pub const ACCESS: &str = "tenant_guard_access";
/// Name of the row trigger that writes the audit log.
pub const CAPTURE: &str = "tenant_guard_capture";
/// Name of the statement trigger that writes TRUNCATE to the audit log.
pub const CAPTURE_TRUNCATE: &str = "tenant_guard_capture_truncate";

/// The column types an account column may have, grouped by the reader they are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountType {
    /// `uuid`
    Uuid,
    /// `integer` or `bigint`
    Integer,
    /// `text`
    Text,
    /// `character varying`, which PostgreSQL compares as `text`
    Varchar,
}

impl AccountType {
    /// The type named as `format_type(oid, NULL)` prints it, or `None` for a type that cannot
    /// hold an account.
    pub fn from_sql(name: &str) -> Option<Self> {
        match name {
            "uuid" => Some(Self::Uuid),
            "integer" | "bigint" => Some(Self::Integer),
            "text" => Some(Self::Text),
            "character varying" => Some(Self::Varchar),
            _ => None,
        }
    }

    /// The call that returns the verified account in this type; also the column's default.
    pub fn reader(self) -> &'static str {
        match self {
            Self::Uuid => "tenant_guard.account_id()",
            Self::Integer => "tenant_guard.account_id_bigint()",
            Self::Text | Self::Varchar => "tenant_guard.account_id_text()",
        }
    }

    /// Whether columns of both types can hold the account of one token.
    ///
    /// A number is also a text account; neither can be a uuid.
    pub fn mixes_with(self, other: Self) -> bool {
        (self == Self::Uuid) == (other == Self::Uuid)
    }
}

/// The account column of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountColumn {
    /// The name as it stands in the catalog.
    pub name: String,
    /// The name as `quote_ident` writes it.
    pub quoted: String,
    /// Its type.
    pub kind: AccountType,
}

impl AccountColumn {
    /// The condition every policy carries.
    ///
    /// The operator is named with its schema: an operator that somebody defined for exactly these
    /// types in a schema of the caller's search path would be chosen otherwise.
    pub fn predicate(&self) -> String {
        format!(
            "{} OPERATOR(pg_catalog.=) {}",
            self.quoted,
            self.kind.reader()
        )
    }

    /// [`predicate`](Self::predicate) as `pg_get_expr` prints it.
    pub fn predicate_in_catalog(&self) -> String {
        match self.kind {
            AccountType::Varchar => format!("(({})::text = {})", self.quoted, self.kind.reader()),
            _ => format!("({} = {})", self.quoted, self.kind.reader()),
        }
    }
}

/// A policy as the catalog holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `AS RESTRICTIVE`
    pub restrictive: bool,
    /// `FOR ALL`
    pub all_commands: bool,
    /// Quoted role names in any order; empty means PUBLIC.
    pub roles: Vec<String>,
    /// The USING expression as `pg_get_expr` prints it; empty when there is none.
    pub using: String,
    /// The WITH CHECK expression as `pg_get_expr` prints it; empty when there is none.
    pub check: String,
}

impl Policy {
    /// The floor: restrictive, so no other policy can widen it, and TO PUBLIC, because
    /// `DROP OWNED` removes policies that name a role.
    pub fn floor(column: &AccountColumn) -> Self {
        Self {
            restrictive: true,
            ..Self::access(column, &[])
        }
    }

    /// The access policy. It names the account as the floor does, so that
    /// `DROP EXTENSION ... CASCADE` takes both and leaves the table closed; PostgreSQL evaluates
    /// the equal conditions of both once.
    pub fn access(column: &AccountColumn, roles: &[String]) -> Self {
        Self {
            restrictive: false,
            all_commands: true,
            roles: roles.to_vec(),
            using: column.predicate_in_catalog(),
            check: column.predicate_in_catalog(),
        }
    }

    fn same_roles(&self, other: &Self) -> bool {
        let sorted = |roles: &[String]| {
            let mut roles = roles.to_vec();
            roles.sort();
            roles.dedup();
            roles
        };
        sorted(&self.roles) == sorted(&other.roles)
    }

    /// The statements that turn `present` into this policy, named `name`, on `relation`.
    ///
    /// An existing policy is altered in place where PostgreSQL can, so that no moment is without
    /// one.
    pub fn difference(
        &self,
        present: Option<&Self>,
        name: &str,
        relation: &str,
        column: &AccountColumn,
    ) -> Vec<String> {
        let Some(present) = present else {
            return vec![self.create(name, relation, column)];
        };
        if (self.restrictive, self.all_commands) != (present.restrictive, present.all_commands) {
            return vec![
                format!("DROP POLICY {name} ON {relation}"),
                self.create(name, relation, column),
            ];
        }
        let mut changes = String::new();
        if !self.same_roles(present) {
            changes += &format!(" TO {}", role_list(&self.roles));
        }
        if self.using != present.using {
            changes += &format!(" USING ({})", column.predicate());
        }
        if self.check != present.check {
            changes += &format!(" WITH CHECK ({})", column.predicate());
        }
        if changes.is_empty() {
            return Vec::new();
        }
        vec![format!("ALTER POLICY {name} ON {relation}{changes}")]
    }

    fn create(&self, name: &str, relation: &str, column: &AccountColumn) -> String {
        let kind = if self.restrictive {
            "RESTRICTIVE"
        } else {
            "PERMISSIVE"
        };
        let roles = role_list(&self.roles);
        let predicate = column.predicate();
        format!(
            "CREATE POLICY {name} ON {relation} AS {kind} FOR ALL TO {roles} \
             USING ({predicate}) WITH CHECK ({predicate})"
        )
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
    /// The row trigger of `relation`, told the account column and the columns never to log.
    pub fn capture(relation: &str, column: &AccountColumn, redact: &[String]) -> Self {
        Self::wanted(format!(
            "CREATE TRIGGER {CAPTURE} AFTER INSERT OR DELETE OR UPDATE ON {relation} \
             FOR EACH ROW EXECUTE FUNCTION tenant_guard.capture({}, {})",
            literal(&column.name),
            literal(&array(redact)),
        ))
    }

    /// The statement trigger of `relation`, told the same.
    pub fn capture_truncate(relation: &str, column: &AccountColumn, redact: &[String]) -> Self {
        Self::wanted(format!(
            "CREATE TRIGGER {CAPTURE_TRUNCATE} AFTER TRUNCATE ON {relation} \
             FOR EACH STATEMENT EXECUTE FUNCTION tenant_guard.capture_truncate({}, {})",
            literal(&column.name),
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

fn role_list(roles: &[String]) -> String {
    if roles.is_empty() {
        "PUBLIC".into()
    } else {
        roles.join(", ")
    }
}

/// A string constant as SQL with `standard_conforming_strings` on.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The text form of a one-dimensional array of texts.
pub fn array<T: AsRef<str>>(elements: &[T]) -> String {
    let quoted = |element: &T| {
        let text = element.as_ref();
        let plain = !text.is_empty()
            && !text.eq_ignore_ascii_case("null")
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if plain {
            text.to_owned()
        } else {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
    };
    format!(
        "{{{}}}",
        elements.iter().map(quoted).collect::<Vec<_>>().join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column() -> AccountColumn {
        AccountColumn {
            name: "account_id".into(),
            quoted: "account_id".into(),
            kind: AccountType::Uuid,
        }
    }

    #[test]
    fn floor_is_restrictive_for_everybody() {
        assert_eq!(
            Policy::floor(&column()).difference(None, FLOOR, "public.t", &column()),
            [
                "CREATE POLICY tenant_guard_floor ON public.t AS RESTRICTIVE FOR ALL TO PUBLIC \
              USING (account_id OPERATOR(pg_catalog.=) tenant_guard.account_id()) \
              WITH CHECK (account_id OPERATOR(pg_catalog.=) tenant_guard.account_id())"
            ]
        );
    }

    #[test]
    fn equal_policy_needs_nothing_and_role_order_is_no_difference() {
        let wanted = Policy::access(&column(), &["a".into(), "b".into()]);
        let present = Policy {
            roles: vec!["b".into(), "a".into()],
            ..wanted.clone()
        };
        assert!(
            wanted
                .difference(Some(&present), ACCESS, "t", &column())
                .is_empty()
        );
    }

    #[test]
    fn altered_parts_are_altered_back_in_place() {
        let wanted = Policy::access(&column(), &["a".into()]);
        let present = Policy {
            roles: vec![],
            check: "true".into(),
            ..wanted.clone()
        };
        assert_eq!(
            wanted.difference(Some(&present), ACCESS, "t", &column()),
            ["ALTER POLICY tenant_guard_access ON t TO a \
              WITH CHECK (account_id OPERATOR(pg_catalog.=) tenant_guard.account_id())"]
        );
    }

    #[test]
    fn permissive_impostor_of_the_floor_is_replaced() {
        let present = Policy::access(&column(), &[]);
        let statements = Policy::floor(&column()).difference(Some(&present), FLOOR, "t", &column());
        assert_eq!(statements.len(), 2);
        assert_eq!(statements[0], "DROP POLICY tenant_guard_floor ON t");
        assert!(statements[1].contains("AS RESTRICTIVE"));
    }

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        let column = AccountColumn {
            name: "o'clock".into(),
            ..column()
        };
        let trigger = Trigger::capture("t", &column, &["it's".into(), "a\"b\\c".into()]);
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
        let wanted = Trigger::capture("t", &column(), &["secret".into()]);
        let present = Trigger::capture("t", &column(), &[]);
        let statements = wanted.difference(Some(&present), CAPTURE, "t");
        assert!(statements[0].starts_with("CREATE OR REPLACE TRIGGER tenant_guard_capture AFTER"));
        assert_eq!(
            statements[1],
            "ALTER TABLE t ENABLE ALWAYS TRIGGER tenant_guard_capture"
        );
    }

    #[test]
    fn numbers_and_texts_mix_but_uuid_stands_alone() {
        assert!(AccountType::Integer.mixes_with(AccountType::Varchar));
        assert!(!AccountType::Uuid.mixes_with(AccountType::Text));
        assert!(AccountType::Uuid.mixes_with(AccountType::Uuid));
        assert_eq!(AccountType::from_sql("numeric"), None);
    }
}
