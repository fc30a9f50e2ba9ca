//! From JSON to a relation of a manifest.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::{At, Members, Result, boolean, name, names, problem, relation_name};
use super::{
    ACCOUNT_COLUMN, Command, Ownership, Parent, Permission, Place, Problem, Relation, Scope, read,
};
use crate::archetype::Archetype;
use crate::bucket::Template;

const OF_COLUMN: [&str; 1] = ["account_column"];
const OF_CHILD: [&str; 4] = ["via", "parent", "type_column", "parents"];

pub(super) fn relation(at: At<'_>) -> Result<Relation> {
    let members = at.members(&[
        "archetype",
        "account_column",
        "via",
        "parent",
        "type_column",
        "parents",
        "roles",
        "redact",
        "personal",
        "audit",
        "assurance",
        "permissions",
        "index",
        "account_row",
        "paths",
    ])?;
    let ownership = ownership(&members)?;
    let archetype = ownership.archetype();
    let flag = |member: &str| Ok(members.optional(member, boolean)?.unwrap_or(true));
    Ok(Relation {
        ownership,
        roles: members
            .optional("roles", |at| at.nonempty(name))?
            .unwrap_or_default(),
        redact: members.or_default("redact", names)?,
        personal: members.or_default("personal", names)?,
        audit: flag("audit")?,
        assurance: members.or_default("assurance", assurance)?,
        permissions: members.or_default("permissions", |at| permissions(at, archetype))?,
        index: flag("index")?,
        account_row: members.optional("account_row", boolean)?.unwrap_or(false),
        paths: members.or_default("paths", paths)?,
    })
}

/// Templates of paths by column.
fn paths(at: At<'_>) -> Result<BTreeMap<String, String>> {
    at.map(|column, at| {
        let template = at.text()?;
        match (super::name::fits(column), Template::parse(template)) {
            (false, _) => at.fail(Problem::TooLong),
            (_, Err(_)) => at.fail(Problem::Not(
                "a template of paths that names the account once",
            )),
            (true, Ok(_)) => Ok(template.to_owned()),
        }
    })
}

fn ownership(members: &Members<'_>) -> Result<Ownership> {
    let archetype = match members.optional("archetype", archetype)? {
        Some(archetype) => archetype,
        None if members.has("via") => Archetype::Child,
        None => Archetype::Account,
    };
    let misplaced = Problem::NotOfArchetype(archetype.name());
    if !archetype.has_account_column() {
        members.refuse(&OF_COLUMN, misplaced.clone())?;
    }
    if !archetype.has_accounts() {
        members.refuse(&["permissions"], misplaced.clone())?;
    }
    if archetype != Archetype::Child {
        members.refuse(&OF_CHILD, misplaced)?;
    }
    let column = || {
        let column = members.optional("account_column", name)?;
        Ok(column.unwrap_or_else(|| ACCOUNT_COLUMN.into()))
    };
    Ok(match archetype {
        Archetype::Account => Ownership::Account(column()?),
        Archetype::SharedDefaults => Ownership::SharedDefaults(column()?),
        Archetype::PublicRead => Ownership::PublicRead(column()?),
        Archetype::Reference => Ownership::Reference,
        Archetype::DenyAll => Ownership::DenyAll,
        Archetype::Child => Ownership::Child {
            via: members.required("via", name)?,
            parent: parent(members)?,
        },
    })
}

fn archetype(at: At<'_>) -> Result<Archetype> {
    match Archetype::from_name(at.text()?) {
        Some(archetype) => Ok(archetype),
        None => at.fail(Problem::Not(
            "one of account, shared_defaults, public_read, child, reference, deny_all",
        )),
    }
}

fn parent(members: &Members<'_>) -> Result<Parent> {
    if members.has("parents") || members.has("type_column") {
        members.refuse(&["parent"], Problem::Beside("parents"))?;
        return Ok(Parent::ByType {
            type_column: members.required("type_column", name)?,
            parents: members.required("parents", |at| {
                let parents = at.map(|_, at| relation_name(at))?;
                match parents.is_empty() {
                    true => at.fail(Problem::Empty),
                    false => Ok(parents),
                }
            })?,
        });
    }
    Ok(match members.optional("parent", relation_name)? {
        Some(parent) => Parent::Named(parent),
        None => Parent::ForeignKey,
    })
}

fn assurance(at: At<'_>) -> Result<BTreeMap<String, String>> {
    at.map(|command, at| match command {
        "all" | "select" | "insert" | "update" | "delete" => read::level(at),
        _ => at.fail(Problem::Unknown),
    })
}

fn permissions(at: At<'_>, archetype: Archetype) -> Result<BTreeSet<Permission>> {
    let mut all: BTreeSet<Permission> = BTreeSet::new();
    let mut places = 0..;
    at.elements(|at| {
        let place = Place(places.next());
        for (command, permission) in permission(at, place, archetype)? {
            if all
                .iter()
                .any(|p| (&p.role, p.command) == (&permission.role, command))
            {
                return at.fail(Problem::SecondPermission(command.name(), permission.role));
            }
            all.insert(permission);
        }
        Ok(())
    })?;
    Ok(all)
}

fn permission(
    at: At<'_>,
    place: Place,
    archetype: Archetype,
) -> Result<Vec<(Command, Permission)>> {
    let members = at.members(&[
        "role",
        "commands",
        "scope",
        "owner_column",
        "assigned_column",
        "assignment",
        "assignment_key",
        "assignment_subject",
        "via",
        "columns",
    ])?;
    let role = members.required("role", |at| at.text().map(str::to_owned))?;
    let commands = members.required("commands", |at| commands(at, archetype))?;
    let scope = scope(&members)?;
    let columns = members.optional("columns", |at| at.nonempty(name))?;
    if columns.is_some() && commands.get(&Command::Delete) == Some(&false) {
        return problem(members.path("columns"), Problem::ColumnsOfCommand);
    }
    let each = commands.into_keys().map(|command| {
        let permission = Permission {
            role: role.clone(),
            command,
            scope: scope.clone(),
            columns: columns.clone().filter(|_| command != Command::Delete),
            place,
        };
        (command, permission)
    });
    Ok(each.collect())
}

/// Commands, each with whether `all` stands for it, and then for those alone that need a role.
fn commands(at: At<'_>, archetype: Archetype) -> Result<BTreeMap<Command, bool>> {
    let mut commands = BTreeMap::new();
    at.elements(|at| {
        let name = at.text()?;
        let named: Vec<_> = Command::ALL
            .into_iter()
            .filter(|command| match name {
                "all" => command.is_of_roles(archetype),
                name => command.name() == name,
            })
            .collect();
        if named.is_empty() {
            return at.fail(Problem::Not("one of all, select, insert, update, delete"));
        }
        for command in named {
            if !command.is_of_roles(archetype) {
                return at.fail(Problem::NotOfArchetype(archetype.name()));
            }
            if commands.insert(command, name == "all").is_some() {
                return at.fail(Problem::Repeated);
            }
        }
        Ok(())
    })?;
    match commands.is_empty() {
        true => at.fail(Problem::Empty),
        false => Ok(commands),
    }
}

fn scope(members: &Members<'_>) -> Result<Scope> {
    const MEMBERS: [(&str, &[&str]); 4] = [
        ("account", &[]),
        ("own", &["owner_column"]),
        (
            "assigned",
            &[
                "assigned_column",
                "assignment",
                "assignment_key",
                "assignment_subject",
            ],
        ),
        ("via", &["via"]),
    ];
    let named = members.optional("scope", |at| {
        let name = at.text()?;
        match MEMBERS.iter().find(|(known, _)| *known == name) {
            Some((known, _)) => Ok(*known),
            None => at.fail(Problem::Not("one of account, own, assigned, via")),
        }
    })?;
    let scope = named.unwrap_or("account");
    for (other, of_other) in MEMBERS {
        if other != scope {
            members.refuse(of_other, Problem::NotOfScope(scope))?;
        }
    }
    Ok(match scope {
        "own" => Scope::Own(members.required("owner_column", name)?),
        "via" => Scope::Via(members.required("via", name)?),
        "assigned" if members.has("assigned_column") => {
            members.refuse(
                &["assignment", "assignment_key", "assignment_subject"],
                Problem::Beside("assigned_column"),
            )?;
            Scope::Assigned(members.required("assigned_column", name)?)
        }
        "assigned" if !members.has("assignment") => {
            return problem(members.path("assigned_column"), Problem::Missing);
        }
        "assigned" => Scope::AssignedBy {
            assignment: members.required("assignment", relation_name)?,
            key: members.required("assignment_key", name)?,
            subject: members.required("assignment_subject", name)?,
        },
        _ => Scope::Account,
    })
}
