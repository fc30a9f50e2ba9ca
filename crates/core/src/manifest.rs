//! Manifests: all of a database's isolation in one declaration.
//!
//! A [`Manifest`] is what is left of the JSON once defaults are filled in and names are normalized:
//! two manifests that ask for the same are equal. [`Manifest::parse`] reads the JSON and judges
//! whatever can be judged without a database, [`Manifest::to_json`] writes the shortest JSON that
//! means the same, and [`difference`] says which statements lead from one to another.

mod consistency;
mod difference;
mod duration;
mod facts;
mod name;
mod online;
mod problem;
mod read;
mod read_relation;
mod reader;
mod statement;
mod write;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::archetype::Archetype;
use crate::json_path::JsonPath;

pub use crate::permission::Command;
pub use difference::{Operation, difference};
pub use facts::{Column, Facts, Kind, RelationFacts};
pub use name::RelationName;
pub use online::{Index, Table, finish, prepare, settle};
pub use problem::{ManifestError, Problem};
pub use statement::protect as protect_again;

/// The version of manifests that this code reads and writes.
pub const VERSION: i64 = 1;

/// What a manifest declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// By the `iss` of their tokens.
    pub issuers: BTreeMap<String, Issuer>,
    /// Where memberships stand.
    pub membership: Option<Membership>,
    /// Where the accounts stand.
    pub account_relation: Option<AccountRelation>,
    /// The roles of the product.
    pub roles: BTreeMap<String, Role>,
    /// The protected relations.
    pub relations: BTreeMap<RelationName, Relation>,
    /// The relations, protected or not, for which `audit` says what is captured.
    pub audited: BTreeMap<RelationName, Audited>,
    /// The protected or audited relations whose reads are recorded.
    pub audited_reads: BTreeSet<RelationName>,
    /// Schemas whose new tables are protected or refused, by name.
    pub governed_schemas: BTreeMap<String, Governed>,
}

/// An issuer without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// JWK Set of public keys as JSON text, for an issuer that is not registered yet.
    pub keys: Option<String>,
    /// JWS names of the algorithms allowed; `None`: all that the keys' types allow.
    pub algorithms: Option<BTreeSet<String>>,
    /// When set, a token must be for one of these.
    pub audiences: Option<BTreeSet<String>>,
    /// Where claims stand in the tokens, of those that do not stand in their default place.
    pub claim_paths: BTreeMap<String, Vec<String>>,
    /// How far the issuer's clock may be off, in microseconds.
    pub leeway_us: i64,
    /// How long after `iat` a token is accepted, in microseconds.
    pub max_age_us: Option<i64>,
    /// Whether a token without `exp` is refused.
    pub require_exp: bool,
}

/// Arguments of `set_membership`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The table of memberships.
    pub relation: RelationName,
    /// Its column with the person.
    pub subject_column: String,
    /// Its column with the account.
    pub account_column: String,
    /// Its column with the role.
    pub role_column: Option<String>,
    /// Its column that says whether the membership counts.
    pub active_column: Option<String>,
}

/// Arguments of `set_account_relation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRelation {
    /// The table of accounts.
    pub relation: RelationName,
    /// Its column with the account.
    pub key_column: String,
    /// Its column that says whether the account is active.
    pub active_column: Option<String>,
}

/// A role of the product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The roles whose permissions it has as well.
    pub inherits: BTreeSet<String>,
    /// The level of assurance without which it does not count.
    pub assurance: Option<String>,
    /// Whether its holders read the log of their account.
    pub reads_log: bool,
}

/// How the rows of a relation find their account: an [`Archetype`] with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// By this column, as [`Archetype::Account`].
    Account(String),
    /// By this column, as [`Archetype::SharedDefaults`].
    SharedDefaults(String),
    /// By this column, as [`Archetype::PublicRead`].
    PublicRead(String),
    /// By the parent that the column `via` names.
    Child {
        /// The column with the parent's key.
        via: String,
        /// Which parent.
        parent: Parent,
    },
    /// [`Archetype::Reference`]
    Reference,
    /// [`Archetype::DenyAll`]
    DenyAll,
}

/// The parents of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parent {
    /// The one that the foreign key on the column names.
    ForeignKey,
    /// This one.
    Named(RelationName),
    /// One of several, by the text in a column.
    ByType {
        /// The column.
        type_column: String,
        /// The parent for each text in it.
        parents: BTreeMap<String, RelationName>,
    },
}

impl Ownership {
    /// The archetype without its members.
    pub fn archetype(&self) -> Archetype {
        match self {
            Self::Account(_) => Archetype::Account,
            Self::SharedDefaults(_) => Archetype::SharedDefaults,
            Self::PublicRead(_) => Archetype::PublicRead,
            Self::Child { .. } => Archetype::Child,
            Self::Reference => Archetype::Reference,
            Self::DenyAll => Archetype::DenyAll,
        }
    }

    /// The account column, where the archetype has one.
    pub fn account_column(&self) -> Option<&str> {
        match self {
            Self::Account(column) | Self::SharedDefaults(column) | Self::PublicRead(column) => {
                Some(column)
            }
            _ => None,
        }
    }

    /// The parents that are named, each with its place within the relation's declaration.
    fn parents(&self, at: &JsonPath) -> Vec<(&RelationName, JsonPath)> {
        match self {
            Self::Child { parent, .. } => match parent {
                Parent::ForeignKey => Vec::new(),
                Parent::Named(parent) => vec![(parent, at.member("parent"))],
                Parent::ByType { parents, .. } => {
                    let at = at.member("parents");
                    let all = parents.iter();
                    all.map(|(kind, parent)| (parent, at.member(kind)))
                        .collect()
                }
            },
            _ => Vec::new(),
        }
    }
}

/// A protected relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Archetype and its members.
    pub ownership: Ownership,
    /// The database roles that are let in; empty for everybody its grants let in.
    pub roles: BTreeSet<String>,
    /// Columns whose values are never logged.
    pub redact: BTreeSet<String>,
    /// Columns that hold data of persons.
    pub personal: BTreeSet<String>,
    /// Whether changes are logged.
    pub audit: bool,
    /// Levels of assurance by command, or for `all`.
    pub assurance: BTreeMap<String, String>,
    /// What roles of the product may do.
    pub permissions: BTreeSet<Permission>,
    /// Whether plans list the indexes that isolation wants.
    pub index: bool,
    /// Whether each account is to have a row in it.
    pub account_row: bool,
    /// Where the account stands in the paths of columns, by column.
    pub paths: BTreeMap<String, String>,
}

impl Relation {
    /// A relation of which nothing but the ownership is declared.
    pub fn new(ownership: Ownership) -> Self {
        Self {
            ownership,
            roles: BTreeSet::new(),
            redact: BTreeSet::new(),
            personal: BTreeSet::new(),
            audit: true,
            assurance: BTreeMap::new(),
            permissions: BTreeSet::new(),
            index: true,
            account_row: false,
            paths: BTreeMap::new(),
        }
    }
}

/// Arguments of `annotate`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Annotations<'m> {
    personal: &'m BTreeSet<String>,
    index: bool,
}

impl<'m> Annotations<'m> {
    /// None where that is what goes without saying.
    fn new(personal: &'m BTreeSet<String>, index: bool) -> Option<Self> {
        let said = !personal.is_empty() || !index;
        said.then_some(Self { personal, index })
    }
}

/// Arguments of `audit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// The columns that are logged; all of them if none.
    pub include: Option<BTreeSet<String>>,
    /// Columns that are left out in silence.
    pub exclude: BTreeSet<String>,
    /// Columns that are left out and named.
    pub redact: BTreeSet<String>,
    /// Columns whose values are logged as keyed hashes.
    pub hash: BTreeSet<String>,
    /// Whether an UPDATE that changes nothing is no event.
    pub skip_unchanged: bool,
    /// Whether TRUNCATE logs each row.
    pub truncate_rows: bool,
    /// Columns that hold data of persons, of a relation that is not protected.
    pub personal: BTreeSet<String>,
}

/// One command that one role may use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The role of the product.
    pub role: String,
    /// The command.
    pub command: Command,
    /// On which rows.
    pub scope: Scope,
    /// On which columns; all of them if none.
    pub columns: Option<BTreeSet<String>>,
    /// Where it was declared.
    pub place: Place,
}

/// The place of a permission in the list it was read from. It says nothing about what is declared, so
/// any two places are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place(Option<usize>);

impl Place {
    /// Where a permission of `relation` stands.
    pub fn path(self, relation: &RelationName) -> JsonPath {
        let list = Manifest::path_of(relation).member("permissions");
        match self.0 {
            Some(place) => list.element(place),
            None => list,
        }
    }
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

/// The rows of the account that a permission reaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All of them.
    Account,
    /// Those whose column names the subject.
    Own(String),
    /// Those whose column names the subject, alone or in an array.
    Assigned(String),
    /// Those that a table assigns to the subject.
    AssignedBy {
        /// The table.
        assignment: RelationName,
        /// Its column with the key of the row.
        key: String,
        /// Its column with the subject.
        subject: String,
    },
    /// Those whose parent, named by this column, the subject may read.
    Via(String),
}

/// A schema that event triggers watch over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Governed {
    /// The column that makes a new table one to protect.
    pub account_column: String,
    /// As in [`Relation::roles`].
    pub roles: BTreeSet<String>,
    /// As in [`Relation::redact`], where a new table has the columns.
    pub redact: BTreeSet<String>,
    /// As in [`Relation::audit`].
    pub audit: bool,
}

/// The account column where none is named.
pub(crate) const ACCOUNT_COLUMN: &str = "account_id";

/// The leeway of an issuer that declares none, in microseconds.
const LEEWAY_US: i64 = 30_000_000;

impl Manifest {
    /// Reads a manifest and judges all that needs no database.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] names the place and the first problem found there.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest = read::manifest(text)?;
        consistency::judge(&manifest)?;
        Ok(manifest)
    }

    /// The shortest JSON text that [`parse`](Self::parse) reads as this manifest: members that
    /// have their default left out, lists sorted.
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    /// [`to_json`](Self::to_json) as a value.
    pub fn to_value(&self) -> serde_json::Value {
        write::manifest(self)
    }

    /// Where a relation is declared.
    pub fn path_of(relation: &RelationName) -> JsonPath {
        JsonPath::root()
            .member("relations")
            .member(&relation.to_string())
    }

    /// Where it is said how a relation is audited.
    pub fn path_of_audited(relation: &RelationName) -> JsonPath {
        JsonPath::root()
            .member("audited")
            .member(&relation.to_string())
    }

    /// What `annotate` is told of a relation; none where that is what goes without saying.
    fn annotations(&self, relation: &RelationName) -> Option<Annotations<'_>> {
        let protected = self.relations.get(relation);
        let audited = || self.audited.get(relation).map(|of| (&of.personal, true));
        let (personal, index) = protected
            .map(|of| (&of.personal, of.index))
            .or_else(audited)?;
        Annotations::new(personal, index)
    }

    /// Judges names against each other, as [`parse`](Self::parse) does: needed again once parents
    /// that foreign keys name have become known.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn judge(&self) -> Result<(), ManifestError> {
        consistency::judge(self)
    }
}
