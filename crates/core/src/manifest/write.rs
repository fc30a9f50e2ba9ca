//! From a manifest to its shortest JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    ACCOUNT_COLUMN, AccountRelation, Audited, Command, Governed, Issuer, LEEWAY_US, Manifest,
    Membership, Ownership, Parent, Permission, Relation, Role, Scope, VERSION, duration,
};
use crate::archetype::Archetype;

/// An object in the making, from which defaults are left out.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.into(), value.into());
    }

    fn put_some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn put_unless<T: PartialEq + Into<Value>>(&mut self, name: &str, value: T, default: T) {
        if value != default {
            self.put(name, value);
        }
    }

    fn put_set(&mut self, name: &str, set: &BTreeSet<String>) {
        if !set.is_empty() {
            self.put(name, list(set));
        }
    }

    fn put_map<K: ToString, V>(
        &mut self,
        name: &str,
        map: &BTreeMap<K, V>,
        value: impl Fn(&V) -> Value,
    ) {
        if !map.is_empty() {
            self.put(name, object(map, value));
        }
    }
}

fn list(set: &BTreeSet<String>) -> Value {
    set.iter().map(String::as_str).collect()
}

fn object<K: ToString, V>(map: &BTreeMap<K, V>, value: impl Fn(&V) -> Value) -> Value {
    let members = map.iter().map(|(key, one)| (key.to_string(), value(one)));
    Value::Object(members.collect())
}

pub(super) fn manifest(manifest: &Manifest) -> Value {
    let mut members = Members::default();
    members.put("version", VERSION);
    members.put("issuers", object(&manifest.issuers, issuer));
    members.put_some("membership", manifest.membership.as_ref().map(membership));
    let accounts = manifest.account_relation.as_ref();
    members.put_some("account_relation", accounts.map(account_relation));
    members.put("roles", object(&manifest.roles, role));
    members.put("relations", object(&manifest.relations, relation));
    members.put_map("audited", &manifest.audited, audited);
    if !manifest.audited_reads.is_empty() {
        let names = manifest.audited_reads.iter().map(ToString::to_string);
        members.put("audited_reads", names.collect::<Value>());
    }
    members.put_map("governed_schemas", &manifest.governed_schemas, governed);
    Value::Object(members.0)
}

fn issuer(issuer: &Issuer) -> Value {
    let mut members = Members::default();
    // What is not JSON never was a manifest's; left out, it is missed where it is needed.
    let keys = issuer.keys.as_deref();
    members.put_some(
        "keys",
        keys.and_then(|keys| serde_json::from_str::<Value>(keys).ok()),
    );
    members.put_some("algorithms", issuer.algorithms.as_ref().map(list));
    members.put_some("audiences", issuer.audiences.as_ref().map(list));
    members.put_map("claim_paths", &issuer.claim_paths, |path| {
        path.iter().map(String::as_str).collect()
    });
    let leeway = duration::print(issuer.leeway_us);
    members.put_unless("leeway", leeway, duration::print(LEEWAY_US));
    members.put_some("max_age", issuer.max_age_us.map(duration::print));
    members.put_unless("require_exp", issuer.require_exp, true);
    Value::Object(members.0)
}

fn membership(membership: &Membership) -> Value {
    let mut members = Members::default();
    members.put("relation", membership.relation.to_string());
    members.put("subject_column", membership.subject_column.as_str());
    members.put("account_column", membership.account_column.as_str());
    members.put_some("role_column", membership.role_column.as_deref());
    members.put_some("active_column", membership.active_column.as_deref());
    Value::Object(members.0)
}

fn account_relation(accounts: &AccountRelation) -> Value {
    let mut members = Members::default();
    members.put("relation", accounts.relation.to_string());
    members.put("key_column", accounts.key_column.as_str());
    members.put_some("active_column", accounts.active_column.as_deref());
    Value::Object(members.0)
}

fn role(role: &Role) -> Value {
    let mut members = Members::default();
    members.put_set("inherits", &role.inherits);
    members.put_some("assurance", role.assurance.as_deref());
    members.put_unless("reads_log", role.reads_log, false);
    Value::Object(members.0)
}

fn audited(audited: &Audited) -> Value {
    let mut members = Members::default();
    members.put_some("include", audited.include.as_ref().map(list));
    members.put_set("exclude", &audited.exclude);
    members.put_set("redact", &audited.redact);
    members.put_set("hash", &audited.hash);
    members.put_unless("skip_unchanged", audited.skip_unchanged, false);
    members.put_unless("truncate_rows", audited.truncate_rows, false);
    members.put_set("personal", &audited.personal);
    Value::Object(members.0)
}

fn governed(governed: &Governed) -> Value {
    let mut members = Members::default();
    let column = governed.account_column.as_str();
    members.put_unless("account_column", column, ACCOUNT_COLUMN);
    members.put_set("roles", &governed.roles);
    members.put_set("redact", &governed.redact);
    members.put_unless("audit", governed.audit, true);
    Value::Object(members.0)
}

fn relation(relation: &Relation) -> Value {
    let mut members = Members::default();
    let archetype = relation.ownership.archetype();
    if !matches!(archetype, Archetype::Account | Archetype::Child) {
        members.put("archetype", archetype.name());
    }
    if let Some(column) = relation.ownership.account_column() {
        members.put_unless("account_column", column, ACCOUNT_COLUMN);
    }
    if let Ownership::Child { via, parent } = &relation.ownership {
        members.put("via", via.as_str());
        match parent {
            Parent::ForeignKey => {}
            Parent::Named(parent) => members.put("parent", parent.to_string()),
            Parent::ByType {
                type_column,
                parents,
            } => {
                members.put("type_column", type_column.as_str());
                members.put("parents", object(parents, |name| name.to_string().into()));
            }
        }
    }
    members.put_set("roles", &relation.roles);
    members.put_set("redact", &relation.redact);
    members.put_set("personal", &relation.personal);
    members.put_unless("audit", relation.audit, true);
    members.put_map("assurance", &relation.assurance, |level| {
        level.as_str().into()
    });
    if !relation.permissions.is_empty() {
        members.put("permissions", permissions(&relation.permissions));
    }
    members.put_unless("index", relation.index, true);
    members.put_unless("account_row", relation.account_row, false);
    members.put_map("paths", &relation.paths, |template| {
        template.as_str().into()
    });
    Value::Object(members.0)
}

/// Commands of one role with the same rows and columns stand together.
fn permissions(permissions: &BTreeSet<Permission>) -> Value {
    type Rest<'p> = (&'p str, &'p Scope, &'p Option<BTreeSet<String>>);
    let mut groups: BTreeMap<Rest<'_>, BTreeSet<Command>> = BTreeMap::new();
    for permission in permissions {
        let rest = (
            permission.role.as_str(),
            &permission.scope,
            &permission.columns,
        );
        groups.entry(rest).or_default().insert(permission.command);
    }
    let groups = groups.into_iter();
    groups
        .map(|((role, rows, columns), commands)| {
            let mut members = Members::default();
            members.put("role", role);
            members.put("commands", command_names(&commands));
            scope(&mut members, rows);
            members.put_some("columns", columns.as_ref().map(list));
            Value::Object(members.0)
        })
        .collect()
}

fn command_names(commands: &BTreeSet<Command>) -> Value {
    if commands.len() == Command::ALL.len() {
        return ["all"].into_iter().collect();
    }
    commands.iter().map(|command| command.name()).collect()
}

fn scope(members: &mut Members, scope: &Scope) {
    match scope {
        Scope::Account => {}
        Scope::Own(column) => {
            members.put("scope", "own");
            members.put("owner_column", column.as_str());
        }
        Scope::Assigned(column) => {
            members.put("scope", "assigned");
            members.put("assigned_column", column.as_str());
        }
        Scope::AssignedBy {
            assignment,
            key,
            subject,
        } => {
            members.put("scope", "assigned");
            members.put("assignment", assignment.to_string());
            members.put("assignment_key", key.as_str());
            members.put("assignment_subject", subject.as_str());
        }
        Scope::Via(column) => {
            members.put("scope", "via");
            members.put("via", column.as_str());
        }
    }
}
