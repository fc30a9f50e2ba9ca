//! The text of policies: the one place that decides how isolation is written in SQL.
//!
//! How PostgreSQL prints an expression back is not decided here: whoever compares a wanted policy
//! with a standing one has had PostgreSQL print both.

use crate::archetype::Ownership;

/// Name of the restrictive policy that binds every row to its account.
pub const FLOOR: &str = "tenant_guard_floor";
/// Name of the restrictive policy that binds rows before an UPDATE, where reading is allowed more.
pub const FLOOR_UPDATE: &str = "tenant_guard_floor_update";
/// Name of the restrictive policy that binds rows before a DELETE, where reading is allowed more.
pub const FLOOR_DELETE: &str = "tenant_guard_floor_delete";
/// Name of the permissive policy that lets roles in, within the floor.
pub const ACCESS: &str = "tenant_guard_access";

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
    /// Whether the row's account is the verified one; `prefix` qualifies the column.
    ///
    /// The operator is named with its schema: an operator that somebody defined for exactly these
    /// types in a schema of the caller's search path would be chosen otherwise.
    pub fn predicate(&self, prefix: &str) -> String {
        format!(
            "{prefix}{} OPERATOR(pg_catalog.=) {}",
            self.quoted,
            self.kind.reader()
        )
    }
}

/// What a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `FOR ALL`
    All,
    /// `FOR SELECT`
    Select,
    /// `FOR INSERT`
    Insert,
    /// `FOR UPDATE`
    Update,
    /// `FOR DELETE`
    Delete,
}

impl Command {
    /// All of them, with the letter `pg_policy.polcmd` has for each.
    pub const LETTERS: [(Self, &'static str); 5] = [
        (Self::All, "*"),
        (Self::Select, "r"),
        (Self::Insert, "a"),
        (Self::Update, "w"),
        (Self::Delete, "d"),
    ];

    /// The command of this letter in `pg_policy.polcmd`.
    pub fn from_letter(letter: &str) -> Option<Self> {
        let mut letters = Self::LETTERS.iter();
        letters
            .find(|(_, known)| *known == letter)
            .map(|(command, _)| *command)
    }

    /// As SQL writes it.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// An expression of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// The text to write it with; empty for one that was read from the catalog.
    pub sql: String,
    /// The text the catalog prints for it, by which expressions are compared.
    pub printed: String,
}

impl Expression {
    /// An expression to be written.
    pub fn wanted(sql: String) -> Self {
        Self {
            sql,
            printed: String::new(),
        }
    }

    /// An expression that stands.
    pub fn present(printed: String) -> Self {
        Self {
            sql: String::new(),
            printed,
        }
    }
}

/// A policy, wanted or standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name, one of ours.
    pub name: String,
    /// `AS RESTRICTIVE`
    pub restrictive: bool,
    /// What it is for.
    pub command: Command,
    /// Quoted role names in any order; empty means PUBLIC.
    pub roles: Vec<String>,
    /// The USING expression, if any.
    pub using: Option<Expression>,
    /// The WITH CHECK expression, if any.
    pub check: Option<Expression>,
}

/// How what stands differs from what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// There is no policy of that name.
    Missing,
    /// The policy says something else.
    Altered,
    /// There is a policy under a name of ours that nothing asks for.
    Surplus,
}

impl Policy {
    /// The policies of a relation that bind every row to its account: restrictive, so no other
    /// policy can widen them, and TO PUBLIC, because `DROP OWNED` removes policies that name a
    /// role.
    pub fn floor(owner: &Ownership, relation: &str) -> Vec<Self> {
        let (read, write) = (owner.read(relation), owner.write(relation));
        let policy = |name: &str, command, using: &str, check: Option<&str>| Self {
            name: name.into(),
            restrictive: true,
            command,
            roles: Vec::new(),
            using: Some(Expression::wanted(using.into())),
            check: check.map(|check| Expression::wanted(check.into())),
        };
        let mut floor = vec![policy(FLOOR, Command::All, &read, Some(&write))];
        if read != write {
            // FOR ALL judges the row before an UPDATE or DELETE as if it were only read.
            floor.push(policy(FLOOR_UPDATE, Command::Update, &write, None));
            floor.push(policy(FLOOR_DELETE, Command::Delete, &write, None));
        }
        floor
    }

    /// The policy that lets `roles` in, within the floor; none where nobody is let in.
    ///
    /// It repeats the conditions of the floor, so that `DROP EXTENSION ... CASCADE` takes both and
    /// leaves the table closed; PostgreSQL evaluates equal conditions once.
    pub fn access(owner: &Ownership, relation: &str, roles: &[String]) -> Option<Self> {
        (*owner != Ownership::Nobody).then(|| Self {
            name: ACCESS.into(),
            restrictive: false,
            command: Command::All,
            roles: roles.to_vec(),
            using: Some(Expression::wanted(owner.read(relation))),
            check: Some(Expression::wanted(owner.write(relation))),
        })
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

    /// The statements that leave exactly the `wanted` policies among the `present` ones on
    /// `relation`.
    ///
    /// A policy is altered in place where PostgreSQL can, and what is no longer wanted goes last,
    /// so that no moment is without one.
    pub fn difference(wanted: &[Self], present: &[Self], relation: &str) -> Vec<String> {
        let mut statements = Vec::new();
        for policy in wanted {
            let standing = present.iter().find(|present| present.name == policy.name);
            statements.extend(policy.change(standing, relation));
        }
        let surplus = present
            .iter()
            .filter(|present| wanted.iter().all(|policy| policy.name != present.name));
        statements.extend(surplus.map(|policy| policy.drop(relation)));
        statements
    }

    /// Names of the policies that are not as wanted: whether each is restrictive, and what is wrong.
    pub fn alterations<'a>(
        wanted: &'a [Self],
        present: &'a [Self],
        relation: &str,
    ) -> Vec<(&'a str, bool, Alteration)> {
        let mut found = Vec::new();
        for policy in wanted {
            let standing = present.iter().find(|present| present.name == policy.name);
            let what = match standing {
                None => Alteration::Missing,
                Some(_) if policy.change(standing, relation).is_empty() => continue,
                Some(_) => Alteration::Altered,
            };
            found.push((policy.name.as_str(), policy.restrictive, what));
        }
        let surplus = present
            .iter()
            .filter(|present| wanted.iter().all(|policy| policy.name != present.name));
        found.extend(surplus.map(|policy| (policy.name.as_str(), false, Alteration::Surplus)));
        found
    }

    fn change(&self, present: Option<&Self>, relation: &str) -> Vec<String> {
        let Some(present) = present else {
            return vec![self.create(relation)];
        };
        let parts = |policy: &Self| {
            let some = (policy.using.is_some(), policy.check.is_some());
            (policy.restrictive, policy.command, some)
        };
        if parts(self) != parts(present) {
            return vec![self.drop(relation), self.create(relation)];
        }
        let mut changes = String::new();
        if !self.same_roles(present) {
            changes += &format!(" TO {}", role_list(&self.roles));
        }
        for (clause, wanted, present) in [
            ("USING", &self.using, &present.using),
            ("WITH CHECK", &self.check, &present.check),
        ] {
            if let (Some(wanted), Some(present)) = (wanted, present)
                && wanted.printed != present.printed
            {
                changes += &format!(" {clause} ({})", wanted.sql);
            }
        }
        if changes.is_empty() {
            return Vec::new();
        }
        vec![format!("ALTER POLICY {} ON {relation}{changes}", self.name)]
    }

    /// The statement that drops it.
    pub fn drop(&self, relation: &str) -> String {
        format!("DROP POLICY {} ON {relation}", self.name)
    }

    fn create(&self, relation: &str) -> String {
        let kind = if self.restrictive {
            "RESTRICTIVE"
        } else {
            "PERMISSIVE"
        };
        let mut statement = format!(
            "CREATE POLICY {} ON {relation} AS {kind} FOR {} TO {}",
            self.name,
            self.command.keyword(),
            role_list(&self.roles)
        );
        for (clause, expression) in [("USING", &self.using), ("WITH CHECK", &self.check)] {
            if let Some(expression) = expression {
                statement += &format!(" {clause} ({})", expression.sql);
            }
        }
        statement
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
    use crate::archetype::Archetype;

    fn column() -> AccountColumn {
        AccountColumn {
            name: "account_id".into(),
            quoted: "account_id".into(),
            kind: AccountType::Uuid,
        }
    }

    fn owner() -> Ownership {
        Ownership::Column(Archetype::Account, column())
    }

    /// As PostgreSQL would print it, for these tests the text itself.
    fn printed(mut policy: Policy) -> Policy {
        for expression in [&mut policy.using, &mut policy.check].into_iter().flatten() {
            expression.printed = expression.sql.clone();
        }
        policy
    }

    fn access(roles: &[&str]) -> Policy {
        let roles: Vec<_> = roles.iter().map(|role| role.to_string()).collect();
        printed(Policy::access(&owner(), "t", &roles).unwrap())
    }

    #[test]
    fn floor_is_restrictive_for_everybody() {
        assert_eq!(
            Policy::difference(&Policy::floor(&owner(), "public.t"), &[], "public.t"),
            [
                "CREATE POLICY tenant_guard_floor ON public.t AS RESTRICTIVE FOR ALL TO PUBLIC \
              USING (account_id OPERATOR(pg_catalog.=) tenant_guard.account_id()) \
              WITH CHECK (account_id OPERATOR(pg_catalog.=) tenant_guard.account_id())"
            ]
        );
    }

    #[test]
    fn what_is_read_by_more_is_not_written_by_more() {
        let reference = Policy::floor(&Ownership::Everybody, "t");
        assert_eq!(
            Policy::difference(&reference, &[], "t"),
            [
                "CREATE POLICY tenant_guard_floor ON t AS RESTRICTIVE FOR ALL TO PUBLIC \
                 USING (tenant_guard.anyone()) WITH CHECK (tenant_guard.nobody())",
                "CREATE POLICY tenant_guard_floor_update ON t AS RESTRICTIVE FOR UPDATE TO PUBLIC \
                 USING (tenant_guard.nobody())",
                "CREATE POLICY tenant_guard_floor_delete ON t AS RESTRICTIVE FOR DELETE TO PUBLIC \
                 USING (tenant_guard.nobody())",
            ]
        );
    }

    #[test]
    fn equal_policy_needs_nothing_and_role_order_is_no_difference() {
        let (wanted, present) = (access(&["a", "b"]), access(&["b", "a"]));
        assert!(Policy::difference(&[wanted], &[present], "t").is_empty());
    }

    #[test]
    fn altered_parts_are_altered_back_in_place() {
        let present = Policy {
            check: Some(Expression::present("true".into())),
            ..access(&[])
        };
        assert_eq!(
            Policy::difference(&[access(&["a"])], &[present], "t"),
            ["ALTER POLICY tenant_guard_access ON t TO a \
              WITH CHECK (account_id OPERATOR(pg_catalog.=) tenant_guard.account_id())"]
        );
    }

    #[test]
    fn permissive_impostor_of_the_floor_is_replaced() {
        let present = Policy {
            name: FLOOR.into(),
            ..access(&[])
        };
        let statements = Policy::difference(&Policy::floor(&owner(), "t"), &[present], "t");
        assert_eq!(statements.len(), 2);
        assert_eq!(statements[0], "DROP POLICY tenant_guard_floor ON t");
        assert!(statements[1].contains("AS RESTRICTIVE"));
    }

    #[test]
    fn surplus_policy_goes_after_the_wanted_ones_came() {
        let wanted: Vec<_> = Policy::floor(&owner(), "t")
            .into_iter()
            .map(printed)
            .collect();
        assert_eq!(
            Policy::difference(&wanted, &[access(&[])], "t")
                .last()
                .unwrap(),
            "DROP POLICY tenant_guard_access ON t"
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
