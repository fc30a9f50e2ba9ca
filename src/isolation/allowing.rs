//! What a call of `allow` asks for, and whether it can be had.

use std::ffi::CStr;

use pgrx::prelude::*;
use tenant_guard_core::archetype::Archetype;
use tenant_guard_core::permission::{Command, PermissionError, SubjectType};

use super::lookup;
use super::members::Tree;
use super::registry::{self, read};
use crate::catalog::write;
use crate::error::{Error, Obstacle};

const SUBJECT_TYPES: &str = "uuid, integer, bigint, text or character varying";

/// The arguments of `allow`.
pub(super) struct Allowed {
    pub(super) role: String,
    relation: pg_sys::Oid,
    commands: Vec<Command>,
    /// `all` among the commands, which means those that there are.
    all: bool,
    scope: String,
    pub(super) owner_column: Option<String>,
    pub(super) assigned_column: Option<String>,
    pub(super) assignment: Option<pg_sys::Oid>,
    pub(super) assignment_key: Option<String>,
    pub(super) assignment_subject: Option<String>,
    pub(super) via: Option<String>,
    columns: Option<Vec<String>>,
}

/// The commands of a list, `all` standing for each.
pub(super) fn commands(names: Array<'_, &str>) -> Result<Vec<Command>, Error> {
    let mut commands = Vec::new();
    for name in names.iter() {
        let name = name.ok_or(Error::NullArgument("an element of commands"))?;
        if name.eq_ignore_ascii_case("all") {
            commands.extend(Command::ALL);
        } else {
            let command = Command::from_name(name);
            commands.push(command.ok_or_else(|| Error::UnknownCommand(name.to_owned()))?);
        }
    }
    if commands.is_empty() {
        return Err(Error::EmptyArgument("commands"));
    }
    commands.sort();
    commands.dedup();
    Ok(commands)
}

impl Allowed {
    pub(super) fn new(
        role: &str,
        relation: pg_sys::Oid,
        names: Array<'_, &str>,
        scope: &str,
    ) -> Result<Self, Error> {
        let mut given = names.iter().flatten();
        let all = given.any(|name| name.eq_ignore_ascii_case("all"));
        Ok(Self {
            role: role.to_owned(),
            relation,
            commands: commands(names)?,
            all,
            scope: scope.to_owned(),
            owner_column: None,
            assigned_column: None,
            assignment: None,
            assignment_key: None,
            assignment_subject: None,
            via: None,
            columns: None,
        })
    }

    pub(super) fn set_columns(&mut self, columns: Option<Array<'_, &CStr>>) -> Result<(), Error> {
        let Some(columns) = columns else {
            return Ok(());
        };
        let name = |name: Option<&CStr>| {
            name.map(super::text)
                .ok_or(Error::NullArgument("an element of columns"))
        };
        let mut columns: Vec<String> = columns.iter().map(name).collect::<Result<_, _>>()?;
        if columns.is_empty() {
            return Err(Error::EmptyArgument("columns"));
        }
        columns.sort();
        columns.dedup();
        self.columns = Some(columns);
        Ok(())
    }

    /// Whether the arguments go together.
    pub(super) fn judge_arguments(&self) -> Result<(), Error> {
        let by = [
            self.assignment.is_some(),
            self.assignment_key.is_some(),
            self.assignment_subject.is_some(),
        ];
        let (owner, assigned) = (self.owner_column.is_some(), self.assigned_column.is_some());
        let (table, whole_table) = (by.contains(&true), !by.contains(&false));
        let via = self.via.is_some();
        let unfit = match self.scope.as_str() {
            "account" => {
                (owner || assigned || table || via).then_some(("account", "takes no column"))
            }
            "own" if !owner => Some(("own", "needs owner_column")),
            "own" => (assigned || table || via).then_some(("own", "takes only owner_column")),
            "assigned" if owner || via => {
                Some(("assigned", "takes only assigned_column, or an assignment"))
            }
            "assigned" if assigned && table => {
                Some(("assigned", "takes either assigned_column or an assignment"))
            }
            "assigned" if !assigned && !whole_table => Some((
                "assigned",
                "needs assigned_column, or assignment, assignment_key and assignment_subject",
            )),
            "assigned" => None,
            "via" if !via => Some(("via", "needs via")),
            "via" => (owner || assigned || table).then_some(("via", "takes only via")),
            other => return Err(PermissionError::UnknownScope(other.to_owned()).into()),
        };
        if let Some((scope, why)) = unfit {
            return Err(PermissionError::UnfitScope(scope, why).into());
        }
        if self.columns.is_some() && !self.all && self.commands.contains(&Command::Delete) {
            return Err(PermissionError::ColumnsOfDelete.into());
        }
        Ok(())
    }

    /// Whether it can be had on the relation, which is locked; a command that `all` stands for and
    /// the archetype leaves nothing of is left out.
    pub(super) fn judge(&mut self, tree: &Tree) -> Result<(), Error> {
        let archetype = registry::request(self.relation)?.archetype;
        if self.all && archetype == Archetype::PublicRead {
            self.commands
                .retain(|command| command.is_of_roles(archetype));
        }
        let mut commands = self.commands.iter();
        if let Some(command) = commands.find(|command| !command.is_of_roles(archetype)) {
            let (relation, archetype) = (tree.name().to_owned(), archetype.name());
            return Err(PermissionError::Archetype(relation, archetype, command.name()).into());
        }
        for column in self.columns.iter().flatten() {
            column_type(self.relation, column)?;
        }
        let own = [(&self.owner_column, false), (&self.assigned_column, true)];
        for (column, array) in own {
            if let Some(column) = column {
                subject_column(self.relation, column, array)?;
            }
        }
        self.judge_assignment(tree)?;
        if let Some(via) = &self.via {
            column_type(self.relation, via)?;
            self.judge_parent(via, tree)?;
        }
        Ok(())
    }

    fn judge_assignment(&self, tree: &Tree) -> Result<(), Error> {
        let (Some(by), Some(key), Some(subject)) = (
            self.assignment,
            &self.assignment_key,
            &self.assignment_subject,
        ) else {
            return Ok(());
        };
        let name = lookup::name_of(by).ok_or(Obstacle::Gone(by.to_u32()))?;
        let archetype = registry::registered(by).map(|request| request.archetype);
        let mine = [
            Archetype::Account,
            Archetype::SharedDefaults,
            Archetype::Child,
        ];
        if !archetype.is_some_and(|archetype| mine.contains(&archetype)) {
            return Err(PermissionError::UnprotectedAssignment(name).into());
        }
        let key_type = column_type(by, key)?;
        subject_column(by, subject, false)?;
        let row_key = read(
            "SELECT min(format_type(a.atttypid, NULL)) FROM pg_index AS i \
             JOIN tenant_guard.protection AS p ON p.relation = i.indrelid \
             JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
                 AND a.attname IS DISTINCT FROM p.account_column \
             WHERE i.indrelid = $1 AND i.indisprimary HAVING count(*) = 1",
            &[self.relation.into()],
            |row| row.get::<String>(1),
        );
        let Some(row_type) = row_key.into_iter().flatten().next() else {
            return Err(PermissionError::NoRowKey(tree.name().to_owned()).into());
        };
        if lookup::comparable(&key_type, &row_type) {
            return Ok(());
        }
        let parent = tree.name().to_owned();
        Err(Obstacle::UnlikeKey(key.clone(), name, key_type, parent, row_type).into())
    }

    fn judge_parent(&self, via: &str, tree: &Tree) -> Result<(), Error> {
        let found = read(
            "SELECT FROM pg_constraint AS f \
             JOIN pg_attribute AS v ON v.attrelid = f.conrelid AND v.attname = $2 \
             JOIN tenant_guard.protection AS p ON p.relation = f.confrelid \
             WHERE f.contype = 'f' AND f.conrelid = $1 AND v.attnum = ANY (f.conkey) \
                 AND to_jsonb(f) ->> 'conenforced' IS DISTINCT FROM 'false' \
                 AND p.archetype NOT IN ('reference', 'deny_all')",
            &[self.relation.into(), via.into()],
            |_| Ok(()),
        );
        if found.is_empty() {
            return Err(Obstacle::NoParent(via.to_owned(), tree.name().to_owned()).into());
        }
        Ok(())
    }

    /// Writes it down; false where it stood there already.
    pub(super) fn register(&self) -> bool {
        let mut changed = 0;
        for command in &self.commands {
            let columns = self.columns.clone();
            let columns = columns.filter(|_| *command != Command::Delete);
            changed += write(
                "INSERT INTO tenant_guard.permission AS p (relation, role, command, scope, \
                     owner_column, assigned_column, assignment, assignment_key, \
                     assignment_subject, via, columns) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text[]::name[]) \
                 ON CONFLICT (relation, role, command) DO UPDATE SET \
                     scope = excluded.scope, owner_column = excluded.owner_column, \
                     assigned_column = excluded.assigned_column, \
                     assignment = excluded.assignment, assignment_key = excluded.assignment_key, \
                     assignment_subject = excluded.assignment_subject, via = excluded.via, \
                     columns = excluded.columns \
                 WHERE p.* IS DISTINCT FROM excluded.*",
                &[
                    self.relation.into(),
                    self.role.as_str().into(),
                    command.name().into(),
                    self.scope.as_str().into(),
                    self.owner_column.as_deref().into(),
                    self.assigned_column.as_deref().into(),
                    self.assignment.into(),
                    self.assignment_key.as_deref().into(),
                    self.assignment_subject.as_deref().into(),
                    self.via.as_deref().into(),
                    columns.into(),
                ],
            );
        }
        changed > 0
    }

    /// What the event says.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let commands: Vec<_> = self.commands.iter().map(|command| command.name()).collect();
        serde_json::json!({
            "role": self.role,
            "commands": commands,
            "scope": self.scope,
            "owner_column": self.owner_column,
            "assigned_column": self.assigned_column,
            "assignment": self.assignment.and_then(lookup::name_of),
            "assignment_key": self.assignment_key,
            "assignment_subject": self.assignment_subject,
            "via": self.via,
            "columns": self.columns,
        })
    }
}

/// The type of a column, as `format_type` prints it.
fn column_type(relation: pg_sys::Oid, column: &str) -> Result<String, Obstacle> {
    facts(relation, column).map(|(kind, _)| kind)
}

/// Judges a column that is compared with the subject.
fn subject_column(relation: pg_sys::Oid, column: &str, array: bool) -> Result<(), Error> {
    let (kind, deterministic) = facts(relation, column)?;
    let name = || lookup::name_of(relation).unwrap_or_default();
    let fits = SubjectType::from_sql(&kind).is_some_and(|(_, is_array)| array || !is_array);
    if !fits {
        return Err(Error::UnfitColumn(column.to_owned(), name(), SUBJECT_TYPES));
    }
    if !deterministic {
        return Err(Obstacle::Nondeterministic(column.to_owned(), name()).into());
    }
    Ok(())
}

fn facts(relation: pg_sys::Oid, column: &str) -> Result<(String, bool), Obstacle> {
    let found = read(
        "SELECT format_type(a.atttypid, NULL), COALESCE(c.collisdeterministic, true) \
         FROM pg_attribute AS a LEFT JOIN pg_collation AS c ON c.oid = a.attcollation \
         WHERE a.attrelid = $1 AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped",
        &[relation.into(), column.into()],
        |row| Ok(row.get::<String>(1)?.zip(row.get::<bool>(2)?)),
    );
    found.into_iter().flatten().next().ok_or_else(|| {
        let name = lookup::name_of(relation).unwrap_or_default();
        Obstacle::NoColumn(column.to_owned(), name)
    })
}
