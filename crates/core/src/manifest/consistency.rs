//! What the parts of a manifest say about each other.

use std::collections::BTreeMap;

use super::reader::{Result, problem};
use super::{Manifest, Ownership, Parent, Problem, Relation, RelationName};
use crate::json_path::JsonPath;

/// Refuses names that are not declared and declarations that go round in a circle.
pub(super) fn judge(manifest: &Manifest) -> Result<()> {
    roles(manifest)?;
    for (name, relation) in &manifest.relations {
        let path = Manifest::path_of(name);
        redaction(relation, &path)?;
        parents(manifest, relation, &path)?;
        for permission in &relation.permissions {
            let at = || permission.place.path(name).member("role");
            defined(manifest, &permission.role, at)?;
        }
    }
    logging(manifest)?;
    parent_cycles(manifest)
}

/// What is logged of relations beside their protection.
fn logging(manifest: &Manifest) -> Result<()> {
    for (name, audited) in &manifest.audited {
        if !audited.personal.is_empty() && manifest.relations.contains_key(name) {
            let at = Manifest::path_of_audited(name).member("personal");
            return problem(at, Problem::OfProtected);
        }
    }
    for name in &manifest.audited_reads {
        if !manifest.relations.contains_key(name) && !manifest.audited.contains_key(name) {
            let at = JsonPath::root().member("audited_reads");
            return problem(at, Problem::ReadsOfNobody(name.to_string()));
        }
    }
    Ok(())
}

fn roles(manifest: &Manifest) -> Result<()> {
    let at = JsonPath::root().member("roles");
    for (name, role) in &manifest.roles {
        for inherited in &role.inherits {
            defined(manifest, inherited, || at.member(name).member("inherits"))?;
        }
    }
    let inherited = |name: &&str| -> Vec<&str> {
        let role = manifest.roles.get(*name);
        role.map_or(Vec::new(), |role| {
            role.inherits.iter().map(String::as_str).collect()
        })
    };
    match cycle(manifest.roles.keys().map(String::as_str), inherited) {
        Some(cycle) => {
            let path = at.member(cycle[0]).member("inherits");
            let names = cycle.into_iter().map(str::to_owned).collect();
            problem(path, Problem::RoleCycle(names))
        }
        None => Ok(()),
    }
}

fn defined(manifest: &Manifest, role: &str, at: impl FnOnce() -> JsonPath) -> Result<()> {
    match manifest.roles.contains_key(role) {
        true => Ok(()),
        false => problem(at(), Problem::UndefinedRole(role.to_owned())),
    }
}

fn redaction(relation: &Relation, path: &JsonPath) -> Result<()> {
    let decides = match &relation.ownership {
        Ownership::Child { via, parent } => {
            let kind = match parent {
                Parent::ByType { type_column, .. } => Some(type_column.as_str()),
                _ => None,
            };
            [Some(via.as_str()), kind]
        }
        other => [other.account_column(), None],
    };
    let lists = [
        ("redact", &relation.redact, "redacted"),
        ("personal", &relation.personal, "personal"),
    ];
    for (member, list, verb) in lists {
        let mut columns = decides.into_iter().flatten();
        if columns.any(|column| list.contains(column)) {
            return problem(path.member(member), Problem::Decides(verb));
        }
    }
    Ok(())
}

fn parents(manifest: &Manifest, relation: &Relation, path: &JsonPath) -> Result<()> {
    for (parent, at) in relation.ownership.parents(path) {
        let Some(declared) = manifest.relations.get(parent) else {
            return problem(at, Problem::UndeclaredParent(parent.to_string()));
        };
        let archetype = declared.ownership.archetype();
        if !archetype.has_accounts() {
            let reason = Problem::ParentWithoutAccounts(parent.to_string(), archetype.name());
            return problem(at, reason);
        }
    }
    Ok(())
}

fn parent_cycles(manifest: &Manifest) -> Result<()> {
    let cycle = cycle(manifest.relations.keys(), |name| {
        parents_of(&manifest.relations, name)
    });
    match cycle {
        Some(cycle) => {
            let names = cycle.iter().map(|name| name.to_string()).collect();
            problem(Manifest::path_of(cycle[0]), Problem::ParentCycle(names))
        }
        None => Ok(()),
    }
}

/// The named parents of a relation.
pub(super) fn parents_of<'m>(
    relations: &'m BTreeMap<RelationName, Relation>,
    name: &RelationName,
) -> Vec<&'m RelationName> {
    let root = JsonPath::root();
    let relation = relations.get(name);
    relation.map_or(Vec::new(), |relation| {
        let parents = relation.ownership.parents(&root).into_iter();
        parents.map(|(parent, _)| parent).collect()
    })
}

/// The nodes with those that each needs before it; a circle is cut at one of its nodes.
pub(super) fn in_order<'n, N: Ord + Copy + 'n>(
    nodes: impl Iterator<Item = N>,
    needs: impl Fn(&N) -> Vec<N>,
) -> Vec<N> {
    let mut walk = Walk::default();
    for node in nodes {
        walk.visit(node, &needs);
    }
    walk.done
}

/// A circle of nodes, its first one again at its end.
fn cycle<N: Ord + Copy>(
    nodes: impl Iterator<Item = N>,
    needs: impl Fn(&N) -> Vec<N>,
) -> Option<Vec<N>> {
    let mut walk = Walk::default();
    for node in nodes {
        walk.visit(node, &needs);
    }
    walk.circle
}

/// A walk depth first. It keeps its own stack: how deep declarations go is somebody else's choice.
struct Walk<N> {
    seen: std::collections::BTreeSet<N>,
    done: Vec<N>,
    circle: Option<Vec<N>>,
}

impl<N> Default for Walk<N> {
    fn default() -> Self {
        Self {
            seen: Default::default(),
            done: Vec::new(),
            circle: None,
        }
    }
}

impl<N: Ord + Copy> Walk<N> {
    fn visit(&mut self, start: N, needs: impl Fn(&N) -> Vec<N>) {
        if !self.seen.insert(start) {
            return;
        }
        let mut stack = vec![(start, needs(&start))];
        while let Some((node, open)) = stack.last_mut() {
            let Some(next) = open.pop() else {
                self.done.push(*node);
                stack.pop();
                continue;
            };
            if self.seen.insert(next) {
                stack.push((next, needs(&next)));
            } else if let Some(from) = stack.iter().position(|(passed, _)| *passed == next) {
                let passed = stack[from..].iter().map(|(node, _)| *node);
                self.circle.get_or_insert(passed.chain([next]).collect());
            }
        }
    }
}
