//! The ledger's tables, our views, and the schema and extension they depend on. Judged before the command
//! begins: only superusers reach them at all, by mistake, so names mean what they will mean.

use pgrx::pg_sys::{self, AlterTableType, NodeTag, ObjectType};
use tenant_guard_core::month::names_partition;

use super::command::{Command, name_parts, pointers, relation_named, text};
use super::noted;
use super::refusal::refuse;
use crate::audit::tables::{TABLES, is_there, named, oid_of};
use crate::catalog::{extension_owner, our_schema};
use crate::error::Guarded;
use crate::isolation::registry::read;

/// Name of the trigger that keeps a ledger table append-only.
const GUARD: &str = "tenant_guard_guard";

/// Refuses what would alter, rename or drop a part of the ledger.
pub(super) fn judge(command: &Command) {
    // SAFETY: each statement is read as what its tag says.
    unsafe {
        match command.node() {
            NodeTag::T_AlterTableStmt => alter(command, command.statement()),
            NodeTag::T_RenameStmt => rename(command, command.statement()),
            NodeTag::T_AlterObjectSchemaStmt => move_out(command, command.statement()),
            NodeTag::T_DropStmt => drop(command, command.statement()),
            NodeTag::T_DropOwnedStmt => drop_owned(command, command.statement()),
            NodeTag::T_ViewStmt => replace(command, command.statement()),
            NodeTag::T_RuleStmt => rule(command, command.statement()),
            NodeTag::T_AlterExtensionContentsStmt => change_members(command, command.statement()),
            _ => {}
        }
    }
}

fn refuse_table(command: &Command, what: &'static str, table: String) {
    refuse(command, Some(oid_of(&table)), Guarded::Ledger(what, table));
}

/// The ledger's table, or partition of one, that `name` means.
///
/// # Safety
/// It must be null or a RangeVar of the running command.
unsafe fn ledger_table(name: *const pg_sys::RangeVar) -> Option<String> {
    // SAFETY: the caller vouches for the node; the look-up takes no lock and misses quietly.
    unsafe {
        if name.is_null() {
            return None;
        }
        let bare = text((*name).relname);
        if !named(&bare) {
            return None;
        }
        let meant = relation_named(name);
        (meant != pg_sys::Oid::INVALID && meant == oid_of(&bare)).then_some(bare)
    }
}

/// Refuses what would change a view of ours, where the name means one.
unsafe fn refuse_view(command: &Command, what: &'static str, name: *const pg_sys::RangeVar) {
    // SAFETY: the caller passes null or a RangeVar of the running command.
    let meant = unsafe {
        if name.is_null() {
            return;
        }
        relation_named(name)
    };
    refuse_view_of(command, what, meant);
}

fn refuse_view_of(command: &Command, what: &'static str, relation: pg_sys::Oid) {
    // SAFETY: catalog look-ups by oid; the name is a copy or null.
    let view = unsafe {
        let ours = relation != pg_sys::Oid::INVALID
            && pg_sys::get_rel_relkind(relation) as u8 == pg_sys::RELKIND_VIEW
            && pg_sys::get_rel_namespace(relation) == our_schema();
        ours.then(|| text(pg_sys::get_rel_name(relation)))
    };
    if let Some(view) = view {
        refuse(command, Some(relation), Guarded::View(what, view));
    }
}

/// CREATE OR REPLACE VIEW, which goes by the schema it would make the view in.
unsafe fn replace(command: &Command, statement: &pg_sys::ViewStmt) {
    // SAFETY: the statement's own name, which is not that of a temporary view; the look-ups raise what
    // the command would.
    unsafe {
        if statement.replace && !noted::is_temporary(statement.view) {
            let schema = pg_sys::RangeVarGetCreationNamespace(statement.view);
            let replaced = pg_sys::get_relname_relid((*statement.view).relname, schema);
            refuse_view_of(command, "replace", replaced);
        }
    }
}

unsafe fn rule(command: &Command, statement: &pg_sys::RuleStmt) {
    // SAFETY: the statement's own member.
    unsafe {
        refuse_view(command, "put a rule on", statement.relation);
        if let Some(table) = ledger_table(statement.relation) {
            refuse_table(command, "put a rule on", table);
        }
    }
}

/// The same of a qualified name in a list of strings.
unsafe fn ledger_table_named(parts: &[String]) -> Option<String> {
    let (table, schema) = match parts {
        [.., schema, table] => (table, Some(schema)),
        [table] => (table, None),
        [] => return None,
    };
    let table = Some(table.clone()).filter(|table| named(table))?;
    match schema {
        Some(schema) => (schema == "tenant_guard" && is_there(&table)).then_some(table),
        None => {
            let name = std::ffi::CString::new(table.as_str()).ok()?;
            // SAFETY: a catalog look-up of a terminated name.
            let meant = unsafe { pg_sys::RelnameGetRelid(name.as_ptr()) };
            (meant != pg_sys::Oid::INVALID && meant == oid_of(&table)).then_some(table)
        }
    }
}

unsafe fn alter(command: &Command, statement: &pg_sys::AlterTableStmt) {
    // SAFETY: the actions of ALTER TABLE are AlterTableCmd nodes.
    unsafe {
        let attached = |action: &pg_sys::AlterTableCmd| {
            let attach = action.subtype == AlterTableType::AT_AttachPartition;
            attach.then(|| ledger_table((*action.def.cast::<pg_sys::PartitionCmd>()).name))
        };
        let parent = ledger_table(statement.relation);
        let keeps_owner = |action| gives_away(action) == Some(false);
        if parent.is_none() && !pointers(statement.cmds).all(keeps_owner) {
            refuse_view(command, "alter", statement.relation);
        }
        for action in pointers::<pg_sys::AlterTableCmd>(statement.cmds) {
            match (attached(action), &parent) {
                // A partition, as we name it, of the table it is named after.
                (Some(Some(partition)), Some(table)) if names_partition(&partition, table) => {}
                (Some(Some(table)), _) => refuse_table(command, "attach", table),
                (_, Some(table)) if !allowed(action) => {
                    refuse_table(command, "alter", table.clone());
                }
                _ => {}
            }
        }
    }
}

/// What restoring a dump does to a table, and what changes neither rows nor rights nor triggers.
unsafe fn allowed(action: &pg_sys::AlterTableCmd) -> bool {
    match action.subtype {
        AlterTableType::AT_AddConstraint
        | AlterTableType::AT_AddIndex
        | AlterTableType::AT_AddIndexConstraint
        | AlterTableType::AT_ValidateConstraint
        | AlterTableType::AT_SetNotNull
        | AlterTableType::AT_EnableAlwaysTrig
        | AlterTableType::AT_SetStatistics
        | AlterTableType::AT_SetStorage
        | AlterTableType::AT_SetCompression
        | AlterTableType::AT_SetOptions
        | AlterTableType::AT_ResetOptions
        | AlterTableType::AT_SetRelOptions
        | AlterTableType::AT_ResetRelOptions
        | AlterTableType::AT_ClusterOn
        | AlterTableType::AT_DropCluster
        | AlterTableType::AT_SetTableSpace
        | AlterTableType::AT_ReplicaIdentity
        | AlterTableType::AT_SetLogged => true,
        // SAFETY: the caller passes a part of the running command.
        _ => unsafe { gives_away(action) == Some(false) },
    }
}

/// Whether OWNER TO gives a relation to somebody who is no superuser; none of other actions.
unsafe fn gives_away(action: &pg_sys::AlterTableCmd) -> Option<bool> {
    // SAFETY: the role of OWNER TO; a missing one is left for the command to report.
    (action.subtype == AlterTableType::AT_ChangeOwner).then(|| unsafe {
        let owner = pg_sys::get_rolespec_oid(action.newowner, true);
        owner != pg_sys::Oid::INVALID && !pg_sys::superuser_arg(owner)
    })
}

unsafe fn rename(command: &Command, statement: &pg_sys::RenameStmt) {
    // SAFETY: the statement's own members.
    unsafe {
        if statement.renameType == ObjectType::OBJECT_SCHEMA {
            if text(statement.subname) == "tenant_guard" {
                let refusal = Guarded::Extension("rename schema tenant_guard");
                refuse(command, None, refusal);
            }
        } else if let Some(table) = ledger_table(statement.relation) {
            refuse_table(command, "rename", table);
        } else {
            refuse_view(command, "rename", statement.relation);
        }
    }
}

unsafe fn move_out(command: &Command, statement: &pg_sys::AlterObjectSchemaStmt) {
    // SAFETY: the statement's own member.
    unsafe {
        refuse_view(command, "move", statement.relation);
        if let Some(table) = ledger_table(statement.relation) {
            refuse_table(command, "move", table);
        }
    }
}

unsafe fn drop(command: &Command, statement: &pg_sys::DropStmt) {
    // SAFETY: tables and triggers are named by lists of strings, schemas and extensions by strings.
    unsafe {
        match statement.removeType {
            ObjectType::OBJECT_TABLE => {
                for name in pointers::<pg_sys::List>(statement.objects) {
                    let name = name_parts(std::ptr::from_ref(name).cast_mut());
                    if let Some(table) = ledger_table_named(&name) {
                        refuse_table(command, "drop", table);
                    }
                }
            }
            ObjectType::OBJECT_TRIGGER => {
                for name in pointers::<pg_sys::List>(statement.objects) {
                    let name = name_parts(std::ptr::from_ref(name).cast_mut());
                    if let Some((trigger, table)) = name.split_last()
                        && trigger == GUARD
                        && let Some(table) = ledger_table_named(table)
                    {
                        refuse_table(command, "drop the guard trigger of", table);
                    }
                }
            }
            ObjectType::OBJECT_SCHEMA | ObjectType::OBJECT_EXTENSION => {
                let ours = name_parts(statement.objects).contains(&"tenant_guard".to_owned());
                if ours && holds_events() {
                    let what = if statement.removeType == ObjectType::OBJECT_SCHEMA {
                        "drop schema tenant_guard"
                    } else {
                        "drop extension tenant_guard"
                    };
                    refuse(command, None, Guarded::HoldsEvents(what));
                }
            }
            _ => {}
        }
    }
}

unsafe fn drop_owned(command: &Command, statement: &pg_sys::DropOwnedStmt) {
    // SAFETY: the roles of DROP OWNED; a missing one is left for the command to report.
    let ours = unsafe {
        let owner = extension_owner();
        pointers::<pg_sys::RoleSpec>(statement.roles)
            .any(|role| pg_sys::get_rolespec_oid(role, true) == owner)
    };
    if ours && holds_events() {
        let what = "drop what the owner of tenant_guard owns";
        refuse(command, None, Guarded::HoldsEvents(what));
    }
}

unsafe fn change_members(command: &Command, statement: &pg_sys::AlterExtensionContentsStmt) {
    // SAFETY: the statement's own members; a table is named by a list of strings.
    unsafe {
        if text(statement.extname) == "tenant_guard" {
            let refusal = Guarded::Extension("change the members of extension tenant_guard");
            refuse(command, None, refusal);
        } else if statement.objtype == ObjectType::OBJECT_TABLE {
            let name = name_parts(statement.object.cast());
            if let Some(table) = ledger_table_named(&name) {
                refuse_table(command, "add to an extension the", table);
            }
        }
    }
}

/// Whether anything would be lost with the ledger.
fn holds_events() -> bool {
    let rows: Vec<_> = TABLES
        .into_iter()
        .filter(|table| is_there(table))
        .map(|table| format!("EXISTS (SELECT FROM tenant_guard.{table})"))
        .collect();
    if rows.is_empty() {
        return false;
    }
    let query = format!("SELECT {}", rows.join(" OR "));
    let found = read(&query, &[], |row| row.get::<bool>(1));
    found.into_iter().flatten().any(|found| found)
}
