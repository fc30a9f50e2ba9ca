//! What commands dropped, as events of the ledger.

use pgrx::pg_sys;
use serde_json::json;
use tenant_guard_core::trigger::{CAPTURE, CAPTURE_TRUNCATE};

use super::command::Command;
use super::recorded::{is_being_restored, is_ours, record};
use super::types;
use super::wanted::{At, POLICY, policy, trigger};
use crate::audit::pinned::Settings;
use crate::audit::record::record_named_where_possible;
use crate::audit::text::qualified;
use crate::isolation::registry::{self, read};

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
pub(super) fn record_dropped(command: &Command) {
    if is_ours(command) {
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
            pg_sys::RelationRelationId if object.column && types::is_composite(object.oid) => {
                // ALTER TYPE says by itself what it did.
                if command.tag != pg_sys::CommandTag::CMDTAG_ALTER_TYPE {
                    let of = (pg_sys::RelationRelationId, object.oid);
                    types::altered(command, of, json!({ "dropped": "attribute" }));
                }
                None
            }
            pg_sys::RelationRelationId if object.column => Some((object.oid, "column")),
            pg_sys::RelationRelationId => {
                if captured(object) || was_registered(object.oid) {
                    let data = json!({ "command": command.tag_name(), "dropped": "relation" });
                    let name = qualified(&object.schema, &object.table);
                    let data = data.to_string();
                    if !is_being_restored(&name, &data) {
                        record_named_where_possible("ddl", &name, &data);
                    }
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
                 AND d.object_type IN ('table', 'table column', 'composite type column'))",
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
