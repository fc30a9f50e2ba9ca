//! Archetypes: how the rows of a relation find their account, and what that lets whom do.
//!
//! An archetype gives a row two conditions, one for reading it and one for writing it. Everything
//! else about policies follows from these two.

use crate::policy::{AccountColumn, literal};

/// The kinds of relations under isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Archetype {
    /// Rows belong to the account in their account column.
    Account,
    /// The same; rows without an account are defaults that every account reads and none writes.
    SharedDefaults,
    /// Rows belong to the account in their account column and are read by everybody, with or
    /// without an identity.
    PublicRead,
    /// Rows belong to the account of the row they point to in a protected parent.
    Child,
    /// Read by everybody, with or without an identity, and written by nobody under row security.
    Reference,
    /// Neither read nor written by anybody under row security.
    DenyAll,
}

impl Archetype {
    /// All of them, with the names they have in SQL.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::Account, "account"),
        (Self::SharedDefaults, "shared_defaults"),
        (Self::PublicRead, "public_read"),
        (Self::Child, "child"),
        (Self::Reference, "reference"),
        (Self::DenyAll, "deny_all"),
    ];

    /// The archetype of this name in SQL.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        names
            .find(|(_, known)| *known == name)
            .map(|(kind, _)| *kind)
    }

    /// The name in SQL.
    pub fn name(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        names
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }

    /// Whether rows carry their account in a column.
    pub fn has_account_column(self) -> bool {
        matches!(
            self,
            Self::Account | Self::SharedDefaults | Self::PublicRead
        )
    }

    /// Whether the account column must not be null.
    pub fn requires_account(self) -> bool {
        matches!(self, Self::Account | Self::PublicRead)
    }

    /// Whether rows belong to accounts at all, so that rows of another relation can through them.
    pub fn has_accounts(self) -> bool {
        self.has_account_column() || self == Self::Child
    }
}

/// How rows find their account, with all that the conditions name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// By a column, as [`Archetype::Account`], [`Archetype::SharedDefaults`] or
    /// [`Archetype::PublicRead`].
    Column(Archetype, AccountColumn),
    /// By one of these links; a row that follows none of them is nobody's.
    Parents(Vec<Link>),
    /// [`Archetype::Reference`]
    Everybody,
    /// [`Archetype::DenyAll`]
    Nobody,
}

/// A way from a row to its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Quoted name of the column that holds the parent's key.
    pub via: String,
    /// Quoted column and the value it has in rows that follow this link; none where all do.
    pub when: Option<(String, String)>,
    /// What FROM reads the parent's rows by: its schema-qualified and quoted name, after ONLY where
    /// its key is not unique among the rows of its children.
    pub parent: String,
    /// Quoted name of the parent's key.
    pub key: String,
    /// How the parent's rows find their account.
    pub owner: Box<Ownership>,
}

/// What is done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl Ownership {
    /// The archetype this is of.
    pub fn archetype(&self) -> Archetype {
        match self {
            Self::Column(archetype, _) => *archetype,
            Self::Parents(_) => Archetype::Child,
            Self::Everybody => Archetype::Reference,
            Self::Nobody => Archetype::DenyAll,
        }
    }

    /// The account column, where there is one.
    pub fn column(&self) -> Option<&AccountColumn> {
        match self {
            Self::Column(_, column) => Some(column),
            _ => None,
        }
    }

    /// Whether rows of other accounts may be read, as far as this goes.
    pub fn is_read_by_anyone(&self) -> bool {
        match self {
            Self::Column(archetype, _) => *archetype == Archetype::PublicRead,
            Self::Parents(links) => links.iter().any(|link| link.owner.is_read_by_anyone()),
            Self::Everybody => true,
            Self::Nobody => false,
        }
    }

    /// The condition under which a row of `relation`, schema-qualified and quoted, may be read.
    pub fn read(&self, relation: &str) -> String {
        self.condition(Access::Read, relation, 0)
    }

    /// The condition under which a row of `relation` may be written, before and after.
    pub fn write(&self, relation: &str) -> String {
        self.condition(Access::Write, relation, 0)
    }

    /// `row` is how columns of the row are qualified: the relation itself at depth 0, where its
    /// account column needs no qualification, and the alias of a parent below.
    fn condition(&self, access: Access, row: &str, depth: usize) -> String {
        match self {
            Self::Column(Archetype::PublicRead, _) if access == Access::Read => anyone(),
            Self::Column(archetype, column) => {
                let prefix = if depth == 0 {
                    String::new()
                } else {
                    format!("{row}.")
                };
                let mine = column.predicate(&prefix);
                if *archetype == Archetype::SharedDefaults && access == Access::Read {
                    // Where a missing identity is no error, defaults stay hidden without one too.
                    format!(
                        "({mine} OR {prefix}{} IS NULL AND tenant_guard.is_authenticated())",
                        column.quoted
                    )
                } else {
                    mine
                }
            }
            Self::Parents(links) => {
                let conditions: Vec<_> = links
                    .iter()
                    .map(|link| link.condition(access, row, depth))
                    .collect();
                match conditions.as_slice() {
                    [] => nobody(),
                    [only] => only.clone(),
                    several => format!("({})", several.join(" OR ")),
                }
            }
            Self::Everybody if access == Access::Read => anyone(),
            Self::Everybody | Self::Nobody => nobody(),
        }
    }
}

impl Link {
    fn condition(&self, access: Access, row: &str, depth: usize) -> String {
        let alias = format!("parent_{}", depth + 1);
        let when = match &self.when {
            Some((column, value)) => {
                format!(
                    "{row}.{column} OPERATOR(pg_catalog.=) {} AND ",
                    literal(value)
                )
            }
            None => String::new(),
        };
        format!(
            "{when}EXISTS (SELECT FROM {} AS {alias} \
             WHERE {alias}.{} OPERATOR(pg_catalog.=) {row}.{} AND {})",
            self.parent,
            self.key,
            self.via,
            self.owner.condition(access, &alias, depth + 1),
        )
    }
}

/// True, in words that `DROP EXTENSION ... CASCADE` takes a policy away by.
fn anyone() -> String {
    "tenant_guard.anyone()".into()
}

fn nobody() -> String {
    "tenant_guard.nobody()".into()
}
