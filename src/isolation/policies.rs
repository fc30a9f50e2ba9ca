//! The policies that are to stand on protected relations, and those that do.

use std::collections::HashMap;

use pgrx::prelude::*;
use tenant_guard_core::archetype::Ownership;
use tenant_guard_core::policy::{Alteration, Command, Expression, Policy};

use super::expression;
use super::ownership::Ownerships;
use super::permissions::Permissions;
use super::registry::{read, read_often};
use crate::catalog::as_owner;
use crate::error::OrRaise;

/// The policies that are to stand on the member `relation` of `root`, printed as the catalog would.
pub(super) fn wanted(
    owner: &Ownership,
    database_roles: &[String],
    permissions: &Permissions,
    root: pg_sys::Oid,
    relation: pg_sys::Oid,
    name: &str,
) -> Vec<Policy> {
    let mut policies = Policy::floor(owner, name);
    match permissions.policies(root, owner, database_roles, name) {
        Some(of_roles) => policies.extend(of_roles),
        None => policies.extend(Policy::access(owner, name, database_roles)),
    }
    let mut known: HashMap<String, String> = HashMap::new();
    for policy in &mut policies {
        let expressions = [&mut policy.using, &mut policy.check];
        for Expression { sql, printed } in expressions.into_iter().flatten() {
            let print = || expression::printed(relation, sql);
            *printed = known.entry(sql.clone()).or_insert_with(print).clone();
        }
    }
    policies
}

/// The policies that stand on these relations under names of ours.
pub(super) fn present(relations: Vec<pg_sys::Oid>) -> HashMap<pg_sys::Oid, Vec<Policy>> {
    let rows = read_often(
        "SELECT p.relation, p.name::text, p.restrictive, p.command::text, p.roles, p.using_text, \
             p.check_text \
         FROM tenant_guard.own_policy AS p WHERE p.relation = ANY ($1::oid[]) ORDER BY p.name",
        &[relations.into()],
        |row| {
            let letter = row.get::<String>(4)?.unwrap_or_default();
            let policy = Policy {
                name: row.get(2)?.unwrap_or_default(),
                restrictive: row.get(3)?.unwrap_or(false),
                command: Command::from_letter(&letter).unwrap_or(Command::All),
                roles: row.get(5)?.unwrap_or_default(),
                using: row.get(6)?.map(Expression::present),
                check: row.get(7)?.map(Expression::present),
            };
            let relation = row.get::<pg_sys::Oid>(1)?;
            Ok((relation.unwrap_or(pg_sys::Oid::INVALID), policy))
        },
    );
    let mut policies: HashMap<_, Vec<_>> = HashMap::new();
    for (relation, policy) in rows {
        policies.entry(relation).or_default().push(policy);
    }
    policies
}

/// Policies of members that are not what is registered. For the checks.
#[pg_extern(sql = false)]
fn altered_policy() -> TableIterator<
    'static,
    (
        name!(relation, pg_sys::Oid),
        name!(policy, String),
        name!(restrictive, bool),
        name!(alteration, String),
    ),
> {
    let members = read(
        "SELECT m.relation::oid, m.root::oid, format('%I.%I', n.nspname, c.relname), \
             ARRAY(SELECT quote_ident(r) FROM unnest(p.roles) AS r) \
         FROM tenant_guard.protection_member AS m \
         JOIN tenant_guard.protection AS p ON p.relation = m.root \
         JOIN pg_class AS c ON c.oid = m.relation \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace",
        &[],
        |row| {
            let oid = |n| row.get(n).map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID));
            let name = row.get::<String>(3)?.unwrap_or_default();
            Ok((
                oid(1)?,
                oid(2)?,
                name,
                row.get::<Vec<String>>(4)?.unwrap_or_default(),
            ))
        },
    );
    let owners = Ownerships::all();
    let permissions = Permissions::all().or_raise();
    let mut present = present(members.iter().map(|(member, ..)| *member).collect());
    let mut found = Vec::new();
    for (member, root, name, roles) in members {
        let Some(owner) = owners.get(root) else {
            continue;
        };
        // Names of other schemas are looked up, which may be closed to the caller.
        let wanted = as_owner(|| wanted(&owner, &roles, &permissions, root, member, &name));
        let standing = present.remove(&member).unwrap_or_default();
        for (policy, restrictive, alteration) in Policy::alterations(&wanted, &standing, &name) {
            let what = match alteration {
                Alteration::Missing => "missing",
                Alteration::Altered => "altered",
                Alteration::Surplus => "not asked for",
            };
            found.push((member, policy.to_owned(), restrictive, what.to_owned()));
        }
    }
    TableIterator::new(found)
}
