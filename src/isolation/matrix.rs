//! Who may do what, as the policies really are.

use std::collections::HashMap;

use pgrx::prelude::*;
use tenant_guard_core::permission::{
    ColumnLists, Columns, Command, Condition, StandingPolicy, cells,
};

use super::expression;
use super::ownership::Ownerships;
use super::permissions::Permissions;
use super::registry::read;
use crate::catalog::as_owner;
use crate::error::OrRaise;

/// A policy with whom it is for; no names for everybody.
struct Standing {
    policy: StandingPolicy,
    database_roles: Option<Vec<String>>,
}

/// A protected relation.
struct Relation {
    oid: pg_sys::Oid,
    row_security: bool,
    column_names: HashMap<String, i16>,
}

/// One line: role, relation, command, scope, detail, columns, assurance, database roles.
type Line = (
    String,
    pg_sys::Oid,
    String,
    String,
    Option<String>,
    Option<Vec<String>>,
    Option<String>,
    Option<Vec<String>>,
);

/// Roles of the product by protected relations by commands, each with the rows reached: read from the
/// policies that stand, and from the lists of columns.
#[pg_extern(sql = false)]
#[expect(
    clippy::type_complexity,
    reason = "the columns of the SQL function, where a macro reads them"
)]
fn permission_matrix() -> TableIterator<
    'static,
    (
        name!(role, String),
        name!(relation, pg_sys::Oid),
        name!(command, String),
        name!(scope, String),
        name!(detail, Option<String>),
        name!(columns, Option<Vec<String>>),
        name!(assurance, Option<String>),
        name!(database_roles, Option<Vec<String>>),
    ),
> {
    let permissions = Permissions::all().or_raise();
    let owners = Ownerships::all();
    let mut standing = standing();
    let mut lines = Vec::new();
    for relation in relations() {
        let policies = standing.remove(&relation.oid).unwrap_or_default();
        let mut own = Vec::new();
        let owner = owners.get(relation.oid);
        if let Some(owner) = owner.filter(|owner| owner.archetype().has_accounts()) {
            let name = owners.name(relation.oid);
            let printed = |text: &str| Condition::parse(&expression::printed(relation.oid, text));
            // Names of other schemas are looked up, which may be closed to the caller.
            own = as_owner(|| vec![printed(&owner.write(name)), printed(&owner.read(name))]);
            own.retain(|condition| *condition != Condition::parse("tenant_guard.anyone()"));
        }
        let lists = permissions.column_lists(relation.oid, &relation.column_names);
        lines.extend(of_relation(
            &relation,
            &policies,
            &own,
            &permissions,
            &lists,
        ));
    }
    lines.sort_by(|a, b| (&a.0, a.1.to_u32()).cmp(&(&b.0, b.1.to_u32())));
    TableIterator::new(lines)
}

fn of_relation(
    relation: &Relation,
    policies: &[Standing],
    own: &[Condition],
    permissions: &Permissions,
    lists: &ColumnLists,
) -> Vec<Line> {
    let mut audiences: Vec<_> = { policies.iter() }
        .filter(|standing| !standing.policy.restrictive)
        .map(|standing| &standing.database_roles)
        .collect();
    audiences.sort();
    audiences.dedup();
    if audiences.is_empty() {
        audiences.push(&None);
    }
    let mut lines = Vec::new();
    for audience in audiences {
        let for_them = |standing: &&Standing| {
            standing.database_roles.is_none() || standing.database_roles == *audience
        };
        let mut applying: Vec<_> = { policies.iter().filter(for_them) }
            .map(|standing| standing.policy.clone())
            .collect();
        if !relation.row_security {
            // No policy is asked.
            applying = vec![StandingPolicy {
                using: Some("true".into()),
                ..StandingPolicy::default()
            }];
        }
        for role in permissions.roles.names() {
            for command in Command::ALL {
                for cell in cells(&applying, command, role, own) {
                    let columns = lists.of_role(command, role, &cell.levels);
                    lines.push((
                        role.to_owned(),
                        relation.oid,
                        command.name().to_owned(),
                        cell.reach.name().to_owned(),
                        Some(cell.detail).filter(|detail| !detail.is_empty()),
                        relation.names(&columns),
                        Some(cell.levels.join(" ")).filter(|levels| !levels.is_empty()),
                        audience.clone(),
                    ));
                }
            }
        }
    }
    lines
}

impl Relation {
    /// Names of columns in the order of the table; none for all.
    fn names(&self, columns: &Columns) -> Option<Vec<String>> {
        let Columns::Only(numbers) = columns else {
            return None;
        };
        let name = |number: &i16| {
            let mut names = self.column_names.iter();
            names
                .find(|(_, of)| *of == number)
                .map(|(name, _)| name.clone())
        };
        Some(numbers.iter().filter_map(name).collect())
    }
}

fn relations() -> Vec<Relation> {
    read(
        "SELECT c.oid, c.relrowsecurity, \
             ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid \
                 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum), \
             ARRAY(SELECT a.attnum FROM pg_attribute AS a WHERE a.attrelid = c.oid \
                 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) \
         FROM tenant_guard.protection AS p JOIN pg_class AS c ON c.oid = p.relation \
         ORDER BY c.oid::regclass::text",
        &[],
        |row| {
            let names = row.get::<Vec<String>>(3)?.unwrap_or_default();
            let numbers = row.get::<Vec<i16>>(4)?.unwrap_or_default();
            Ok(Relation {
                oid: row.get(1)?.unwrap_or(pg_sys::Oid::INVALID),
                row_security: row.get(2)?.unwrap_or(false),
                column_names: names.into_iter().zip(numbers).collect(),
            })
        },
    )
}

fn standing() -> HashMap<pg_sys::Oid, Vec<Standing>> {
    let rows = read(
        "SELECT p.polrelid, NOT p.polpermissive, \
             CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' \
                 WHEN 'd' THEN 'delete' END, \
             CASE WHEN p.polroles <> '{0}' THEN ARRAY( \
                 SELECT r.rolname::text FROM pg_roles AS r WHERE r.oid = ANY (p.polroles) \
                 ORDER BY 1) END, \
             pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid) \
         FROM tenant_guard.protection AS r JOIN pg_policy AS p ON p.polrelid = r.relation",
        &[],
        |row| {
            let command = row.get::<String>(3)?;
            let standing = Standing {
                policy: StandingPolicy {
                    restrictive: row.get(2)?.unwrap_or(false),
                    command: command.and_then(|name| Command::from_name(&name)),
                    using: row.get(5)?,
                    check: row.get(6)?,
                },
                database_roles: row.get(4)?,
            };
            let relation = row.get::<pg_sys::Oid>(1)?;
            Ok((relation.unwrap_or(pg_sys::Oid::INVALID), standing))
        },
    );
    let mut policies: HashMap<_, Vec<_>> = HashMap::new();
    for (relation, policy) in rows {
        policies.entry(relation).or_default().push(policy);
    }
    policies
}
