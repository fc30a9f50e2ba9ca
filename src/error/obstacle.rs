//! Why a relation cannot be protected.

use pgrx::PgSqlErrorCode;

/// Why a relation cannot be protected, or why its protection cannot be taken off. Names of
/// relations come qualified and quoted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Obstacle {
    /// No such relation.
    #[error("relation with OID {0} does not exist")]
    Gone(u32),
    /// Not an ordinary or partitioned table: relation and what it is.
    #[error("{0} is {1}")]
    WrongKind(String, &'static str),
    /// A partition or child, which is protected with its parent.
    #[error("{0} is a partition or child of {1}")]
    PartOf(String, String),
    /// Owned by somebody else.
    #[error("must be owner of relation {0}")]
    NotOwner(String),
    /// A part of a protection owned by somebody else who can log in.
    #[error("relation {0} belongs to another role, which can log in")]
    NotRootsOwner(String),
    /// No such column: column, relation.
    #[error("column \"{0}\" of relation {1} does not exist")]
    NoColumn(String, String),
    /// A type that cannot hold an account: column, relation, type.
    #[error("column \"{0}\" of relation {1} is of type {2}, which cannot hold an account")]
    UnsupportedType(String, String, String),
    /// A column that no row holds: column, relation.
    #[error("column \"{0}\" of relation {1} is generated and not stored")]
    NotStored(String, String),
    /// Unlike texts are equal under the column's collation: column, relation.
    #[error("column \"{0}\" of relation {1} has a nondeterministic collation")]
    Nondeterministic(String, String),
    /// One is a uuid, the other is not: column, relation, other relation.
    #[error("column \"{0}\" of relation {1} is of another kind than the account column of {2}")]
    MixedTypes(String, String, String),
    /// Rows without an account: column, count, relation of each table that has some.
    #[error("column \"{column}\" has null values: {}", counts(tables))]
    NullAccounts {
        /// The account column.
        column: String,
        /// How many rows in which table.
        tables: Vec<(u64, String)>,
    },
    /// A column the log cannot do without: column, relation.
    #[error("column \"{0}\" of relation {1} cannot be redacted")]
    RedactsKey(String, String),
    /// A column of persons' data that says which row it is: column, relation.
    #[error("column \"{0}\" of relation {1} cannot be personal")]
    PersonalKey(String, String),
    /// A relation whose rows belong to everybody or to nobody.
    #[error("rows of {0} belong to no account")]
    NoAccounts(String),
    /// Not under protection.
    #[error("relation {0} is not protected")]
    NotProtected(String),
    /// Relation.
    #[error("relation {0} is not audited by itself")]
    NotAudited(String),
    /// A column that says nothing about a parent: column, relation.
    #[error("column \"{0}\" of relation {1} does not say which relation is the parent")]
    NoParent(String, String),
    /// Column, relation, its type, parent, type of the parent's key.
    #[error("column \"{0}\" of relation {1} is of type {2}, but the key of {3} is of type {4}")]
    UnlikeKey(String, String, String, String, String),
    /// A parent that is not protected itself: child, parent.
    #[error("parent {1} of relation {0} is not protected")]
    UnprotectedParent(String, String),
    /// A parent whose rows belong to no account: child, parent, its archetype.
    #[error("rows of {1}, the parent of relation {0}, belong to no account: it is {2}")]
    NoAccountsInParent(String, String, &'static str),
    /// A parent that finds its account through the child: child, parent.
    #[error("relation {0} cannot be a child of {1}, which finds its account through it")]
    OwnParent(String, String),
    /// A relation that others find their account through: parent, child.
    #[error("relation {1} finds its account through {0}")]
    HasChild(String, String),
}

/// What is wrong with the rows of a foreign key: its name, its relation, and how many.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenKey {
    /// They refer to rows of another account.
    #[error("{2} rows of {1} refer to a row of another account by key \"{0}\"")]
    Foreign(String, String, u64),
    /// They refer to no row, because the key was never validated.
    #[error("{2} rows of {1} refer to no row by key \"{0}\", which was never validated")]
    Dangling(String, String, u64),
    /// Its columns are of a type whose values are not compared without code of the type's owner.
    #[error("key \"{0}\" of {1} is over a type that cannot be compared")]
    Incomparable(String, String),
}

fn counts(tables: &[(u64, String)]) -> String {
    let counts: Vec<_> = tables
        .iter()
        .map(|(rows, name)| format!("{rows} in {name}"))
        .collect();
    counts.join(", ")
}

impl Obstacle {
    /// Its SQLSTATE.
    pub(super) fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::Gone(_) => ERRCODE_UNDEFINED_TABLE,
            Self::WrongKind(..) | Self::PartOf(..) => ERRCODE_WRONG_OBJECT_TYPE,
            Self::NotOwner(_) | Self::NotRootsOwner(_) => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NoColumn(..) => ERRCODE_UNDEFINED_COLUMN,
            Self::UnsupportedType(..)
            | Self::NotStored(..)
            | Self::Nondeterministic(..)
            | Self::MixedTypes(..) => ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::NullAccounts { .. } => ERRCODE_NOT_NULL_VIOLATION,
            Self::RedactsKey(..) | Self::PersonalKey(..) => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NotProtected(_)
            | Self::NotAudited(_)
            | Self::NoAccounts(_)
            | Self::UnprotectedParent(..)
            | Self::NoAccountsInParent(..) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NoParent(..) => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::UnlikeKey(..) => ERRCODE_DATATYPE_MISMATCH,
            Self::OwnParent(..) => ERRCODE_INVALID_OBJECT_DEFINITION,
            Self::HasChild(..) => ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        }
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::PartOf(..) => "Name the topmost parent: what is below it is included.",
            Self::NotRootsOwner(_) => {
                "An owner can take protection off. SET ROLE to the owner of the protected relation \
                 before the table is made, or give it to that role first."
            }
            Self::UnsupportedType(..) => {
                "An account column is of type uuid, integer, bigint, text or character varying."
            }
            Self::NotStored(..) => {
                "Declare it STORED: an event needs the account of the row it is about."
            }
            Self::Nondeterministic(..) => {
                "Two accounts could compare as equal. Give the column a deterministic collation."
            }
            Self::MixedTypes(..) => {
                "A token names one account, and a uuid is never equal to a number or another text. \
                 Give both columns the same type."
            }
            Self::NullAccounts { .. } => {
                "Give every row an account first, or declare what has none to be defaults that \
                 every account reads: archetype => 'shared_defaults'."
            }
            Self::NoParent(..) => {
                "It needs a foreign key over this one column, or parent => its relation, reached \
                 by a primary key of one column that is not deferrable."
            }
            Self::UnprotectedParent(..) => "Protect the parent first.",
            Self::HasChild(..) => "Take protection off the child first, or give it another parent.",
            Self::RedactsKey(..) => {
                "The account and the primary key say whose row and which row an event is about."
            }
            Self::PersonalKey(..) => {
                "The account and the primary key say whose row and which row an event is about, in \
                 columns that nothing erases. Give the table a key that says nothing of the person."
            }
            _ => return None,
        })
    }
}
