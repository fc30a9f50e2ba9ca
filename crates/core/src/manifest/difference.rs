//! From one manifest to another: the statements in between, each with the one that takes it back.

use std::collections::{BTreeMap, BTreeSet};

use super::consistency::{in_order, parents_of};
use super::reader::problem;
use super::{
    Annotations, Audited, Command, Issuer, Manifest, ManifestError, Permission, Problem, Relation,
    RelationName, Role, statement,
};
use crate::json_path::JsonPath;

/// One step from what is to what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The part of the manifest that asks for it.
    pub path: JsonPath,
    /// What it is about: the name of a relation, a role, an issuer or a schema.
    pub object: String,
    /// What to execute.
    pub statement: String,
    /// What takes it back, once all later steps are taken back.
    pub reverse: String,
}

/// The statements that lead from `present` to `wanted`, in the order to execute them in, all in one
/// transaction. Parents of foreign keys are named in both.
///
/// Roles come before the permissions that name them, parents before their children; what is no
/// longer wanted goes at the end, the other way round. So each statement finds what it needs, and so
/// does each reverse in reverse order.
///
/// # Errors
///
/// [`ManifestError`] where an issuer cannot be made or dropped without its secrets.
pub fn difference(present: &Manifest, wanted: &Manifest) -> Result<Vec<Operation>, ManifestError> {
    let mut steps = Steps::default();
    steps.ungovern(present, wanted);
    steps.stop_reads(present, wanted);
    steps.unaudit(present, wanted);
    steps.issuers(present, wanted)?;
    steps.identity_sources(present, wanted);
    steps.roles(present, wanted);
    steps.relations(present, wanted);
    steps.permissions(present, wanted);
    steps.retire(present, wanted);
    steps.drop_roles(present, wanted);
    steps.drop_issuers(present, wanted)?;
    steps.audit(present, wanted);
    steps.start_reads(present, wanted);
    steps.govern(present, wanted);
    Ok(steps.0)
}

#[derive(Default)]
struct Steps(Vec<Operation>);

impl Steps {
    fn push(&mut self, path: JsonPath, object: impl ToString, statement: String, reverse: String) {
        self.0.push(Operation {
            path,
            object: object.to_string(),
            statement,
            reverse,
        });
    }

    fn issuers(&mut self, present: &Manifest, wanted: &Manifest) -> Result<(), ManifestError> {
        for (name, issuer) in &wanted.issuers {
            let path = JsonPath::root().member("issuers").member(name);
            match present.issuers.get(name) {
                None => {
                    let Some(keys) = &issuer.keys else {
                        return problem(path.member("keys"), Problem::KeysNeeded);
                    };
                    let add = statement::add_issuer(name, keys, issuer);
                    self.push(path, name, add, statement::drop_issuer(name));
                }
                Some(old) if settings(old) != settings(issuer) => {
                    let [there, back] = [issuer, old].map(|to| statement::alter_issuer(name, to));
                    self.push(path, name, there, back);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn drop_issuers(&mut self, present: &Manifest, wanted: &Manifest) -> Result<(), ManifestError> {
        for (name, issuer) in removed(&present.issuers, &wanted.issuers) {
            let path = JsonPath::root().member("issuers").member(name);
            let Some(keys) = &issuer.keys else {
                return problem(path, Problem::DropsSecret);
            };
            let back = statement::add_issuer(name, keys, issuer);
            self.push(path, name, statement::drop_issuer(name), back);
        }
        Ok(())
    }

    fn identity_sources(&mut self, present: &Manifest, wanted: &Manifest) {
        let (old, new) = (present.membership.as_ref(), wanted.membership.as_ref());
        if old != new {
            let path = JsonPath::root().member("membership");
            let [there, back] = [new, old].map(statement::set_membership);
            self.push(path, "membership", there, back);
        }
        let (old, new) = (&present.account_relation, &wanted.account_relation);
        if old != new {
            let path = JsonPath::root().member("account_relation");
            let [there, back] = [new, old].map(|to| statement::set_account_relation(to.as_ref()));
            self.push(path, "account_relation", there, back);
        }
    }

    /// Inherited roles first: what a role inherits is in its final state when it is defined, so no
    /// circle stands in between.
    fn roles(&mut self, present: &Manifest, wanted: &Manifest) {
        for name in order_of_roles(&wanted.roles) {
            let (old, new) = (present.roles.get(name), &wanted.roles[name]);
            let path = JsonPath::root().member("roles").member(name);
            let there = statement::define_role(name, &new.inherits);
            match old {
                None => self.push(path, name, there, statement::drop_role(name)),
                Some(old) if old.inherits != new.inherits => {
                    let back = statement::define_role(name, &old.inherits);
                    self.push(path, name, there, back);
                }
                Some(_) => {}
            }
            let level = old.and_then(|old| old.assurance.as_deref());
            self.role_assurance(name, level, new.assurance.as_deref());
            self.role_reads_log(name, old.is_some_and(|old| old.reads_log), new.reads_log);
        }
    }

    fn role_reads_log(&mut self, name: &str, old: bool, new: bool) {
        if old != new {
            let path = JsonPath::root().member("roles").member(name);
            let [there, back] = [new, old].map(|may| statement::let_read_log(name, may));
            self.push(path.member("reads_log"), name, there, back);
        }
    }

    fn role_assurance(&mut self, name: &str, old: Option<&str>, new: Option<&str>) {
        if old != new {
            let path = JsonPath::root().member("roles").member(name);
            let [there, back] = [new, old].map(|to| statement::require_role_assurance(name, to));
            self.push(path.member("assurance"), name, there, back);
        }
    }

    fn drop_roles(&mut self, present: &Manifest, wanted: &Manifest) {
        for name in order_of_roles(&present.roles).into_iter().rev() {
            if wanted.roles.contains_key(name) {
                continue;
            }
            let old = &present.roles[name];
            self.role_reads_log(name, old.reads_log, false);
            self.role_assurance(name, old.assurance.as_deref(), None);
            let back = statement::define_role(name, &old.inherits);
            let path = JsonPath::root().member("roles").member(name);
            self.push(path, name, statement::drop_role(name), back);
        }
    }

    /// What comes or stays with accounts, parents first, and what comes without.
    fn relations(&mut self, present: &Manifest, wanted: &Manifest) {
        let ordered = in_order(wanted.relations.keys(), |name| {
            parents_of(&wanted.relations, name)
        });
        for name in ordered {
            if !loses_accounts(present, wanted, name) {
                self.protect(present, wanted, name, &wanted.relations[name]);
            }
        }
    }

    /// What goes, and what stays without the accounts it has: nobody's parent any more, so its present
    /// children come before it.
    fn retire(&mut self, present: &Manifest, wanted: &Manifest) {
        let ordered = in_order(present.relations.keys(), |name| {
            parents_of(&present.relations, name)
        });
        for name in ordered.into_iter().rev() {
            let old = &present.relations[name];
            match wanted.relations.get(name) {
                None => {
                    let stays = present.audited.contains_key(name);
                    let after = wanted.annotations(name).filter(|_| stays);
                    let path = Manifest::path_of(name);
                    self.annotate(path, name, present.annotations(name), after);
                    self.extras(name, Some(old), None);
                    let back = statement::protect(name, old);
                    let path = Manifest::path_of(name);
                    self.push(path, name, statement::unprotect(name), back);
                }
                Some(new) if loses_accounts(present, wanted, name) => {
                    self.protect(present, wanted, name, new);
                }
                Some(_) => {}
            }
        }
    }

    fn protect(
        &mut self,
        present: &Manifest,
        wanted: &Manifest,
        name: &RelationName,
        new: &Relation,
    ) {
        let old = present.relations.get(name);
        let path = Manifest::path_of(name);
        let there = statement::protect(name, new);
        match old {
            None => self.push(path, name, there, statement::unprotect(name)),
            Some(old) if protection(old) != protection(new) => {
                self.push(path, name, there, statement::protect(name, old));
            }
            Some(_) => {}
        }
        // Whoever is audited no longer is forgotten, with what is declared of it.
        let stays = old.is_some() || wanted.audited.contains_key(name);
        let before = present.annotations(name).filter(|_| stays);
        self.annotate(
            Manifest::path_of(name),
            name,
            before,
            wanted.annotations(name),
        );
        self.extras(name, old, Some(new));
    }

    fn annotate(
        &mut self,
        path: JsonPath,
        name: &RelationName,
        before: Option<Annotations<'_>>,
        after: Option<Annotations<'_>>,
    ) {
        if before != after {
            let [there, back] = [after, before].map(|to| statement::annotate(name, to));
            self.push(path, name, there, back);
        }
    }

    /// What is declared of a relation beside its protection and permissions.
    fn extras(&mut self, name: &RelationName, old: Option<&Relation>, new: Option<&Relation>) {
        let path = Manifest::path_of(name);
        let [before, after] = [old, new].map(|of| of.is_some_and(|of| of.account_row));
        if before != after {
            let [there, back] =
                [after, before].map(|required| statement::require_account_row(name, required));
            self.push(path.member("account_row"), name, there, back);
        }
        let none = BTreeMap::new();
        let [before, after] = [old, new].map(|of| of.map_or(&none, |of| &of.paths));
        let columns: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for column in columns {
            let [was, becomes] = [before, after].map(|paths| paths.get(column));
            if was != becomes {
                let [there, back] = [becomes, was]
                    .map(|to| statement::declare_path(name, column, to.map(String::as_str)));
                self.push(path.member("paths").member(column), name, there, back);
            }
        }
        let [before, after] = [old, new].map(|of| of.map_or(&none, |of| &of.assurance));
        let commands: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for command in commands {
            let [was, becomes] = [before, after].map(|levels| levels.get(command));
            if was != becomes {
                let [there, back] =
                    [becomes, was].map(|to| statement::require_assurance(name, command, to));
                self.push(path.member("assurance").member(command), name, there, back);
            }
        }
    }

    /// What comes before what goes, so that a relation whose roles change is never without any.
    fn permissions(&mut self, present: &Manifest, wanted: &Manifest) {
        for (name, new) in &wanted.relations {
            self.changed_permissions(name, present.relations.get(name), Some(new), Change::Comes);
        }
        let names: BTreeSet<_> = present.relations.keys().collect();
        for name in names {
            let (old, new) = (present.relations.get(name), wanted.relations.get(name));
            self.changed_permissions(name, old, new, Change::Goes);
        }
    }

    fn changed_permissions(
        &mut self,
        name: &RelationName,
        old: Option<&Relation>,
        new: Option<&Relation>,
        change: Change,
    ) {
        let [old, new] = [old, new].map(by_key);
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
        // Commands whose permission changes in the same way share a statement.
        let mut groups: BTreeMap<Group<'_>, Vec<Command>> = BTreeMap::new();
        for (role, command) in keys {
            let [was, becomes] = [&old, &new].map(|of| of.get(&(role, command)).map(|is| rest(is)));
            let goes = becomes.is_none();
            if was != becomes && goes == (change == Change::Goes) {
                let group = groups.entry((role, was, becomes)).or_default();
                group.push(command);
            }
        }
        for ((role, was, becomes), commands) in groups {
            let declared = commands.first().and_then(|first| new.get(&(role, *first)));
            let path = match declared {
                Some(permission) => permission.place.path(name),
                None => Manifest::path_of(name).member("permissions"),
            };
            let [there, back] = [becomes, was].map(|to| match to {
                Some((scope, columns)) => {
                    statement::allow(role, name, &commands, scope, columns.as_ref())
                }
                None => statement::disallow(role, name, &commands),
            });
            self.push(path, name, there, back);
        }
    }

    fn unaudit(&mut self, present: &Manifest, wanted: &Manifest) {
        for (name, old) in removed(&present.audited, &wanted.audited) {
            let path = Manifest::path_of_audited(name);
            if !present.relations.contains_key(name) {
                self.annotate(path.clone(), name, present.annotations(name), None);
            }
            let back = statement::audit(name, old);
            self.push(path, name, statement::unaudit(name), back);
        }
    }

    fn stop_reads(&mut self, present: &Manifest, wanted: &Manifest) {
        for name in present.audited_reads.difference(&wanted.audited_reads) {
            self.reads(name, false);
        }
    }

    fn start_reads(&mut self, present: &Manifest, wanted: &Manifest) {
        for name in wanted.audited_reads.difference(&present.audited_reads) {
            self.reads(name, true);
        }
    }

    fn reads(&mut self, name: &RelationName, enabled: bool) {
        let path = JsonPath::root().member("audited_reads");
        let [there, back] = [enabled, !enabled].map(|to| statement::audit_reads(name, to));
        self.push(path, name, there, back);
    }

    fn audit(&mut self, present: &Manifest, wanted: &Manifest) {
        for (name, new) in &wanted.audited {
            let old = present.audited.get(name);
            // Of what is or was protected the steps before have declared it, where it was audited then.
            let before = present.annotations(name).filter(|_| old.is_some());
            let protected = wanted.relations.contains_key(name);
            let declared = protected || old.is_some() && present.relations.contains_key(name);
            let after = match declared {
                true => before,
                false => wanted.annotations(name),
            };
            let path = || Manifest::path_of_audited(name);
            // No column is hashed and personal at a time: what is both in turn is neither in between.
            let crosses = |declared: Option<Annotations<'_>>, audited: Option<&Audited>| {
                let both = declared.zip(audited);
                both.is_some_and(|(of, audited)| !of.personal.is_disjoint(&audited.hash))
            };
            let both = before
                .zip(after)
                .map(|(before, after)| before.personal & after.personal)
                .unwrap_or_default();
            let between = match crosses(before, Some(new)) || crosses(after, old) {
                true => Annotations::new(&both, true),
                false => before,
            };
            self.annotate(path(), name, before, between);
            if old.map(rule) != Some(rule(new)) {
                let back = match old {
                    Some(old) => statement::audit(name, old),
                    None => statement::unaudit(name),
                };
                self.push(path(), name, statement::audit(name, new), back);
            }
            self.annotate(path(), name, between, after);
        }
    }

    fn ungovern(&mut self, present: &Manifest, wanted: &Manifest) {
        for (schema, old) in removed(&present.governed_schemas, &wanted.governed_schemas) {
            let path = JsonPath::root().member("governed_schemas").member(schema);
            let back = statement::govern_schema(schema, old);
            self.push(path, schema, statement::ungovern_schema(schema), back);
        }
    }

    fn govern(&mut self, present: &Manifest, wanted: &Manifest) {
        for (schema, new) in &wanted.governed_schemas {
            let there = statement::govern_schema(schema, new);
            let back = match present.governed_schemas.get(schema) {
                Some(old) if old == new => continue,
                Some(old) => statement::govern_schema(schema, old),
                None => statement::ungovern_schema(schema),
            };
            let path = JsonPath::root().member("governed_schemas").member(schema);
            self.push(path, schema, there, back);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Comes,
    Goes,
}

/// A role with what it had and what it gets.
type Group<'p> = (&'p str, Option<Rest<'p>>, Option<Rest<'p>>);

/// Rows and columns of a permission.
type Rest<'p> = (&'p super::Scope, &'p Option<BTreeSet<String>>);

fn rest(permission: &Permission) -> Rest<'_> {
    (&permission.scope, &permission.columns)
}

fn by_key(relation: Option<&Relation>) -> BTreeMap<(&str, Command), &Permission> {
    let all = relation.into_iter().flat_map(|of| &of.permissions);
    all.map(|permission| ((permission.role.as_str(), permission.command), permission))
        .collect()
}

/// Whether a relation is protected now and is to be so without accounts of its own.
fn loses_accounts(present: &Manifest, wanted: &Manifest, name: &RelationName) -> bool {
    let relation = wanted.relations.get(name);
    present.relations.contains_key(name)
        && relation.is_some_and(|relation| !relation.ownership.archetype().has_accounts())
}

fn order_of_roles(roles: &BTreeMap<String, Role>) -> Vec<&str> {
    in_order(roles.keys().map(String::as_str), |name| {
        let role = roles.get(*name);
        role.map_or(Vec::new(), |role| {
            role.inherits.iter().map(String::as_str).collect()
        })
    })
}

fn removed<'m, K: Ord, V>(
    present: &'m BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
) -> BTreeMap<&'m K, &'m V> {
    let all = present.iter();
    all.filter(|(name, _)| !wanted.contains_key(name)).collect()
}

/// Everything of an issuer but its keys, which rotate without a manifest.
fn settings(issuer: &Issuer) -> Issuer {
    Issuer {
        keys: None,
        ..issuer.clone()
    }
}

/// What `audit` is told.
fn rule(audited: &Audited) -> Audited {
    Audited {
        personal: BTreeSet::new(),
        ..audited.clone()
    }
}

/// What `protect` is told.
fn protection(relation: &Relation) -> Relation {
    Relation {
        roles: relation.roles.clone(),
        redact: relation.redact.clone(),
        audit: relation.audit,
        ..Relation::new(relation.ownership.clone())
    }
}
