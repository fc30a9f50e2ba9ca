//! What commands did to protected and audited relations, as events of the ledger.
//!
//! Never the text of a statement, which may hold secrets: what kind of command it was, which object
//! it was about, and of GRANT and REVOKE the privileges before and after.

use std::cell::Cell;
use std::collections::BTreeMap;

use pgrx::pg_sys::{self, AlterTableType, NodeTag, ObjectType};
use serde_json::{Value, json};
use tenant_guard_core::history::names_before;

use super::command::{Action, Collected, Command, collected, name_parts, text};
use super::types::{self, CONSTRAINT};
use super::wanted::{At, Member, POLICY, policy, trigger};
use super::{columns, leaving, reached};
use crate::audit::pinned::Settings;
use crate::audit::record::record_where_possible;
use crate::audit::text::qualified_name;
use crate::audit::{tables, transaction};
use crate::isolation::lookup;
use crate::isolation::registry::read;
use crate::ledger::rows::for_each_row;
use crate::versions;

thread_local! {
    /// Our own code is about to run a statement of a plan.
    static NEXT_IS_OURS: Cell<bool> = const { Cell::new(false) };
    /// The statement of ours that is running, by its address.
    static OURS: Cell<usize> = const { Cell::new(0) };
}

/// Runs one statement of a plan of ours, which leaves an event as a whole. What code of the table's
/// owner runs inside of it is recorded.
pub(in crate::isolation) fn as_ours<T>(run: impl FnOnce() -> T) -> T {
    struct Restore(bool, usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            NEXT_IS_OURS.set(self.0);
            OURS.set(self.1);
        }
    }

    let _restore = Restore(NEXT_IS_OURS.replace(true), OURS.get());
    run()
}

/// Notes that a command begins: nothing of anybody's runs between our statement and its beginning.
pub(super) fn begun(command: &Command) {
    if NEXT_IS_OURS.take() {
        OURS.set(command.address());
    }
}

pub(super) fn is_ours(command: &Command) -> bool {
    OURS.get() == command.address()
}

/// Whether the session restores a dump, as a superuser with the settings that pg_dump writes: what
/// it does to a relation is what was done to it before.
fn is_restoring() -> bool {
    let is_off = |name| {
        // SAFETY: two built-in settings, read with their names.
        let value = unsafe { pg_sys::GetConfigOption(name, false, false) };
        // SAFETY: the text of a setting that exists.
        (unsafe { text(value) }) == "off"
    };
    // SAFETY: backend-local state and a catalog look-up.
    let superuser = unsafe { pg_sys::superuser_arg(pg_sys::GetSessionUserId()) };
    superuser && is_off(c"row_security".as_ptr()) && is_off(c"check_function_bodies".as_ptr())
}

/// Records what a command altered or put on a relation.
pub(super) fn altered(command: &Command) {
    // What is made leaves an event where it is protected.
    let makes = matches!(
        command.node(),
        NodeTag::T_CreateStmt
            | NodeTag::T_CreateForeignTableStmt
            | NodeTag::T_CreateTableAsStmt
            | NodeTag::T_CreateSchemaStmt
    );
    if makes || is_ours(command) {
        return;
    }
    let _settings = Settings::for_catalog();
    // DROP OWNED takes rights on a table and on each column one by one.
    let mut told = Vec::new();
    for collected in collected() {
        match collected {
            Collected::AlterTable(relation, actions) if types::is_composite(relation) => {
                let data = json!({ "actions": done(&actions) });
                types::altered(command, (pg_sys::RelationRelationId, relation), data);
            }
            Collected::AlterTable(relation, actions) => {
                table_altered(command, relation, &actions);
            }
            Collected::Simple(address, _, before) => simple(command, &address, before),
            Collected::Grant(relations) => {
                for relation in relations {
                    if !told.contains(&relation) {
                        granted(command, relation);
                        told.push(relation);
                    }
                }
            }
        }
    }
}

fn done(actions: &[Action]) -> Vec<String> {
    let actions = actions.iter();
    actions
        .map(|action| {
            format!("{} {}", word(action.kind), action.name)
                .trim_end()
                .to_owned()
        })
        .collect()
}

/// The actions as an event says them.
fn said_of(actions: &[Action]) -> Value {
    let mut data = json!({ "actions": done(actions) });
    let computed = { actions.iter() }.filter(|action| action.computes);
    let computed: Vec<_> = computed.map(|action| action.name.as_str()).collect();
    if !computed.is_empty() {
        data["by_expression"] = computed.into();
    }
    data
}

/// Records a change of which rows are in a tree also with its root, whose rows they are.
pub(super) fn record_in_tree(command: &str, relation: pg_sys::Oid, data: &Value) {
    let Some(member) = Member::of(relation) else {
        return;
    };
    if member.follows_parent {
        record_as(command, member.root, data.clone());
    }
    record_as(command, relation, data.clone());
}

fn table_altered(command: &Command, relation: pg_sys::Oid, actions: &[Action]) {
    let does = |what: &str| actions.iter().any(|action| word(action.kind) == what);
    if does(ATTACH) || does(DETACH) {
        return partitions_altered(command, relation, actions);
    }
    if Member::of(relation).is_some() {
        let mut data = said_of(actions);
        columns::describe(&mut data, relation, actions);
        record(command, relation, data);
    }
    // What the tables below lose is told of each; columns come to them and change with those above.
    let below: Vec<_> = { actions.iter() }
        .filter(|action| {
            let kind = versions::action(action.kind);
            kind == AlterTableType::AT_AddColumn || columns::changes_values(kind)
        })
        .cloned()
        .collect();
    if !below.is_empty() {
        for heir in reached::heirs(relation) {
            let mut data = said_of(&below);
            columns::describe(&mut data, heir, &below);
            record(command, heir, data);
        }
    }
}

/// Records which tables came to a tree or left it, by what the command did to the catalog: its locks hold
/// everybody else off, and a name may mean another table by now.
fn partitions_altered(command: &Command, relation: pg_sys::Oid, actions: &[Action]) {
    if Member::of(relation).is_none() {
        return;
    }
    let mut data = said_of(actions);
    let now = lookup::children_of(relation);
    if let Some(mut before) = reached::children_before(relation, leaving::is_concurrent(command)) {
        let came = now.iter().filter(|child| !before.contains(child)).copied();
        let came: Vec<_> = came.collect();
        if !came.is_empty() && came.into_iter().all(reached::is_empty) {
            data["empty"] = true.into();
        }
        before.retain(|child| !now.contains(child));
        let leaves: Vec<_> = before.into_iter().flat_map(reached::leaves).collect();
        if !leaves.is_empty() {
            data["detached"] = leaves.into();
        }
    }
    record_in_tree(&command.tag_name(), relation, &data);
}

fn schema_name(schema: pg_sys::Oid) -> Option<String> {
    // SAFETY: a catalog look-up by oid; the name is a copy or null.
    let name = unsafe { text(pg_sys::get_namespace_name(schema)) };
    (!name.is_empty()).then_some(name)
}

fn simple(command: &Command, address: &pg_sys::ObjectAddress, before: pg_sys::ObjectAddress) {
    let (relation, object) = match address.classId {
        pg_sys::RelationRelationId if types::is_composite(address.objectId) => {
            let of = (pg_sys::RelationRelationId, address.objectId);
            return types::altered(command, of, said(command));
        }
        pg_sys::RelationRelationId => (address.objectId, None),
        pg_sys::NamespaceRelationId => return schema_renamed(command, address.objectId),
        pg_sys::ExtensionRelationId => {
            return extension_moved(command, address.objectId, before.objectId);
        }
        pg_sys::TypeRelationId => {
            let of = (pg_sys::TypeRelationId, address.objectId);
            return types::altered(command, of, said(command));
        }
        CONSTRAINT => match types::constrained(address.objectId) {
            Some((pg_sys::RelationRelationId, relation)) => (relation, None),
            Some(of) => return types::altered(command, of, said(command)),
            None => return,
        },
        POLICY => match policy(address.objectId, At::Now, false) {
            Some(policy) => (policy.relation, Some(("policy", policy.name))),
            None => return,
        },
        pg_sys::TriggerRelationId => match trigger(address.objectId, At::Now) {
            Some(trigger) => (trigger.relation, Some(("trigger", trigger.name))),
            None => return,
        },
        _ => return,
    };
    let mut data = said(command);
    if command.node() == NodeTag::T_AlterObjectSchemaStmt
        && let Some(schema) = schema_name(before.objectId)
    {
        data["schema"] = schema.into();
    }
    if let Some((kind, name)) = object.filter(|_| command.node() != NodeTag::T_RenameStmt) {
        data[kind] = name.into();
    }
    // Columns of tables, by the words for a composite type.
    if data["object"] == "attribute" {
        data["object"] = "column".into();
    }
    if data["object"] == "column" {
        for heir in reached::heirs(relation) {
            record(command, heir, data.clone());
        }
    }
    record(command, relation, data);
}

/// All tables of the schema have other names. Writers go on under the old ones until the command is
/// committed, unless they wait for that.
fn schema_renamed(command: &Command, schema: pg_sys::Oid) {
    if command.node() != NodeTag::T_RenameStmt {
        return;
    }
    // SAFETY: the statement is what its tag says.
    let before = unsafe { text(command.statement::<pg_sys::RenameStmt>().subname) };
    for relation in reached::held_off(|| reached::tables_in(schema)) {
        record(command, relation, json!({ "schema": before }));
    }
}

/// All tables of an extension are in another schema; PostgreSQL has locked them.
fn extension_moved(command: &Command, extension: pg_sys::Oid, before: pg_sys::Oid) {
    if command.node() != NodeTag::T_AlterObjectSchemaStmt {
        return;
    }
    let Some(before) = schema_name(before) else {
        return;
    };
    for relation in reached::tables_of_extension(extension) {
        record(command, relation, json!({ "schema": before }));
    }
}

/// What a statement says that names something anew.
fn said(command: &Command) -> Value {
    // SAFETY: each statement is read as what its tag says; names of the statement, that of a table in
    // its relation, that of a type in a list of strings.
    unsafe {
        match command.node() {
            NodeTag::T_RenameStmt => {
                let statement: &pg_sys::RenameStmt = command.statement();
                let before = if !statement.subname.is_null() {
                    text(statement.subname)
                } else if !statement.relation.is_null() {
                    text((*statement.relation).relname)
                } else if is_list(statement.object) {
                    name_parts(statement.object.cast())
                        .pop()
                        .unwrap_or_default()
                } else {
                    String::new()
                };
                let mut data = json!({ "renamed": before, "to": text(statement.newname) });
                match statement.renameType {
                    ObjectType::OBJECT_COLUMN => data["object"] = "column".into(),
                    ObjectType::OBJECT_ATTRIBUTE => data["object"] = "attribute".into(),
                    // ALTER INDEX renames tables as well.
                    ObjectType::OBJECT_TABLE
                    | ObjectType::OBJECT_FOREIGN_TABLE
                    | ObjectType::OBJECT_INDEX => data["object"] = "table".into(),
                    _ => {}
                }
                data
            }
            NodeTag::T_AlterEnumStmt => {
                let statement: &pg_sys::AlterEnumStmt = command.statement();
                let new = text(statement.newVal);
                if statement.oldVal.is_null() {
                    json!({ "added": new })
                } else {
                    json!({ "renamed": text(statement.oldVal), "to": new, "object": "value" })
                }
            }
            _ => json!({}),
        }
    }
}

unsafe fn is_list(node: *const pg_sys::Node) -> bool {
    // SAFETY: the caller passes null or a node.
    unsafe { !node.is_null() && (*node).type_ == NodeTag::T_List }
}

/// Records the privileges on a relation before and after the command.
fn granted(command: &Command, relation: pg_sys::Oid) {
    if Member::of(relation).is_none() {
        return;
    }
    let mut before = BTreeMap::new();
    // Under the snapshot the command began with.
    for_each_row(
        c"SELECT COALESCE(a.name, ''), a.acl FROM ( \
              SELECT NULL::text AS name, c.relacl::text AS acl FROM pg_catalog.pg_class AS c \
              WHERE c.oid = $1 \
              UNION ALL \
              SELECT attname::text, attacl::text FROM pg_catalog.pg_attribute \
              WHERE attrelid = $1 AND attacl IS NOT NULL) AS a WHERE a.acl IS NOT NULL",
        &[(pg_sys::OIDOID, pg_sys::Datum::from(relation))],
        |row| {
            before.insert(row.text(0).to_owned(), row.text(1).to_owned());
        },
    );
    let after: BTreeMap<String, String> = read(
        "SELECT COALESCE(a.name, ''), a.acl FROM ( \
             SELECT NULL::text AS name, c.relacl::text AS acl FROM pg_class AS c WHERE c.oid = $1 \
             UNION ALL \
             SELECT attname::text, attacl::text FROM pg_attribute \
             WHERE attrelid = $1 AND attacl IS NOT NULL) AS a WHERE a.acl IS NOT NULL",
        &[relation.into()],
        |row| {
            let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
            Ok((text(1)?, text(2)?))
        },
    )
    .into_iter()
    .collect();
    if before == after {
        return;
    }
    let mut changed = json!({});
    for place in before.keys().chain(after.keys()) {
        if before.get(place) != after.get(place) {
            let entry = json!({ "before": before.get(place), "after": after.get(place) });
            if place.is_empty() {
                changed["table"] = entry;
            } else {
                changed["columns"][place] = entry;
            }
        }
    }
    record(command, relation, json!({ "privileges": changed }));
}

pub(super) fn record(command: &Command, relation: pg_sys::Oid, data: Value) {
    record_as(&command.tag_name(), relation, data);
}

fn record_as(command: &str, relation: pg_sys::Oid, mut data: Value) {
    if Member::of(relation).is_none() {
        return;
    }
    data["command"] = command.into();
    let data = data.to_string();
    if !is_being_restored(&qualified_name(relation), &data) {
        record_where_possible("ddl", Some(relation), &data);
    }
}

/// Whether what a session does to a relation is part of restoring it: one that has events here was
/// there before. `data` is what the event would say.
pub(super) fn is_being_restored(name: &str, data: &str) -> bool {
    is_restoring() && !has_events(name, data)
}

fn has_events(name: &str, data: &str) -> bool {
    if !tables::is_there("audit_log") {
        return false;
    }
    let mut names = names_before(name, data);
    names.push(name.to_owned());
    let found = read(
        "SELECT FROM tenant_guard.audit_log AS l \
         WHERE l.incarnation = $1 AND (l.relation = ANY ($2) OR l.leaf_relation = ANY ($2)) LIMIT 1",
        &[transaction::incarnation().into(), names.into()],
        |_| Ok(()),
    );
    !found.is_empty()
}

const ATTACH: &str = "attach partition";
const DETACH: &str = "detach partition";

/// What a part of ALTER TABLE does.
pub(super) fn word(kind: AlterTableType::Type) -> &'static str {
    match versions::action(kind) {
        AlterTableType::AT_AddColumn => "add column",
        AlterTableType::AT_DropColumn => "drop column",
        AlterTableType::AT_AlterColumnType => "change the type of column",
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        AlterTableType::AT_SetExpression => "change the expression of column",
        AlterTableType::AT_ColumnDefault => "change the default of column",
        AlterTableType::AT_SetNotNull => "set not null on column",
        AlterTableType::AT_DropNotNull => "drop not null from column",
        AlterTableType::AT_AddConstraint | AlterTableType::AT_AddIndexConstraint => {
            "add constraint"
        }
        AlterTableType::AT_DropConstraint => "drop constraint",
        AlterTableType::AT_ValidateConstraint => "validate constraint",
        AlterTableType::AT_ChangeOwner => "change the owner",
        AlterTableType::AT_EnableTrig
        | AlterTableType::AT_EnableAlwaysTrig
        | AlterTableType::AT_EnableReplicaTrig => "enable trigger",
        AlterTableType::AT_DisableTrig => "disable trigger",
        AlterTableType::AT_EnableTrigAll | AlterTableType::AT_EnableTrigUser => "enable triggers",
        AlterTableType::AT_DisableTrigAll | AlterTableType::AT_DisableTrigUser => {
            "disable triggers"
        }
        AlterTableType::AT_EnableRowSecurity => "enable row security",
        AlterTableType::AT_DisableRowSecurity => "disable row security",
        AlterTableType::AT_ForceRowSecurity => "force row security",
        AlterTableType::AT_NoForceRowSecurity => "take force off row security",
        AlterTableType::AT_AttachPartition => ATTACH,
        AlterTableType::AT_DetachPartition | AlterTableType::AT_DetachPartitionFinalize => DETACH,
        AlterTableType::AT_AddInherit => "inherit from",
        AlterTableType::AT_DropInherit => "end inheritance from",
        AlterTableType::AT_SetLogged => "set logged",
        AlterTableType::AT_SetUnLogged => "set unlogged",
        _ => "alter",
    }
}

/// The relations that GRANT or REVOKE names; none of other objects.
///
/// # Safety
/// `grant` must be what PostgreSQL collected of the running command.
pub(super) unsafe fn granted_relations(grant: *const pg_sys::InternalGrant) -> Vec<pg_sys::Oid> {
    // SAFETY: the caller vouches; the objects of a grant are oids.
    unsafe {
        if (*grant).objtype != ObjectType::OBJECT_TABLE {
            return Vec::new();
        }
        let objects = pgrx::PgList::<pg_sys::Oid>::from_pg((*grant).objects);
        objects.iter_oid().collect()
    }
}
