//! What commands on a protected relation ask of the token beyond its account.
//!
//! One restrictive policy for each command, on every member of the relation.

use pgrx::prelude::*;
use tenant_guard_core::policy::literal;

use super::guards::PolicyRow;
use super::members::Tree;
use super::registry::{self, read_often};
use super::{execute, require_admin};
use crate::audit::record::record_system;
use crate::catalog::write;
use crate::error::{Error, OrRaise};

const COMMANDS: [&str; 5] = ["all", "select", "insert", "update", "delete"];

/// Asks a level of assurance for commands on a protected relation; with a null level, asks none
/// any more.
#[pg_extern(sql = false)]
fn require_assurance(
    relation: Option<pg_sys::Oid>,
    level: Option<&str>,
    commands: Option<Array<'_, &str>>,
) {
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    let commands = commands.ok_or(Error::NullArgument("commands")).or_raise();
    let commands: Vec<&str> = commands
        .iter()
        .map(known_command)
        .collect::<Result<_, _>>()
        .or_raise();
    if commands.is_empty() {
        Error::EmptyArgument("commands").raise();
    }
    if level.is_some_and(|level| !is_level(level)) {
        Error::UnfitLevel.raise();
    }
    require_admin().or_raise();
    registry::lock();
    let tree = Tree::lock_protected(relation).or_raise();
    for command in &commands {
        write(
            "DELETE FROM tenant_guard.protection_assurance \
             WHERE relation OPERATOR(pg_catalog.=) $1 AND command OPERATOR(pg_catalog.=) $2",
            &[relation.into(), (*command).into()],
        );
        if let Some(level) = level {
            write(
                "INSERT INTO tenant_guard.protection_assurance (relation, command, level) \
                 VALUES ($1::pg_catalog.regclass, $2, $3)",
                &[relation.into(), (*command).into(), level.into()],
            );
        }
    }
    execute(&difference(&tree, &required(relation)));
    let data = serde_json::json!({ "level": level, "commands": commands }).to_string();
    record_system("require_assurance", Some(relation), "", Some(&data));
}

/// Levels stand in policies as constants, and none in use needs more than these characters.
pub(super) fn is_level(level: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "._:/+-".contains(c);
    !level.is_empty() && level.chars().all(known)
}

fn known_command(command: Option<&str>) -> Result<&'static str, Error> {
    let command = command.ok_or(Error::NullArgument("an element of commands"))?;
    let mut known = COMMANDS.into_iter();
    known
        .find(|known| known.eq_ignore_ascii_case(command))
        .ok_or_else(|| Error::UnknownCommand(command.to_owned()))
}

/// The calls that bring the policies of a protected relation back to what is registered, as steps
/// of its plan; none where they stand.
pub(super) fn missing(tree: &Tree) -> Vec<String> {
    let required = required(tree.root().relation);
    if difference(tree, &required).is_empty() {
        return Vec::new();
    }
    let call = |(command, level): &(String, String)| {
        format!(
            "SELECT tenant_guard.require_assurance({}, {}, {})",
            literal(tree.name()),
            literal(level),
            literal(&format!("{{{command}}}")),
        )
    };
    required.iter().map(call).collect()
}

/// The statements that put the required policies on members that came later.
pub(super) fn missing_on(members: &Tree, root: pg_sys::Oid) -> Vec<String> {
    difference(members, &required(root))
}

/// Requires of a copy what is required of its source.
pub(super) fn copy(source: pg_sys::Oid, relation: pg_sys::Oid) {
    write(
        "INSERT INTO tenant_guard.protection_assurance (relation, command, level) \
         SELECT $2::pg_catalog.regclass, a.command, a.level \
         FROM tenant_guard.protection_assurance AS a \
         WHERE a.relation OPERATOR(pg_catalog.=) $1",
        &[source.into(), relation.into()],
    );
}

/// Whether a policy of this name is required on the members of a protection.
pub(super) fn wants(root: pg_sys::Oid, name: &str) -> bool {
    required(root)
        .iter()
        .any(|(command, level)| Present::wanted(command, level).name == name)
}

/// Whether the policy demands what is required.
pub(super) fn is_as_wanted(root: pg_sys::Oid, policy: &PolicyRow) -> bool {
    let command = match policy.command {
        b'r' => "select",
        b'a' => "insert",
        b'w' => "update",
        b'd' => "delete",
        _ => "all",
    };
    let present = Present {
        name: policy.name.clone(),
        binds_all: policy.restrictive && policy.for_all_roles(),
        command: command.to_owned(),
        using: policy.using.clone().unwrap_or_default(),
        check: policy.check.clone().unwrap_or_default(),
    };
    required(root)
        .iter()
        .any(|(command, level)| Present::wanted(command, level) == present)
}

/// Drops the policies of a relation that is no longer protected, and forgets what they asked.
pub(super) fn forget(tree: &Tree) {
    execute(&difference(tree, &[]));
    write(
        "DELETE FROM tenant_guard.protection_assurance WHERE relation OPERATOR(pg_catalog.=) $1",
        &[tree.root().relation.into()],
    );
}

/// Commands and the levels registered for them.
fn required(relation: pg_sys::Oid) -> Vec<(String, String)> {
    read_often(
        "SELECT command, level FROM tenant_guard.protection_assurance \
         WHERE relation = $1 ORDER BY command",
        &[relation.into()],
        |row| {
            let text = |column| row.get::<String>(column).map(Option::unwrap_or_default);
            Ok((text(1)?, text(2)?))
        },
    )
}

/// The statements that leave exactly the required policies on every member.
fn difference(tree: &Tree, required: &[(String, String)]) -> Vec<String> {
    let mut statements = Vec::new();
    for member in tree.iter() {
        let name = &member.plan.name;
        let mut present = policies_of(member.relation);
        for (command, level) in required {
            let wanted = Present::wanted(command, level);
            let stands = present.iter().position(|policy| policy.name == wanted.name);
            match stands.map(|at| present.swap_remove(at)) {
                Some(policy) if policy == wanted => continue,
                Some(_) => statements.push(format!("DROP POLICY {} ON {name}", wanted.name)),
                None => {}
            }
            statements.push(create(&wanted.name, name, command, level));
        }
        let other = present.iter();
        statements.extend(other.map(|policy| format!("DROP POLICY {} ON {name}", policy.name)));
    }
    statements
}

/// A policy as the catalog prints it.
#[derive(PartialEq, Eq)]
struct Present {
    name: String,
    binds_all: bool,
    command: String,
    using: String,
    check: String,
}

impl Present {
    fn wanted(command: &str, level: &str) -> Self {
        let condition = format!("tenant_guard.assured({}::text)", literal(level));
        let only = |applies: bool| {
            if applies {
                condition.clone()
            } else {
                String::new()
            }
        };
        Self {
            name: format!("tenant_guard_assurance_{command}"),
            binds_all: true,
            command: command.to_owned(),
            using: only(command != "insert"),
            check: only(!matches!(command, "select" | "delete")),
        }
    }
}

fn policies_of(relation: pg_sys::Oid) -> Vec<Present> {
    read_often(
        "SELECT name::text, binds_all, command, using_text, check_text \
         FROM tenant_guard.assurance_policy WHERE relation = $1 ORDER BY name",
        &[relation.into()],
        |row| {
            let text = |column| {
                Ok::<_, pgrx::spi::SpiError>(row.get::<String>(column)?.unwrap_or_default())
            };
            Ok(Present {
                name: text(1)?,
                binds_all: row.get::<bool>(2)?.unwrap_or(false),
                command: text(3)?,
                using: text(4)?,
                check: text(5)?,
            })
        },
    )
}

fn create(name: &str, relation: &str, command: &str, level: &str) -> String {
    let condition = format!("tenant_guard.assured({})", literal(level));
    let using = if command == "insert" {
        String::new()
    } else {
        format!(" USING ({condition})")
    };
    let check = match command {
        "select" | "delete" => String::new(),
        _ => format!(" WITH CHECK ({condition})"),
    };
    let command = command.to_ascii_uppercase();
    format!(
        "CREATE POLICY {name} ON {relation} AS RESTRICTIVE FOR {command} TO PUBLIC{using}{check}"
    )
}
