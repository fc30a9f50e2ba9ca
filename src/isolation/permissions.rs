//! What roles of the product are allowed, as it is declared.

use std::collections::{BTreeMap, HashMap};

use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiHeapTupleData};
use tenant_guard_core::archetype::{Archetype, Ownership};
use tenant_guard_core::permission::{
    Assignment, ColumnLists, Columns, Command, Grant, Link, PermissionError, Reading, Role, Roles,
    Scope, SubjectColumn, SubjectType, policies, recursion,
};
use tenant_guard_core::policy::Policy;

use super::lookup;
use super::registry::{read, read_often};

/// One role, one command, one relation.
pub(super) struct Permission {
    pub(super) role: String,
    pub(super) command: Command,
    /// None where a column, key or table it names is gone.
    scope: Option<Scope>,
    pub(super) columns: Option<Vec<String>>,
}

/// The roles of the product and what is declared of protected relations.
pub(super) struct Permissions {
    pub(super) roles: Roles,
    declared: HashMap<pg_sys::Oid, Vec<Permission>>,
}

macro_rules! declared {
    () => {
        "SELECT p.relation::oid, p.role, p.command, p.scope, p.columns::text[], \
             p.subject_column, p.subject_type, p.assignment_name, p.assignment_key, p.row_key, \
             p.via, p.parent_name, p.parent_key, p.whole \
         FROM tenant_guard.declared_permission AS p "
    };
}

impl Permissions {
    /// Of every relation.
    pub(super) fn all() -> Result<Self, PermissionError> {
        Self::new(read(
            concat!(declared!(), "ORDER BY p.relation, p.role, p.command"),
            &[],
            declared,
        ))
    }

    /// Of one relation.
    pub(super) fn of(relation: pg_sys::Oid) -> Result<Self, PermissionError> {
        // The view has a row for each of these; a plan for it takes long to make, and is made anew
        // whenever a relation is registered.
        let any = read_often(
            "SELECT FROM tenant_guard.permission AS p WHERE p.relation = $1 LIMIT 1",
            &[relation.into()],
            |_| Ok(()),
        );
        if any.is_empty() {
            return Self::new(Vec::new());
        }
        Self::new(read_often(
            concat!(
                declared!(),
                "WHERE p.relation = $1 ORDER BY p.role, p.command"
            ),
            &[relation.into()],
            declared,
        ))
    }

    fn new(rows: Vec<(pg_sys::Oid, Option<Permission>)>) -> Result<Self, PermissionError> {
        let mut declared: HashMap<_, Vec<_>> = HashMap::new();
        for (relation, permission) in rows {
            declared.entry(relation).or_default().extend(permission);
        }
        Ok(Self {
            roles: Roles::new(roles())?,
            declared,
        })
    }

    /// What is declared of a relation.
    pub(super) fn on(&self, relation: pg_sys::Oid) -> &[Permission] {
        self.declared.get(&relation).map_or(&[], Vec::as_slice)
    }

    /// The permissive policies of a member of `root` named `name`; none where no permission is
    /// declared, so that everybody is let in.
    pub(super) fn policies(
        &self,
        root: pg_sys::Oid,
        owner: &Ownership,
        database_roles: &[String],
        name: &str,
    ) -> Option<Vec<Policy>> {
        let declared = self.declared.get(&root)?;
        let mut grants: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for permission in declared {
            if let Some(scope) = &permission.scope {
                grants.entry(permission.command).or_default().push(Grant {
                    role: permission.role.clone(),
                    scope: scope.clone(),
                });
            }
        }
        Some(policies(owner, name, database_roles, &self.roles, &grants))
    }

    /// The columns that roles reach of a relation whose columns have these numbers. A name that is no
    /// longer there reaches nothing.
    pub(super) fn column_lists(
        &self,
        relation: pg_sys::Oid,
        numbers: &HashMap<String, i16>,
    ) -> ColumnLists {
        let mut lists = ColumnLists::default();
        for permission in self.on(relation) {
            let columns = match &permission.columns {
                None => Columns::All,
                Some(names) => {
                    let numbers = names.iter().filter_map(|name| numbers.get(name));
                    Columns::Only(numbers.copied().collect())
                }
            };
            lists.add(&self.roles, &permission.role, permission.command, &columns);
        }
        lists.simplify();
        lists
    }

    /// Refuses a relation on which something that is gone is declared: leaving it out of the
    /// policies would go unnoticed.
    pub(super) fn refuse_broken(&self, relation: pg_sys::Oid) -> Result<(), PermissionError> {
        let mut declared = self.on(relation).iter();
        match declared.find(|permission| permission.scope.is_none()) {
            None => Ok(()),
            Some(broken) => Err(PermissionError::Broken(
                broken.role.clone(),
                broken.command.name(),
                lookup::name_of(relation).unwrap_or_default(),
            )),
        }
    }

    /// Refuses an archetype that leaves nothing of what is declared.
    pub(super) fn refuse_archetype(
        &self,
        relation: pg_sys::Oid,
        archetype: Archetype,
    ) -> Result<(), PermissionError> {
        let mut declared = self.on(relation).iter();
        match declared.find(|permission| !permission.command.is_of_roles(archetype)) {
            None => Ok(()),
            Some(permission) => Err(PermissionError::Archetype(
                lookup::name_of(relation).unwrap_or_default(),
                archetype.name(),
                permission.command.name(),
            )),
        }
    }
}

/// Refuses policies that would read each other's relations, those of `relation` with these links to
/// parents in the place of the registered ones.
pub(super) fn refuse_recursion(
    relation: pg_sys::Oid,
    links: &[pg_sys::Oid],
) -> Result<(), PermissionError> {
    let readings = read(
        "WITH reading AS ( \
             SELECT p.relation AS of, COALESCE(p.assignment, p.parent) AS source, \
                 p.command = 'select' AS selecting \
             FROM tenant_guard.declared_permission AS p \
             WHERE p.scope = 'via' OR p.assignment IS NOT NULL \
             UNION \
             SELECT l.relation, l.parent, true FROM tenant_guard.protection_link AS l \
             WHERE l.relation <> $1 \
             UNION \
             SELECT $1::regclass, l::regclass, true FROM unnest($2::oid[]) AS l) \
         SELECT format('%I.%I', n.nspname, c.relname), format('%I.%I', sn.nspname, s.relname), \
             r.selecting \
         FROM reading AS r \
         JOIN pg_class AS c ON c.oid = r.of JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         JOIN pg_class AS s ON s.oid = r.source JOIN pg_namespace AS sn ON sn.oid = s.relnamespace \
         ORDER BY 1, 2",
        &[relation.into(), links.to_vec().into()],
        |row| {
            Ok(Reading {
                of: row.get(1)?.unwrap_or_default(),
                from: row.get(2)?.unwrap_or_default(),
                selecting: row.get(3)?.unwrap_or(true),
            })
        },
    );
    recursion(&readings).map_or(Ok(()), |path| Err(PermissionError::Recursion(path)))
}

/// Refuses a role that is assigned rows by a relation it may write itself. One on which nothing is
/// declared yet is only warned of, where it has to do with the relations that change, since roles are
/// allowed one after the other.
pub(super) fn refuse_self_assignment(
    roles: &Roles,
    changing: &[pg_sys::Oid],
) -> Result<(), PermissionError> {
    let assigned = read(
        "SELECT a.role, format('%I.%I', n.nspname, c.relname), \
             ARRAY(SELECT w.role FROM tenant_guard.permission AS w \
                 WHERE w.relation = a.assignment AND w.command IN ('insert', 'update')), \
             NOT EXISTS (SELECT FROM tenant_guard.permission AS w \
                 WHERE w.relation = a.assignment) \
                 AND (bool_or(a.relation = ANY ($1::oid[])) OR a.assignment = ANY ($1::oid[])) \
         FROM tenant_guard.permission AS a \
         JOIN pg_class AS c ON c.oid = a.assignment \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         GROUP BY a.role, a.assignment, n.nspname, c.relname ORDER BY 2, 1",
        &[changing.to_vec().into()],
        |row| {
            let text = |column| row.get::<String>(column).map(Option::unwrap_or_default);
            let writers = row.get::<Vec<String>>(3)?.unwrap_or_default();
            Ok((text(1)?, text(2)?, writers, row.get::<bool>(4)?))
        },
    );
    for (role, by, writers, open) in assigned {
        if open == Some(true) {
            warning!("every role of the account may write {by}, which assigns rows to \"{role}\"");
        }
        let holds = |writer: &String| roles.holders(writer).iter().any(|(has, _)| *has == role);
        if writers.iter().any(holds) {
            return Err(PermissionError::SelfAssignment(role, by));
        }
    }
    Ok(())
}

/// The relations on which permissions of these roles are declared.
pub(super) fn relations_of(roles: &[String]) -> Vec<pg_sys::Oid> {
    read(
        "SELECT DISTINCT p.relation::oid FROM tenant_guard.permission AS p \
         JOIN pg_class AS c ON c.oid = p.relation WHERE p.role = ANY ($1) ORDER BY 1",
        &[roles.to_vec().into()],
        |row| Ok(row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// The roles that are defined.
pub(super) fn roles() -> Vec<Role> {
    read_often(
        "SELECT r.name, r.inherits, r.assurance FROM tenant_guard.product_role AS r",
        &[],
        |row| {
            Ok(Role {
                name: row.get(1)?.unwrap_or_default(),
                inherits: row.get(2)?.unwrap_or_default(),
                assurance: row.get(3)?,
            })
        },
    )
}

/// The relations with permissions that read `relation`, other than itself.
pub(super) fn readers(relation: pg_sys::Oid) -> Vec<String> {
    read_often(
        "SELECT DISTINCT p.relation::text FROM tenant_guard.declared_permission AS p \
         WHERE $1 IN (p.assignment, p.parent) AND p.relation <> $1 ORDER BY 1",
        &[relation.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    )
}

fn declared(row: &SpiHeapTupleData<'_>) -> Result<(pg_sys::Oid, Option<Permission>), SpiError> {
    let of = row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::Oid::INVALID);
    Ok((of, permission(row)?))
}

fn permission(row: &SpiHeapTupleData<'_>) -> Result<Option<Permission>, SpiError> {
    let command = row.get::<String>(3)?.unwrap_or_default();
    // The table admits no other command.
    let Some(command) = Command::from_name(&command) else {
        return Ok(None);
    };
    let whole = row.get::<bool>(14)?.unwrap_or(false);
    Ok(Some(Permission {
        role: row.get(2)?.unwrap_or_default(),
        command,
        scope: if whole { scope(row)? } else { None },
        columns: row.get(5)?,
    }))
}

fn scope(row: &SpiHeapTupleData<'_>) -> Result<Option<Scope>, SpiError> {
    let text = |column| row.get::<String>(column).map(Option::unwrap_or_default);
    let subject = SubjectType::from_sql(&text(7)?);
    let column = subject.zip(row.get::<String>(6)?);
    let column = column.map(|((kind, array), quoted)| SubjectColumn {
        quoted,
        kind,
        array,
    });
    Ok(match (text(4)?.as_str(), row.get::<String>(8)?) {
        ("account", _) => Some(Scope::Account),
        ("own", _) => column.filter(|column| !column.array).map(Scope::Own),
        ("assigned", None) => column.map(Scope::Assigned),
        ("assigned", Some(relation)) => match column {
            Some(subject) => Some(Scope::Assignment(Assignment {
                relation,
                key: text(9)?,
                subject,
                row_key: text(10)?,
            })),
            None => None,
        },
        ("via", _) => Some(Scope::Via(Link {
            column: text(11)?,
            parent: text(12)?,
            key: text(13)?,
        })),
        _ => None,
    })
}
