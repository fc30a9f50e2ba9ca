//! What commands did to protected and audited relations, as events of the ledger.
//!
//! Never the text of a statement, which may hold secrets: what kind of command it was, which object
//! it was about, and of GRANT and REVOKE the privileges before and after.

use std::cell::Cell;
use std::collections::BTreeMap;

use pgrx::pg_sys::{self, AlterTableType, NodeTag, ObjectType};
use serde_json::{Map, Value, json};
use tenant_guard_core::trigger::{CAPTURE, CAPTURE_TRUNCATE};

use super::command::{Action, Collected, Command, collected, name_parts, text};
use super::types::{self, CONSTRAINT};
use super::wanted::{At, Member, POLICY, policy, trigger};
use crate::audit::filling;
use crate::audit::pinned::Settings;
use crate::audit::record::{record_named_where_possible, record_where_possible};
use crate::audit::text::qualified;
use crate::isolation::capturing;
use crate::isolation::registry::{self, read};
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

fn is_ours(command: &Command) -> bool {
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
    if makes || is_ours(command) || is_restoring() {
        return;
    }
    let _settings = Settings::for_catalog();
    // DROP OWNED takes rights on a table and on each column one by one.
    let mut told = Vec::new();
    for collected in collected() {
        match collected {
            Collected::AlterTable(relation, actions) => {
                let done: Vec<_> = actions
                    .iter()
                    .map(|(kind, name)| format!("{} {name}", word(*kind)).trim_end().to_owned())
                    .collect();
                let mut data = json!({ "actions": done });
                let filled = filled(relation, &actions);
                if !filled.is_empty() {
                    data["filled"] = filled.into();
                }
                if types::is_composite(relation) {
                    types::altered(command, (pg_sys::RelationRelationId, relation), data);
                } else {
                    record(command, relation, data);
                }
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

/// What rows of before have in the columns that a command added: null for one that is not captured.
fn filled(relation: pg_sys::Oid, actions: &[Action]) -> Map<String, Value> {
    let added: Vec<&str> = { actions.iter() }
        .filter(|(kind, _)| versions::action(*kind) == AlterTableType::AT_AddColumn)
        .map(|(_, name)| name.as_str())
        .collect();
    if added.is_empty() || Member::of(relation).is_none() {
        return Map::new();
    }
    let rule = capturing::root_of(relation).and_then(capturing::rule_of);
    match rule.and_then(|rule| rule.include) {
        // What is listed was there before.
        Some(_) => { added.into_iter() }
            .map(|name| (name.to_owned(), Value::Null))
            .collect(),
        None => filling::of(relation, added.into_iter()),
    }
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
    record(command, relation, data);
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
                    ObjectType::OBJECT_TABLE => data["object"] = "table".into(),
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
                    json!({ "renamed": text(statement.oldVal), "to": new })
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

pub(super) fn record(command: &Command, relation: pg_sys::Oid, mut data: Value) {
    if Member::of(relation).is_some() {
        data["command"] = command.tag_name().into();
        record_where_possible("ddl", Some(relation), &data.to_string());
    }
}

/// An object that a command dropped.
struct Dropped {
    catalog: pg_sys::Oid,
    oid: pg_sys::Oid,
    column: bool,
    schema: String,
    /// Of a trigger or policy its table; the name of anything else.
    table: String,
    name: String,
    identity: String,
}

/// Records relations under protection or audit that a command dropped, and what it dropped from
/// others.
pub(super) fn dropped(command: &Command) {
    if is_ours(command) || is_restoring() {
        return;
    }
    let objects = dropped_objects();
    if objects.is_empty() {
        return;
    }
    let _settings = Settings::for_catalog();
    let gone: Vec<_> = objects
        .iter()
        .filter(|o| o.catalog == pg_sys::RelationRelationId && !o.column)
        .map(|o| o.oid)
        .collect();
    // What went with a relation says that its changes were captured, whatever was above it.
    let captured = |relation: &Dropped| {
        objects.iter().any(|object| {
            object.catalog == pg_sys::TriggerRelationId
                && (&object.schema, &object.table) == (&relation.schema, &relation.table)
                && matches!(object.name.as_str(), CAPTURE | CAPTURE_TRUNCATE)
        })
    };
    for object in &objects {
        let relation = match object.catalog {
            pg_sys::RelationRelationId if object.column => Some((object.oid, "column")),
            pg_sys::RelationRelationId => {
                if captured(object) || was_registered(object.oid) {
                    let data = json!({ "command": command.tag_name(), "dropped": "relation" });
                    let name = qualified(&object.schema, &object.table);
                    record_named_where_possible("ddl", &name, &data.to_string());
                }
                None
            }
            POLICY => policy(object.oid, At::Before, false).map(|p| (p.relation, "policy")),
            _ => trigger(object.oid, At::Before).map(|t| (t.relation, "trigger")),
        };
        if let Some((relation, kind)) = relation.filter(|(oid, _)| !gone.contains(oid)) {
            record(
                command,
                relation,
                json!({ "dropped": kind, "object": object.identity }),
            );
        }
    }
}

fn was_registered(relation: pg_sys::Oid) -> bool {
    let found = read(
        "SELECT FROM tenant_guard.protection_member AS m WHERE m.relation = $1 \
         UNION ALL SELECT FROM tenant_guard.capture_rule AS r WHERE r.relation = $1",
        &[relation.into()],
        |_| Ok(()),
    );
    !found.is_empty()
}

fn dropped_objects() -> Vec<Dropped> {
    registry::read_as_caller(
        "SELECT d.classid, d.objid, d.objsubid OPERATOR(pg_catalog.>) 0, \
             d.address_names[1], d.address_names[2], \
             d.address_names[pg_catalog.cardinality(d.address_names)], d.object_identity \
         FROM pg_catalog.pg_event_trigger_dropped_objects() AS d \
         WHERE NOT d.is_temporary AND (d.classid OPERATOR(pg_catalog.=) 3256 \
             OR d.classid OPERATOR(pg_catalog.=) 2620 AND NOT d.object_identity ~ 'RI_ConstraintTrigger' \
             OR d.classid OPERATOR(pg_catalog.=) 1259 \
                 AND d.object_type IN ('table', 'table column'))",
        |row| {
            let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
            let oid = |n| {
                row.get::<pg_sys::Oid>(n)
                    .map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID))
            };
            Ok(Dropped {
                catalog: oid(1)?,
                oid: oid(2)?,
                column: row.get(3)?.unwrap_or(false),
                schema: text(4)?,
                table: text(5)?,
                name: text(6)?,
                identity: text(7)?,
            })
        },
    )
}

/// What a part of ALTER TABLE does.
fn word(kind: AlterTableType::Type) -> &'static str {
    match versions::action(kind) {
        AlterTableType::AT_AddColumn => "add column",
        AlterTableType::AT_DropColumn => "drop column",
        AlterTableType::AT_AlterColumnType => "change the type of column",
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
        AlterTableType::AT_AttachPartition => "attach partition",
        AlterTableType::AT_DetachPartition | AlterTableType::AT_DetachPartitionFinalize => {
            "detach partition"
        }
        AlterTableType::AT_AddInherit => "inherit from",
        AlterTableType::AT_DropInherit => "end inheritance from",
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
