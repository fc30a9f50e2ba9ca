//! Types that columns of protected and audited relations are of: to rename a value of an enum, or to
//! drop an attribute, changes what their rows say.

use pgrx::pg_sys;
use serde_json::Value;

use super::command::Command;
use super::reached;
use super::recorded::record;
use super::wanted::Member;
use crate::audit::text::qualified;
use crate::isolation::following;
use crate::isolation::registry::read;

/// `pg_constraint`, which pgrx does not bind.
pub(super) const CONSTRAINT: pg_sys::Oid = pg_sys::Oid::from_u32(2606);

/// A catalog and the object in it: a type, or the class of a composite one.
pub(super) type Object = (pg_sys::Oid, pg_sys::Oid);

/// Records a change of a type with each tree of relations whose columns are of it, be it through
/// arrays, domains and other types.
pub(super) fn altered(command: &Command, of: Object, mut data: Value) {
    let renamed = matches!(data["object"].as_str(), Some("attribute" | "value"));
    let changes = renamed || !data["dropped"].is_null() || !data["actions"].is_null();
    let relations = if changes {
        hold(of);
        reached::held_off(|| using(of))
    } else {
        using(of)
    };
    if relations.is_empty() {
        return;
    }
    data["type"] = name(of).into();
    let mut told = Vec::new();
    for member in relations.into_iter().filter_map(Member::of) {
        // Partitions' rows are those of the tree; tables that inherit have their own.
        let rows_of = if member.follows_parent {
            member.root
        } else {
            member.relation
        };
        if !told.contains(&rows_of) {
            let mut data = data.clone();
            // Names of attributes stand in no value.
            if data["object"] == "attribute" && is_made_of(rows_of, type_of(of)) {
                data["made_of"] = true.into();
            }
            following::say(&mut data, rows_of);
            record(command, rows_of, data);
            told.push(rows_of);
        }
    }
}

/// Whether a table was made of a type, whose attributes are its columns.
fn is_made_of(relation: pg_sys::Oid, type_id: pg_sys::Oid) -> bool {
    let found = read(
        "SELECT FROM pg_class AS c WHERE c.oid = $1 AND c.reloftype = $2",
        &[relation.into(), type_id.into()],
        |_| Ok(()),
    );
    !found.is_empty()
}

/// Waits for whoever takes note of the values of a type, and has them wait, until the transaction ends:
/// before that they would take those of before.
fn hold(of: Object) {
    // SAFETY: the command altered the type, which is there.
    unsafe {
        pg_sys::LockDatabaseObject(
            pg_sys::TypeRelationId,
            type_of(of),
            0,
            pg_sys::AccessExclusiveLock as i32,
        );
    }
}

fn type_of((catalog, object): Object) -> pg_sys::Oid {
    if catalog == pg_sys::RelationRelationId {
        // SAFETY: a catalog look-up by oid.
        unsafe { pg_sys::get_rel_type_id(object) }
    } else {
        object
    }
}

/// Whether it is the class of a composite type, and no table.
pub(super) fn is_composite(relation: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up by oid.
    unsafe { pg_sys::get_rel_relkind(relation) as u8 == pg_sys::RELKIND_COMPOSITE_TYPE }
}

/// The relation or domain that a constraint is of.
pub(super) fn constrained(constraint: pg_sys::Oid) -> Option<Object> {
    let found = read(
        "SELECT c.conrelid, c.contypid FROM pg_constraint AS c WHERE c.oid = $1",
        &[constraint.into()],
        |row| {
            let oid = |n| row.get(n).map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID));
            Ok((oid(1)?, oid(2)?))
        },
    );
    let (relation, domain) = found.into_iter().next()?;
    Some(if relation == pg_sys::Oid::INVALID {
        (pg_sys::TypeRelationId, domain)
    } else {
        (pg_sys::RelationRelationId, relation)
    })
}

/// The tables of ours with columns of a type.
fn using(of: Object) -> Vec<pg_sys::Oid> {
    let type_id = type_of(of);
    // The class of a composite type depends on the type, and not the other way round as that of a table.
    reached::captured(read(
        "WITH RECURSIVE used AS ( \
             SELECT 'pg_type'::regclass::oid AS class, $1::oid AS object \
             UNION \
             SELECT CASE WHEN c.relkind = 'c' THEN 'pg_type'::regclass::oid ELSE d.classid END, \
                 CASE WHEN c.relkind = 'c' THEN c.reltype ELSE d.objid END \
             FROM used AS u \
             JOIN pg_depend AS d ON d.refclassid = u.class AND d.refobjid = u.object \
             LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid \
             WHERE d.classid = 'pg_type'::regclass OR c.relkind IN ('r', 'p', 'f', 'c')) \
         SELECT c.oid FROM used AS u \
         JOIN pg_class AS c ON u.class = 'pg_class'::regclass AND c.oid = u.object \
         WHERE c.relkind IN ('r', 'p', 'f') ORDER BY 1",
        &[type_id.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    ))
}

fn name(of: Object) -> String {
    let found = read(
        "SELECT n.nspname::text, t.typname::text FROM pg_type AS t \
         JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE t.oid = $1",
        &[type_of(of).into()],
        |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)),
    );
    let found = found.into_iter().next();
    found.map_or_else(String::new, |(schema, name)| {
        qualified(&schema.unwrap_or_default(), &name.unwrap_or_default())
    })
}
