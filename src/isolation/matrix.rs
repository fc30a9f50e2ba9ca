//! Who may do what, as the policies really are.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::prelude::*;
use tenant_guard_core::permission::{
    Cell, ColumnLists, Columns, Command, Condition, StandingPolicy, cells,
};

use super::expression;
use super::ownership::Ownerships;
use super::permissions::Permissions;
use super::registry::read;
use crate::catalog::as_owner;
use crate::error::OrRaise;

/// The roles of the database a policy is for; none for everybody.
type Audience = Option<Vec<String>>;

/// A relation by its place, a role of the product, and whom policies are for.
type Selector = (usize, String, Audience);

/// A policy with whom it is for.
struct Standing {
    policy: StandingPolicy,
    database_roles: Audience,
}

/// A protected relation.
struct Relation {
    oid: pg_sys::Oid,
    /// As policies of others name it.
    name: String,
    row_security: bool,
    column_names: HashMap<String, i16>,
    policies: Vec<Standing>,
    /// Conditions that mean a row is the account's.
    own: Vec<Condition>,
}

/// All that is protected, and how far each role was found to select of it.
struct Relations {
    all: Vec<Relation>,
    places: HashMap<String, usize>,
    selected: RefCell<HashMap<Selector, Option<Vec<Cell>>>>,
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
    let relations = Relations::read();
    let mut lines = Vec::new();
    for relation in &relations.all {
        let lists = permissions.column_lists(relation.oid, &relation.column_names);
        lines.extend(relations.lines(relation, &permissions, &lists));
    }
    lines.sort_by(|a, b| (&a.0, a.1.to_u32()).cmp(&(&b.0, b.1.to_u32())));
    TableIterator::new(lines)
}

impl Relations {
    fn read() -> Self {
        let owners = Ownerships::all();
        let mut standing = standing();
        let mut all = relations();
        for relation in &mut all {
            relation.policies = standing.remove(&relation.oid).unwrap_or_default();
            let owner = owners.get(relation.oid);
            let Some(owner) = owner.filter(|owner| owner.archetype().has_accounts()) else {
                continue;
            };
            let name = owners.name(relation.oid);
            let printed = |text: &str| Condition::parse(&expression::printed(relation.oid, text));
            // Names of other schemas are looked up, which may be closed to the caller.
            relation.own = as_owner(|| {
                let mut own = vec![printed(&owner.write(name))];
                if !owner.is_read_by_anyone() {
                    own.push(printed(&owner.read(name)));
                }
                own
            });
        }
        let names = all.iter().map(|relation| relation.name.clone());
        Self {
            places: names.zip(0..).collect(),
            all,
            selected: RefCell::default(),
        }
    }

    fn lines(
        &self,
        relation: &Relation,
        permissions: &Permissions,
        lists: &ColumnLists,
    ) -> Vec<Line> {
        let mut lines = Vec::new();
        for audience in relation.audiences() {
            let applying = relation.applying(audience);
            for role in permissions.roles.names() {
                let selects = |name: &str| self.selects(name, role, audience);
                for command in Command::ALL {
                    for cell in cells(&applying, command, role, &relation.own, &selects) {
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

    /// What policies of other relations read of one; none where it is not protected.
    fn selects(&self, name: &str, role: &str, audience: &Audience) -> Option<Vec<Cell>> {
        let place = *self.places.get(name)?;
        let key = (place, role.to_owned(), audience.clone());
        if let Some(known) = self.selected.borrow().get(&key) {
            return known.clone();
        }
        // A way back to here says nothing new, and ends.
        self.selected.borrow_mut().insert(key.clone(), None);
        let relation = &self.all[place];
        let selects = |name: &str| self.selects(name, role, audience);
        let found = cells(
            &relation.applying(audience),
            Command::Select,
            role,
            &relation.own,
            &selects,
        );
        let found = Some(found);
        self.selected.borrow_mut().insert(key, found.clone());
        found
    }
}

impl Relation {
    fn audiences(&self) -> Vec<&Audience> {
        let mut audiences: Vec<_> = { self.policies.iter() }
            .filter(|standing| !standing.policy.restrictive)
            .map(|standing| &standing.database_roles)
            .collect();
        audiences.sort();
        audiences.dedup();
        if audiences.is_empty() {
            audiences.push(&None);
        }
        audiences
    }

    /// The policies that apply to an audience, of this relation or of another one that it reads.
    fn applying(&self, audience: &Audience) -> Vec<StandingPolicy> {
        if !self.row_security {
            // No policy is asked.
            return vec![StandingPolicy {
                using: Some("true".into()),
                ..StandingPolicy::default()
            }];
        }
        let for_them = |standing: &&Standing| {
            standing.database_roles.is_none() || standing.database_roles == *audience
        };
        let lets_in = |standing: &Standing| !standing.policy.restrictive && for_them(&standing);
        // Who is let in here under other names is not known, and then nothing is left out.
        let all = !self.policies.iter().any(lets_in);
        let applying = { self.policies.iter() }.filter(|standing| all || for_them(standing));
        applying.map(|standing| standing.policy.clone()).collect()
    }

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
                 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum), \
             c.oid::regclass::text \
         FROM tenant_guard.protection AS p JOIN pg_class AS c ON c.oid = p.relation \
         ORDER BY c.oid::regclass::text",
        &[],
        |row| {
            let names = row.get::<Vec<String>>(3)?.unwrap_or_default();
            let numbers = row.get::<Vec<i16>>(4)?.unwrap_or_default();
            Ok(Relation {
                oid: row.get(1)?.unwrap_or(pg_sys::Oid::INVALID),
                name: row.get(5)?.unwrap_or_default(),
                row_security: row.get(2)?.unwrap_or(false),
                column_names: names.into_iter().zip(numbers).collect(),
                policies: Vec::new(),
                own: Vec::new(),
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
