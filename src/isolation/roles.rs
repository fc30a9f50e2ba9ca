//! Roles of the product, and what each may do: data that policies are compiled from.

use std::collections::BTreeSet;

use pgrx::prelude::*;
use tenant_guard_core::permission::{PermissionError, Role, Roles};
use tenant_guard_core::policy::Policy;

use super::allowing::Allowed;
use super::lookup;
use super::members::Tree;
use super::ownership::Ownerships;
use super::permissions::{self, Permissions};
use super::registry::{self, read};
use super::{assurance, execute, locking, policies, require_admin};
use crate::audit::record::record_system;
use crate::catalog::write;
use crate::error::{Error, OrRaise};

/// Defines a role of the product, or changes what it inherits.
#[pg_extern(sql = false)]
fn define_role(name: Option<&str>, inherits: Option<Array<'_, &str>>) {
    let name = name.ok_or(Error::NullArgument("name")).or_raise();
    let inherits = inherits.ok_or(Error::NullArgument("inherits")).or_raise();
    let inherited = |role: Option<&str>| {
        role.map(str::to_owned)
            .ok_or(Error::NullArgument("an element of inherits"))
    };
    let inherits: BTreeSet<String> = { inherits.iter().map(inherited) }
        .collect::<Result<_, _>>()
        .or_raise();
    if name.is_empty() {
        Error::EmptyArgument("name").raise();
    }
    require_admin().or_raise();
    registry::lock();
    let inherits: Vec<String> = inherits.into_iter().collect();
    change(name, |role| role.inherits.clone_from(&inherits));
    let data = serde_json::json!({ "role": name, "inherits": inherits }).to_string();
    record_system("define_role", None, "", Some(&data));
}

/// Asks a level of assurance of a role: without it the role does not count. With a null level, asks
/// none any more.
#[pg_extern(sql = false)]
fn require_role_assurance(role: Option<&str>, level: Option<&str>) {
    let name = role.ok_or(Error::NullArgument("role")).or_raise();
    if level.is_some_and(|level| !assurance::is_level(level)) {
        Error::UnfitLevel.raise();
    }
    require_admin().or_raise();
    registry::lock();
    defined().get(name).or_raise();
    change(name, |role| role.assurance = level.map(str::to_owned));
    let data = serde_json::json!({ "role": name, "level": level }).to_string();
    record_system("require_role_assurance", None, "", Some(&data));
}

/// Drops a role that nothing names any more.
#[pg_extern(sql = false)]
fn drop_role(name: Option<&str>) {
    let name = name.ok_or(Error::NullArgument("name")).or_raise();
    require_admin().or_raise();
    registry::lock();
    defined().get(name).or_raise();
    let by = read(
        "SELECT format('role %I inherits it', r.name) FROM tenant_guard.product_role AS r \
         WHERE $1 = ANY (r.inherits) \
         UNION ALL \
         SELECT format('it is allowed to %s rows of %s', \
             string_agg(p.command, ', ' ORDER BY p.command), p.relation) \
         FROM tenant_guard.permission AS p JOIN pg_class AS c ON c.oid = p.relation \
         WHERE p.role = $1 GROUP BY p.relation \
         UNION ALL \
         SELECT 'it reads the log of its account' FROM tenant_guard.log_reader AS l \
         WHERE l.role = $1 ORDER BY 1",
        &[name.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    );
    if !by.is_empty() {
        Error::from(PermissionError::RoleInUse(name.to_owned(), by)).raise();
    }
    write(
        "DELETE FROM tenant_guard.product_role WHERE name OPERATOR(pg_catalog.=) $1",
        &[name.into()],
    );
    // What is left of dropped relations would stand for others some day.
    write(
        "DELETE FROM tenant_guard.permission WHERE role OPERATOR(pg_catalog.=) $1",
        &[name.into()],
    );
    let data = serde_json::json!({ "role": name }).to_string();
    record_system("drop_role", None, "", Some(&data));
}

/// Allows a role commands on rows of a protected relation; what it was allowed by the same commands
/// before is replaced.
#[pg_extern(sql = false)]
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments of the SQL function"
)]
fn allow<'a>(
    role: Option<&'a str>,
    relation: Option<pg_sys::Oid>,
    commands: Option<Array<'a, &'a str>>,
    scope: Option<&'a str>,
    owner_column: Option<&'a std::ffi::CStr>,
    assigned_column: Option<&'a std::ffi::CStr>,
    assignment: Option<pg_sys::Oid>,
    assignment_key: Option<&'a std::ffi::CStr>,
    assignment_subject: Option<&'a std::ffi::CStr>,
    via: Option<&'a std::ffi::CStr>,
    columns: Option<Array<'a, &'a std::ffi::CStr>>,
) {
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    let mut allowed = Allowed::new(
        role.ok_or(Error::NullArgument("role")).or_raise(),
        relation,
        commands.ok_or(Error::NullArgument("commands")).or_raise(),
        scope.ok_or(Error::NullArgument("scope")).or_raise(),
    )
    .or_raise();
    let text = |name: &std::ffi::CStr| super::text(name);
    allowed.owner_column = owner_column.map(text);
    allowed.assigned_column = assigned_column.map(text);
    allowed.assignment = assignment;
    allowed.assignment_key = assignment_key.map(text);
    allowed.assignment_subject = assignment_subject.map(text);
    allowed.via = via.map(text);
    allowed.set_columns(columns).or_raise();
    allowed.judge_arguments().or_raise();
    require_admin().or_raise();
    registry::lock();
    defined().get(&allowed.role).or_raise();
    let tree = Tree::lock_protected(relation).or_raise();
    allowed.judge(&tree).or_raise();
    if !allowed.register() {
        notice!(
            "role \"{}\" is already allowed this on {}",
            allowed.role,
            tree.name()
        );
        return;
    }
    permissions::refuse_recursion(pg_sys::Oid::INVALID, &[]).or_raise();
    settle(std::slice::from_ref(&tree)).or_raise();
    record_system(
        "allow",
        Some(relation),
        "",
        Some(&allowed.to_json().to_string()),
    );
}

/// Takes commands on a relation back from a role. Where that was the last that was declared of the
/// relation, every role is let in again.
#[pg_extern(sql = false)]
fn disallow(role: Option<&str>, relation: Option<pg_sys::Oid>, commands: Option<Array<'_, &str>>) {
    let role = role.ok_or(Error::NullArgument("role")).or_raise();
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    let commands = commands.ok_or(Error::NullArgument("commands")).or_raise();
    let commands = super::allowing::commands(commands).or_raise();
    require_admin().or_raise();
    registry::lock();
    defined().get(role).or_raise();
    let tree = Tree::lock_protected(relation).or_raise();
    let names: Vec<String> = commands.iter().map(|c| c.name().to_owned()).collect();
    let taken = write(
        "DELETE FROM tenant_guard.permission WHERE relation OPERATOR(pg_catalog.=) $1 \
             AND role OPERATOR(pg_catalog.=) $2 AND command OPERATOR(pg_catalog.=) ANY ($3)",
        &[relation.into(), role.into(), names.clone().into()],
    );
    if taken == 0 {
        notice!("role \"{role}\" is not allowed this on {}", tree.name());
        return;
    }
    settle(std::slice::from_ref(&tree)).or_raise();
    if Permissions::of(relation).or_raise().on(relation).is_empty() {
        warning!(
            "relation {} is open to every role of the account",
            tree.name()
        );
    }
    let data = serde_json::json!({ "role": role, "commands": names }).to_string();
    record_system("disallow", Some(relation), "", Some(&data));
}

/// Forgets what is declared of a relation that is no longer protected.
pub(super) fn forget(relation: pg_sys::Oid) {
    write(
        "DELETE FROM tenant_guard.permission WHERE relation OPERATOR(pg_catalog.=) $1",
        &[relation.into()],
    );
}

/// Allows on a copy what is allowed on its source.
pub(super) fn copy(source: pg_sys::Oid, relation: pg_sys::Oid) {
    write(
        "INSERT INTO tenant_guard.permission (relation, role, command, scope, owner_column, \
             assigned_column, assignment, assignment_key, assignment_subject, via, columns) \
         SELECT $2::pg_catalog.regclass, p.role, p.command, p.scope, p.owner_column, \
             p.assigned_column, p.assignment, p.assignment_key, p.assignment_subject, p.via, \
             p.columns \
         FROM tenant_guard.permission AS p WHERE p.relation OPERATOR(pg_catalog.=) $1",
        &[source.into(), relation.into()],
    );
}

fn defined() -> Roles {
    Roles::new(permissions::roles()).or_raise()
}

/// Changes or defines a role, and brings the policies after it.
fn change(name: &str, change: impl FnOnce(&mut Role)) {
    let mut all = permissions::roles();
    let before = Roles::new(all.clone()).or_raise();
    let at = match all.iter().position(|role| role.name == name) {
        Some(at) => at,
        None => {
            all.push(Role {
                name: name.to_owned(),
                ..Role::default()
            });
            all.len() - 1
        }
    };
    change(&mut all[at]);
    let role = all[at].clone();
    let after = Roles::new(all).or_raise();
    write(
        "INSERT INTO tenant_guard.product_role (name, inherits, assurance) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET inherits = excluded.inherits, \
             assurance = excluded.assurance",
        &[
            role.name.into(),
            role.inherits.into(),
            role.assurance.into(),
        ],
    );
    let changed = after
        .names()
        .filter(|role| before.holders(role) != after.holders(role));
    let changed: Vec<_> = changed.map(str::to_owned).collect();
    let affected = permissions::relations_of(&changed);
    locking::lock_trees(&affected);
    let trees = affected.into_iter().map(Tree::lock_protected);
    let trees: Vec<_> = trees.collect::<Result<_, _>>().or_raise();
    settle(&trees).or_raise();
}

/// Judges the declarations as a whole and brings the policies of these relations after them, in place
/// and on all their members.
fn settle(trees: &[Tree]) -> Result<(), Error> {
    let relations: Vec<_> = trees.iter().map(|tree| tree.root().relation).collect();
    permissions::refuse_self_assignment(&defined(), &relations)?;
    let owners = Ownerships::of(relations);
    for tree in trees {
        let relation = tree.root().relation;
        let permissions = Permissions::of(relation)?;
        permissions.refuse_broken(relation)?;
        let request = registry::request(relation)?;
        let Some(owner) = owners.get(relation) else {
            continue;
        };
        let database_roles = lookup::quoted(request.roles.as_deref().unwrap_or_default());
        let members = tree.plan_members(|member| {
            let (of, name) = (member.relation, &member.plan.name);
            policies::wanted(&owner, &database_roles, &permissions, relation, of, name)
        });
        for member in &members {
            execute(&Policy::difference(
                &member.wanted,
                &member.policies,
                &member.name,
            ));
        }
    }
    Ok(())
}
