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

use super::registry::{self, read};

/// One role, one command, one relation.
pub(super) struct Permission {
    pub(super) role: String,
    pub(super) command: Command,
    /// None where a column, key or table it names is gone.
    scope: Option<Scope>,
    pub(super) columns: Option<Vec<String>>,
    /// The relation that the scope reads.
    reads: Option<pg_sys::Oid>,
    assigned_by: Option<pg_sys::Oid>,
}

/// The roles of the product and what is declared of protected relations.
pub(super) struct Permissions {
    pub(super) roles: Roles,
    declared: HashMap<pg_sys::Oid, Vec<Permission>>,
}

impl Permissions {
    /// Of every relation.
    pub(super) fn all() -> Result<Self, PermissionError> {
        Self::read(None)
    }

    /// Of one relation.
    pub(super) fn of(relation: pg_sys::Oid) -> Result<Self, PermissionError> {
        Self::read(Some(relation))
    }

    fn read(relation: Option<pg_sys::Oid>) -> Result<Self, PermissionError> {
        let rows = read(
            "SELECT p.relation::oid, p.role, p.command, p.scope, p.columns::text[], \
                 p.subject_column, p.subject_type, p.assignment::oid, p.assignment_name, \
                 p.assignment_key, p.row_key, p.via, p.parent::oid, p.parent_name, p.parent_key, \
                 p.whole \
             FROM tenant_guard.declared_permission AS p \
             WHERE $1 IS NULL OR p.relation = $1 ORDER BY p.relation, p.role, p.command",
            &[relation.into()],
            |row| {
                let of = row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::Oid::INVALID);
                Ok((of, permission(row)?))
            },
        );
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

    /// The relations of which something is declared.
    pub(super) fn relations(&self) -> impl Iterator<Item = pg_sys::Oid> {
        self.declared.keys().copied()
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
                registry::name_of(relation).unwrap_or_default(),
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
                registry::name_of(relation).unwrap_or_default(),
                archetype.name(),
                permission.command.name(),
            )),
        }
    }

    /// Refuses policies that would read each other's relations.
    pub(super) fn refuse_recursion(&self) -> Result<(), PermissionError> {
        let name = |relation| registry::name_of(relation).unwrap_or_default();
        let mut readings: Vec<_> = self
            .declared
            .iter()
            .flat_map(|(of, declared)| declared.iter().map(move |permission| (*of, permission)))
            .filter_map(|(of, permission)| {
                Some(Reading {
                    of: name(of),
                    from: name(permission.reads?),
                    selecting: permission.command == Command::Select,
                })
            })
            .collect();
        if readings.is_empty() {
            return Ok(());
        }
        let links = read(
            "SELECT l.relation::oid, l.parent::oid FROM tenant_guard.protection_link AS l",
            &[],
            |row| Ok(row.get::<pg_sys::Oid>(1)?.zip(row.get::<pg_sys::Oid>(2)?)),
        );
        readings.extend(links.into_iter().flatten().map(|(of, from)| Reading {
            of: name(of),
            from: name(from),
            selecting: true,
        }));
        readings.sort_by(|a, b| (&a.of, &a.from).cmp(&(&b.of, &b.from)));
        recursion(&readings).map_or(Ok(()), |path| Err(PermissionError::Recursion(path)))
    }

    /// Refuses a role that is assigned rows by a relation it may write itself. One on which nothing
    /// is declared yet is only warned of, since roles are allowed one after the other.
    pub(super) fn refuse_self_assignment(&self) -> Result<(), PermissionError> {
        for permission in self.declared.values().flatten() {
            let Some(by) = permission.assigned_by else {
                continue;
            };
            let name = || registry::name_of(by).unwrap_or_default();
            if self.on(by).is_empty() {
                warning!(
                    "every role of the account may write {}, which assigns rows to role \"{}\"",
                    name(),
                    permission.role
                );
            }
            let writes = self.on(by).iter().any(|written| {
                matches!(written.command, Command::Insert | Command::Update)
                    && self
                        .roles
                        .holders(&written.role)
                        .iter()
                        .any(|(holder, _)| *holder == permission.role)
            });
            if writes {
                let role = permission.role.clone();
                return Err(PermissionError::SelfAssignment(role, name()));
            }
        }
        Ok(())
    }
}

/// The roles that are defined.
pub(super) fn roles() -> Vec<Role> {
    read(
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
    read(
        "SELECT DISTINCT p.relation::text FROM tenant_guard.declared_permission AS p \
         WHERE $1 IN (p.assignment, p.parent) AND p.relation <> $1 ORDER BY 1",
        &[relation.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    )
}

fn permission(row: &SpiHeapTupleData<'_>) -> Result<Option<Permission>, SpiError> {
    let oid = |column| row.get::<pg_sys::Oid>(column);
    let command = row.get::<String>(3)?.unwrap_or_default();
    // The table admits no other command.
    let Some(command) = Command::from_name(&command) else {
        return Ok(None);
    };
    let whole = row.get::<bool>(16)?.unwrap_or(false);
    Ok(Some(Permission {
        role: row.get(2)?.unwrap_or_default(),
        command,
        scope: if whole { scope(row)? } else { None },
        columns: row.get(5)?,
        reads: oid(8)?.or(oid(13)?),
        assigned_by: oid(8)?,
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
    Ok(match (text(4)?.as_str(), row.get::<String>(9)?) {
        ("account", _) => Some(Scope::Account),
        ("own", _) => column.filter(|column| !column.array).map(Scope::Own),
        ("assigned", None) => column.map(Scope::Assigned),
        ("assigned", Some(relation)) => match column {
            Some(subject) => Some(Scope::Assignment(Assignment {
                relation,
                key: text(10)?,
                subject,
                row_key: text(11)?,
            })),
            None => None,
        },
        ("via", _) => Some(Scope::Via(Link {
            column: text(12)?,
            parent: text(14)?,
            key: text(15)?,
        })),
        _ => None,
    })
}
