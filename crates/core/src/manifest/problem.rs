//! What can be wrong with a manifest.

use thiserror::Error;

use crate::issuer::IssuerError;
use crate::json::JsonError;
use crate::json_path::JsonPath;

/// A problem and where in the manifest it stands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("manifest {path}: {problem}")]
pub struct ManifestError {
    /// The value at fault; of a missing one, where it should stand.
    pub path: JsonPath,
    /// What is wrong with it.
    pub problem: Problem,
}

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// Not acceptable JSON.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// A required member is not there.
    #[error("is missing")]
    Missing,
    /// A member nobody knows.
    #[error("is not a known member")]
    Unknown,
    /// A value of another type or form.
    #[error("is not {0}")]
    Not(&'static str),
    /// A manifest of a later version of the schema.
    #[error("version {0} is newer than {version}, the newest that is known here", version = super::VERSION)]
    Newer(i64),
    /// A list or text that says nothing.
    #[error("is empty")]
    Empty,
    /// A name that PostgreSQL would cut off.
    #[error("is longer than 63 bytes")]
    TooLong,
    /// An element that stands in its list already.
    #[error("repeats an element")]
    Repeated,
    /// Two keys that are spellings of one name.
    #[error("names {0} a second time")]
    SecondSpelling(String),
    /// A command of a role that has been given already.
    #[error("allows \"{0}\" to role \"{1}\" a second time")]
    SecondPermission(&'static str, String),
    /// A member that the archetype has no use for.
    #[error("has no place in archetype \"{0}\"")]
    NotOfArchetype(&'static str),
    /// A member that the scope has no use for.
    #[error("has no place in scope \"{0}\"")]
    NotOfScope(&'static str),
    /// Columns of a command that has none.
    #[error("restricts delete, which has no columns")]
    ColumnsOfCommand,
    /// Two members of which one excludes the other.
    #[error("has no place beside \"{0}\"")]
    Beside(&'static str),
    /// Personal columns of a protected relation, declared elsewhere.
    #[error("belongs into the member of \"relations\", where the relation is protected")]
    OfProtected,
    /// Reads of a relation about which the manifest says nothing else.
    #[error("relation {0} is neither protected nor audited by the manifest")]
    ReadsOfNobody(String),
    /// A role that the manifest does not define.
    #[error("role \"{0}\" is not defined in the manifest")]
    UndefinedRole(String),
    /// Roles that inherit each other; the way round.
    #[error("role inherits itself: {}", .0.join(" > "))]
    RoleCycle(Vec<String>),
    /// A parent that is not declared.
    #[error("relation {0} is not protected by the manifest")]
    UndeclaredParent(String),
    /// A parent whose rows have no account.
    #[error("relation {0} of archetype \"{1}\" has no accounts to inherit")]
    ParentWithoutAccounts(String, &'static str),
    /// Children of each other; the way round.
    #[error("relation is its own parent: {}", .0.join(" > "))]
    ParentCycle(Vec<String>),
    /// The column whose account or parent decides cannot be kept from the log.
    #[error("is what decides whose row it is, and cannot be {0}")]
    Decides(&'static str),
    /// An issuer's setting is unfit.
    #[error("{0}")]
    Issuer(#[from] IssuerError),
    /// A key that must be kept secret.
    #[error("is a secret, which a manifest must not hold")]
    SecretKey,
    /// An issuer that can only be made with keys.
    #[error("is missing, and the issuer is not registered yet")]
    KeysNeeded,
    /// An issuer whose keys no plan could give back.
    #[error("is left out, but its secret keys could not be given back: drop it with drop_issuer")]
    DropsSecret,
    /// No such relation in the database.
    #[error("relation {0} does not exist")]
    NoRelation(String),
    /// Something else than a table: relation and what it is.
    #[error("relation {0} is {1}")]
    NotATable(String, &'static str),
    /// A partition or child, which is protected with its parent.
    #[error("relation {0} is a partition or child of {1}")]
    PartOf(String, String),
    /// No such column: column, relation.
    #[error("column \"{0}\" of relation {1} does not exist")]
    NoColumn(String, String),
    /// A type that cannot hold an account: column, relation, type.
    #[error("column \"{0}\" of relation {1} is of type {2}, which cannot hold an account")]
    AccountType(String, String, String),
    /// A column that says which row it is: column, relation.
    #[error("column \"{0}\" of relation {1} is part of the primary key")]
    KeyColumn(String, String),
    /// No foreign key on a column that is to lead to a parent: column, relation.
    #[error("no foreign key on column \"{0}\" of relation {1} names its parent")]
    NoForeignKey(String, String),
    /// No such role in the database.
    #[error("role \"{0}\" of the database does not exist")]
    NoDatabaseRole(String),
    /// No such schema in the database.
    #[error("schema \"{0}\" does not exist")]
    NoSchema(String),
    /// A level of assurance with characters that no level has.
    #[error("is not a level of assurance")]
    Level,
}
