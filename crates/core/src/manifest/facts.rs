//! A manifest held against the database it is for.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Audited, Manifest, ManifestError, Ownership, Parent, Problem, Relation, RelationName, Scope,
};
use crate::json_path::JsonPath;
use crate::policy::AccountType;

/// What the catalog says about everything a manifest names. What is not here does not exist.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The relations.
    pub relations: BTreeMap<RelationName, RelationFacts>,
    /// Roles of the database.
    pub roles: BTreeSet<String>,
    /// Schemas.
    pub schemas: BTreeSet<String>,
}

/// A relation as the catalog has it.
#[derive(Clone, Debug, Default)]
pub struct RelationFacts {
    /// What it is.
    pub kind: Kind,
    /// Name of the relation it is a partition or child of.
    pub part_of: Option<String>,
    /// By name.
    pub columns: BTreeMap<String, Column>,
    /// Columns that are a foreign key alone, with the relation it leads to.
    pub foreign_keys: BTreeMap<String, RelationName>,
}

/// What a relation is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary or partitioned table.
    #[default]
    Table,
    /// Something else, in words.
    Other(&'static str),
}

/// A column as the catalog has it.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// As `format_type(oid, NULL)` prints it.
    pub type_name: String,
    /// Part of the primary key.
    pub key: bool,
}

impl Manifest {
    /// Names the parents that foreign keys lead to.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] where no foreign key does, or where the parents it names do not fit.
    pub fn resolve(&mut self, facts: &Facts) -> Result<(), ManifestError> {
        for (name, relation) in &mut self.relations {
            let Ownership::Child { via, parent } = &mut relation.ownership else {
                continue;
            };
            if *parent != Parent::ForeignKey {
                continue;
            }
            let found = facts.relations.get(name);
            let found = found.and_then(|relation| relation.foreign_keys.get(via));
            let Some(found) = found else {
                return Err(ManifestError {
                    path: Self::path_of(name).member("via"),
                    problem: Problem::NoForeignKey(via.clone(), name.to_string()),
                });
            };
            *parent = Parent::Named(found.clone());
        }
        self.judge()
    }

    /// The reverse of [`resolve`](Self::resolve): leaves out the parents that foreign keys name.
    pub fn leave_to_foreign_keys(&mut self, facts: &Facts) {
        for (name, relation) in &mut self.relations {
            if let Ownership::Child { via, parent } = &mut relation.ownership
                && let Parent::Named(named) = parent
                && let Some(found) = facts.relations.get(name)
                && found.foreign_keys.get(via) == Some(named)
            {
                *parent = Parent::ForeignKey;
            }
        }
    }

    /// The relations it names, in whatever place.
    pub fn named_relations(&self) -> BTreeSet<&RelationName> {
        let mut names: BTreeSet<_> = self.relations.keys().collect();
        let root = JsonPath::root();
        for relation in self.relations.values() {
            let parents = relation.ownership.parents(&root).into_iter();
            names.extend(parents.map(|(parent, _)| parent));
            for permission in &relation.permissions {
                if let Scope::AssignedBy { assignment, .. } = &permission.scope {
                    names.insert(assignment);
                }
            }
        }
        names.extend(self.audited.keys());
        names.extend(self.membership.iter().map(|of| &of.relation));
        names.extend(self.account_relation.iter().map(|of| &of.relation));
        names
    }

    /// Everything that the manifest names and the database does not have, or has otherwise than the
    /// manifest would have it.
    pub fn problems(&self, facts: &Facts) -> Vec<ManifestError> {
        let mut search = Search {
            facts,
            found: Vec::new(),
        };
        search.identity_sources(self);
        for (name, relation) in &self.relations {
            search.relation(name, relation);
        }
        for (name, audited) in &self.audited {
            search.audited(name, audited);
        }
        for (schema, governed) in &self.governed_schemas {
            let path = JsonPath::root().member("governed_schemas").member(schema);
            if !facts.schemas.contains(schema) {
                search.found(path.clone(), Problem::NoSchema(schema.clone()));
            }
            search.roles(&path.member("roles"), &governed.roles);
        }
        search.found
    }
}

struct Search<'f> {
    facts: &'f Facts,
    found: Vec<ManifestError>,
}

impl<'f> Search<'f> {
    fn found(&mut self, path: JsonPath, problem: Problem) {
        self.found.push(ManifestError { path, problem });
    }

    fn identity_sources(&mut self, manifest: &Manifest) {
        let at = |source: &str, member: &str| JsonPath::root().member(source).member(member);
        if let Some(of) = &manifest.membership {
            let at = |member: &str| at("membership", member);
            self.table(&of.relation, at("relation"));
            self.column(&of.relation, &of.subject_column, at("subject_column"));
            self.column(&of.relation, &of.account_column, at("account_column"));
            for (member, column) in [
                ("role_column", &of.role_column),
                ("active_column", &of.active_column),
            ] {
                if let Some(column) = column {
                    self.column(&of.relation, column, at(member));
                }
            }
        }
        if let Some(of) = &manifest.account_relation {
            let at = |member: &str| at("account_relation", member);
            self.table(&of.relation, at("relation"));
            self.column(&of.relation, &of.key_column, at("key_column"));
            if let Some(column) = &of.active_column {
                self.column(&of.relation, column, at("active_column"));
            }
        }
    }

    fn relation(&mut self, name: &RelationName, relation: &Relation) {
        let path = Manifest::path_of(name);
        let Some(facts) = self.table(name, path.clone()) else {
            return;
        };
        if let Some(parent) = &facts.part_of {
            let reason = Problem::PartOf(name.to_string(), parent.clone());
            self.found(path.clone(), reason);
        }
        self.ownership(name, &relation.ownership, &path);
        for column in &relation.redact {
            self.column(name, column, path.member("redact"));
        }
        self.personal(name, &relation.personal, &path);
        for column in relation.paths.keys() {
            self.column(name, column, path.member("paths").member(column));
        }
        self.roles(&path.member("roles"), &relation.roles);
        for permission in &relation.permissions {
            self.permission(name, &permission.scope, &permission.place.path(name));
            for column in permission.columns.iter().flatten() {
                self.column(name, column, permission.place.path(name).member("columns"));
            }
        }
    }

    fn audited(&mut self, name: &RelationName, audited: &Audited) {
        let path = Manifest::path_of_audited(name);
        if self.table(name, path.clone()).is_none() {
            return;
        }
        for (member, columns) in [
            ("include", audited.include.as_ref()),
            ("exclude", Some(&audited.exclude)),
            ("redact", Some(&audited.redact)),
            ("hash", Some(&audited.hash)),
        ] {
            for column in columns.into_iter().flatten() {
                self.column(name, column, path.member(member));
            }
        }
        self.personal(name, &audited.personal, &path);
    }

    fn personal(&mut self, name: &RelationName, columns: &BTreeSet<String>, path: &JsonPath) {
        for column in columns {
            let at = path.member("personal");
            let found = self.column(name, column, at.clone());
            if found.is_some_and(|column| column.key) {
                self.found(at, Problem::KeyColumn(column.clone(), name.to_string()));
            }
        }
    }

    fn ownership(&mut self, name: &RelationName, ownership: &Ownership, path: &JsonPath) {
        if let Some(column) = ownership.account_column() {
            let at = path.member("account_column");
            let Some(facts) = self.column(name, column, at.clone()) else {
                return;
            };
            if AccountType::from_sql(&facts.type_name).is_none() {
                let kind = facts.type_name.clone();
                let reason = Problem::AccountType(column.to_owned(), name.to_string(), kind);
                self.found(at, reason);
            }
        }
        if let Ownership::Child { via, parent } = ownership {
            self.column(name, via, path.member("via"));
            if let Parent::ByType { type_column, .. } = parent {
                self.column(name, type_column, path.member("type_column"));
            }
        }
        for (parent, at) in ownership.parents(path) {
            self.table(parent, at);
        }
    }

    fn permission(&mut self, name: &RelationName, scope: &Scope, path: &JsonPath) {
        match scope {
            Scope::Account => {}
            Scope::Own(column) => drop(self.column(name, column, path.member("owner_column"))),
            Scope::Assigned(column) => {
                self.column(name, column, path.member("assigned_column"));
            }
            Scope::Via(column) => drop(self.column(name, column, path.member("via"))),
            Scope::AssignedBy {
                assignment,
                key,
                subject,
            } => {
                self.table(assignment, path.member("assignment"));
                self.column(assignment, key, path.member("assignment_key"));
                self.column(assignment, subject, path.member("assignment_subject"));
            }
        }
    }

    fn roles(&mut self, path: &JsonPath, roles: &BTreeSet<String>) {
        for role in roles.difference(&self.facts.roles) {
            self.found(path.clone(), Problem::NoDatabaseRole(role.clone()));
        }
    }

    fn table(&mut self, name: &RelationName, path: JsonPath) -> Option<&'f RelationFacts> {
        let Some(facts) = self.facts.relations.get(name) else {
            self.found(path, Problem::NoRelation(name.to_string()));
            return None;
        };
        if let Kind::Other(kind) = facts.kind {
            self.found(path, Problem::NotATable(name.to_string(), kind));
            return None;
        }
        Some(facts)
    }

    /// The column; none also where its relation is not there, which is said elsewhere.
    fn column(&mut self, name: &RelationName, column: &str, path: JsonPath) -> Option<&'f Column> {
        let found = self.facts.relations.get(name)?.columns.get(column);
        if found.is_none() {
            let reason = Problem::NoColumn(column.to_owned(), name.to_string());
            self.found(path, reason);
        }
        found
    }
}
