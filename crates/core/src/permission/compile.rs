//! From permissions to the text of a condition.

use std::collections::{BTreeMap, BTreeSet};

use super::roles::{Roles, implies};
use crate::policy::{array, literal};

/// What a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Command {
    /// `SELECT`
    Select,
    /// `INSERT`
    Insert,
    /// `UPDATE`
    Update,
    /// `DELETE`
    Delete,
}

impl Command {
    /// All of them, in the order they are written.
    pub const ALL: [Self; 4] = [Self::Select, Self::Insert, Self::Update, Self::Delete];

    /// The name as our functions take and print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// The command of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|command| command.name().eq_ignore_ascii_case(name))
    }
}

/// The types a column that names a subject may have, by the reader they are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectType {
    /// `uuid`
    Uuid,
    /// `integer` or `bigint`
    Integer,
    /// `text` or `character varying`
    Text,
}

impl SubjectType {
    /// The type named as `format_type(oid, NULL)` prints it, and whether it is an array of that;
    /// `None` for a type that cannot name a subject.
    pub fn from_sql(name: &str) -> Option<(Self, bool)> {
        let (element, is_array) = match name.strip_suffix("[]") {
            Some(element) => (element, true),
            None => (name, false),
        };
        let kind = match element {
            "uuid" => Self::Uuid,
            "integer" | "bigint" => Self::Integer,
            "text" | "character varying" => Self::Text,
            _ => return None,
        };
        Some((kind, is_array))
    }

    /// The call that returns the verified subject in this type.
    pub fn reader(self) -> &'static str {
        match self {
            Self::Uuid => "tenant_guard.user_id()",
            Self::Integer => "tenant_guard.user_id_bigint()",
            Self::Text => "tenant_guard.subject()",
        }
    }
}

/// A column that names a subject, or several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubjectColumn {
    /// The name as `quote_ident` writes it.
    pub quoted: String,
    /// Its type, or that of its elements.
    pub kind: SubjectType,
    /// Whether it is an array.
    pub array: bool,
}

impl SubjectColumn {
    fn condition(&self, prefix: &str) -> String {
        let (column, reader) = (&self.quoted, self.kind.reader());
        if self.array {
            format!("{reader} OPERATOR(pg_catalog.=) ANY ({prefix}{column})")
        } else {
            format!("{prefix}{column} OPERATOR(pg_catalog.=) {reader}")
        }
    }
}

/// A table that says which rows a subject is assigned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Assignment {
    /// The table, qualified and quoted.
    pub relation: String,
    /// Its column that holds the key of a row, quoted.
    pub key: String,
    /// Its column that names the subject.
    pub subject: SubjectColumn,
    /// The key column of the relation that is assigned, quoted.
    pub row_key: String,
}

/// How a row leads to its parent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The column that holds the parent's key, quoted.
    pub column: String,
    /// The parent, qualified and quoted.
    pub parent: String,
    /// The parent's key column, quoted.
    pub key: String,
}

/// Which rows of the account a permission reaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All of them.
    Account,
    /// Those whose column names the subject.
    Own(SubjectColumn),
    /// Those whose column names the subject, or holds it.
    Assigned(SubjectColumn),
    /// Those that a table assigns to the subject.
    Assignment(Assignment),
    /// Those whose parent the subject may read.
    Via(Link),
}

impl Scope {
    /// The condition on a row of `relation`, which is qualified and quoted; none for the whole account.
    ///
    /// Columns of the row are qualified with its relation inside of subqueries, where a column of
    /// the same name may be nearer.
    pub fn condition(&self, relation: &str) -> Option<String> {
        Some(match self {
            Self::Account => return None,
            Self::Own(column) | Self::Assigned(column) => column.condition(""),
            Self::Assignment(by) => format!(
                "EXISTS (SELECT FROM {} AS assignment WHERE assignment.{} OPERATOR(pg_catalog.=) \
                 {relation}.{} AND {})",
                by.relation,
                by.key,
                by.row_key,
                by.subject.condition("assignment."),
            ),
            Self::Via(link) => format!(
                "EXISTS (SELECT FROM {} AS parent WHERE parent.{} OPERATOR(pg_catalog.=) \
                 {relation}.{})",
                link.parent, link.key, link.column,
            ),
        })
    }

    fn contains(&self, other: &Self) -> bool {
        *self == Self::Account || self == other
    }
}

/// What one role may do, without what inherits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: String,
    /// Its rows.
    pub scope: Scope,
}

/// What one role of a token reaches, and the levels that takes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reached<'a> {
    holder: &'a str,
    levels: BTreeSet<String>,
    scope: &'a Scope,
}

impl Reached<'_> {
    /// Whether whoever has `other` has this as well, with at least its rows.
    fn makes_needless(&self, other: &Self) -> bool {
        self.holder == other.holder
            && implies(&other.levels, &self.levels)
            && self.scope.contains(other.scope)
    }
}

/// The condition under which a row of `relation` may be touched by one command: `account`, and a role
/// that allows it. `None` where no role does.
///
/// A test that names no column and stands alone in the AND is evaluated once a statement, so what all
/// roles share is written once and outside of the alternatives.
pub fn condition(roles: &Roles, grants: &[Grant], relation: &str, account: &str) -> Option<String> {
    let alternatives = alternatives(roles, grants, relation);
    let (first, others) = alternatives.split_first()?;
    let shared: Vec<&String> = first
        .iter()
        .filter(|test| others.iter().all(|alternative| alternative.contains(test)))
        .collect();
    let mut conjuncts = vec![account.to_owned()];
    conjuncts.extend(shared.iter().map(|test| (*test).clone()));
    let rest: Vec<String> = alternatives
        .iter()
        .map(|alternative| {
            let own = alternative.iter().filter(|test| !shared.contains(test));
            own.cloned().collect::<Vec<_>>().join(" AND ")
        })
        .collect();
    if rest.iter().all(|alternative| !alternative.is_empty()) {
        conjuncts.push(format!("({})", rest.join(" OR ")));
    }
    Some(conjuncts.join(" AND "))
}

/// The alternatives of a condition, each a list of tests: the cheap ones first, the rows last.
fn alternatives(roles: &Roles, grants: &[Grant], relation: &str) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<(&Scope, BTreeSet<String>), BTreeSet<&str>> = BTreeMap::new();
    for reached in reached(roles, grants) {
        let group = groups.entry((reached.scope, reached.levels)).or_default();
        group.insert(reached.holder);
    }
    let groups = groups.into_iter().map(|((scope, levels), holders)| {
        let holders: Vec<_> = holders.into_iter().collect();
        let mut tests = vec![format!(
            "tenant_guard.has_any_role({})",
            literal(&array(&holders))
        )];
        tests.extend(
            levels
                .iter()
                .map(|level| format!("tenant_guard.has_assurance({})", literal(level))),
        );
        tests.extend(scope.condition(relation));
        tests
    });
    groups.collect()
}

/// Everything that roles of tokens reach, without what is part of something else.
fn reached<'a>(roles: &'a Roles, grants: &'a [Grant]) -> Vec<Reached<'a>> {
    let mut all: Vec<Reached<'_>> = Vec::new();
    for grant in grants {
        for (holder, levels) in roles.holders(&grant.role) {
            let new = Reached {
                holder,
                levels,
                scope: &grant.scope,
            };
            if !all.iter().any(|old| old.makes_needless(&new)) {
                all.retain(|old| !new.makes_needless(old));
                all.push(new);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::roles::tests::role;
    use super::*;

    const ACCOUNT: &str = "account_id OPERATOR(pg_catalog.=) tenant_guard.account_id()";

    fn text_column(name: &str) -> SubjectColumn {
        SubjectColumn {
            quoted: name.into(),
            kind: SubjectType::Text,
            array: false,
        }
    }

    fn grant(role: &str, scope: Scope) -> Grant {
        Grant {
            role: role.into(),
            scope,
        }
    }

    fn compiled(roles: &[super::super::Role], grants: &[Grant]) -> Option<String> {
        let roles = Roles::new(roles.iter().cloned()).unwrap();
        let text = condition(&roles, grants, "shop.t", ACCOUNT)?;
        Some(text.strip_prefix(ACCOUNT).unwrap().to_owned())
    }

    #[test]
    fn nobody_allowed_is_no_condition() {
        assert_eq!(compiled(&[role("user", &[], "")], &[]), None);
    }

    #[test]
    fn one_role_stands_alone_in_the_and() {
        assert_eq!(
            compiled(&[role("user", &[], "")], &[grant("user", Scope::Account)]).unwrap(),
            " AND tenant_guard.has_any_role('{user}')"
        );
    }

    #[test]
    fn roles_that_inherit_share_one_test() {
        let roles = [
            role("user", &[], ""),
            role("admin", &["user"], ""),
            role("provider owner", &["admin"], ""),
        ];
        assert_eq!(
            compiled(
                &roles,
                &[
                    grant("user", Scope::Account),
                    grant("admin", Scope::Account)
                ]
            )
            .unwrap(),
            r#" AND tenant_guard.has_any_role('{admin,"provider owner",user}')"#
        );
    }

    #[test]
    fn wider_scope_of_a_role_makes_the_narrower_needless() {
        let roles = [role("user", &[], ""), role("admin", &["user"], "")];
        let own = Scope::Own(text_column("owner"));
        assert_eq!(
            compiled(
                &roles,
                &[grant("user", own), grant("admin", Scope::Account)]
            )
            .unwrap(),
            " AND (tenant_guard.has_any_role('{admin}') \
             OR tenant_guard.has_any_role('{user}') AND owner OPERATOR(pg_catalog.=) \
             tenant_guard.subject())"
        );
    }

    #[test]
    fn what_every_role_shares_is_written_once() {
        let roles = [role("a", &[], "aal2"), role("b", &[], "aal2")];
        let grants = [
            grant("a", Scope::Own(text_column("owner"))),
            grant("b", Scope::Account),
        ];
        assert_eq!(
            compiled(&roles, &grants).unwrap(),
            " AND tenant_guard.has_assurance('aal2') AND (tenant_guard.has_any_role('{b}') \
             OR tenant_guard.has_any_role('{a}') AND owner OPERATOR(pg_catalog.=) \
             tenant_guard.subject())"
        );
    }

    #[test]
    fn scope_that_needs_no_level_stays_beside_a_wider_one_that_does() {
        // Everybody who has the role reads own rows; all rows take a second factor.
        let roles = [
            role("agent", &[], ""),
            role("lead", &["agent", "files"], ""),
            role("files", &[], "aal2"),
        ];
        let grants = [
            grant("agent", Scope::Own(text_column("owner"))),
            grant("files", Scope::Account),
        ];
        assert_eq!(
            compiled(&roles, &grants).unwrap(),
            " AND (tenant_guard.has_any_role('{files,lead}') \
             AND tenant_guard.has_assurance('aal2') \
             OR tenant_guard.has_any_role('{agent,lead}') AND owner OPERATOR(pg_catalog.=) \
             tenant_guard.subject())"
        );
    }

    #[test]
    fn hostile_role_names_stay_inside_their_quotes() {
        let name = r#"it's "a\b",{x}"#;
        assert_eq!(
            compiled(&[role(name, &[], "")], &[grant(name, Scope::Account)]).unwrap(),
            r#" AND tenant_guard.has_any_role('{"it''s \"a\\b\",{x}"}')"#
        );
    }

    #[test]
    fn scopes_compare_the_subject_in_the_columns_type() {
        let column = |sql: &str| {
            let (kind, array) = SubjectType::from_sql(sql).unwrap();
            Scope::Assigned(SubjectColumn {
                quoted: "who".into(),
                kind,
                array,
            })
        };
        for (sql, condition) in [
            ("uuid", "who OPERATOR(pg_catalog.=) tenant_guard.user_id()"),
            (
                "integer",
                "who OPERATOR(pg_catalog.=) tenant_guard.user_id_bigint()",
            ),
            (
                "character varying",
                "who OPERATOR(pg_catalog.=) tenant_guard.subject()",
            ),
            (
                "uuid[]",
                "tenant_guard.user_id() OPERATOR(pg_catalog.=) ANY (who)",
            ),
            (
                "bigint[]",
                "tenant_guard.user_id_bigint() OPERATOR(pg_catalog.=) ANY (who)",
            ),
        ] {
            assert_eq!(column(sql).condition("shop.t").unwrap(), condition);
        }
        for sql in ["numeric", "jsonb", "uuid[][]", "smallint", ""] {
            assert_eq!(SubjectType::from_sql(sql), None, "{sql}");
        }
    }

    #[test]
    fn subqueries_name_the_row_by_its_relation() {
        let assignment = Scope::Assignment(Assignment {
            relation: "shop.assigned".into(),
            key: "t_id".into(),
            subject: text_column("agent"),
            row_key: "id".into(),
        });
        assert_eq!(
            assignment.condition("shop.t_2024").unwrap(),
            "EXISTS (SELECT FROM shop.assigned AS assignment WHERE assignment.t_id \
             OPERATOR(pg_catalog.=) shop.t_2024.id AND assignment.agent OPERATOR(pg_catalog.=) \
             tenant_guard.subject())"
        );
        let via = Scope::Via(Link {
            column: "parent_id".into(),
            parent: "shop.parent".into(),
            key: "id".into(),
        });
        assert_eq!(
            via.condition("shop.t").unwrap(),
            "EXISTS (SELECT FROM shop.parent AS parent WHERE parent.id OPERATOR(pg_catalog.=) \
             shop.t.parent_id)"
        );
    }
}
