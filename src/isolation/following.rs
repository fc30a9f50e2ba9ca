//! What of a relation's rows changes without an event of theirs: columns whose text says how other objects
//! are called, or what other relations are made of, and rows of tables that are not logged.

use pgrx::pg_sys;
use serde_json::Value;

use super::registry::read_often;

/// Says in an event of a relation which of its columns are such, where any is, and whether it is not logged.
///
/// The types of its columns whose values somebody may be renaming do not change until the transaction
/// ends: what is read of the relation afterwards is what it will go on saying.
pub(crate) fn say(data: &mut Value, relation: pg_sys::Oid) {
    hold_types(relation);
    if is_unlogged(relation) {
        data["unlogged"] = true.into();
    }
    let columns = columns(relation);
    if !columns.is_empty() {
        data["follows"] = columns.into();
    }
}

/// Whether a crash takes rows of a relation.
fn is_unlogged(relation: pg_sys::Oid) -> bool {
    let found = read_often(
        "WITH RECURSIVE below AS ( \
             SELECT c.oid, c.relkind, c.relpersistence FROM pg_class AS c WHERE c.oid = $1 \
             UNION ALL \
             SELECT c.oid, c.relkind, c.relpersistence FROM below AS b \
             JOIN pg_inherits AS i ON i.inhparent = b.oid \
             JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relispartition) \
         SELECT FROM below AS b WHERE b.relkind = 'r' AND b.relpersistence = 'u' LIMIT 1",
        &[relation.into()],
        |_| Ok(()),
    );
    !found.is_empty()
}

/// The columns of a relation with all types that theirs are made of.
macro_rules! parts {
    () => {
        "WITH RECURSIVE part AS ( \
             SELECT a.attnum, a.attname, a.atttypid AS type FROM pg_attribute AS a \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped \
             UNION \
             SELECT p.attnum, p.attname, inner_type.oid FROM part AS p \
             JOIN pg_type AS t ON t.oid = p.type \
             CROSS JOIN LATERAL ( \
                 SELECT t.typelem AS oid WHERE t.typelem <> 0 \
                 UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0 \
                 UNION ALL SELECT r.rngsubtype FROM pg_range AS r \
                 WHERE t.oid IN (r.rngtypid, r.rngmultitypid) \
                 UNION ALL SELECT a.atttypid FROM pg_attribute AS a \
                 WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped \
             ) AS inner_type) \
         "
    };
}

/// Takes a lock on each such type that ALTER TYPE can give other values; it waits for who alters one.
fn hold_types(relation: pg_sys::Oid) {
    let mut held = Vec::new();
    loop {
        let mut types = read_often(
            concat!(
                parts!(),
                "SELECT DISTINCT t.oid FROM part AS p JOIN pg_type AS t ON t.oid = p.type \
                 WHERE t.typtype IN ('c', 'e') AND t.typnamespace <> 'pg_catalog'::regnamespace \
                 ORDER BY 1"
            ),
            &[relation.into()],
            |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
        );
        types.retain(|held_now| !held.contains(held_now));
        if types.is_empty() {
            return;
        }
        for id in types {
            // SAFETY: a type that is gone meanwhile is locked to no effect.
            unsafe {
                let share = pg_sys::AccessShareLock as i32;
                pg_sys::LockDatabaseObject(pg_sys::TypeRelationId, id, 0, share);
            }
            held.push(id);
        }
    }
}

/// The columns of types that name objects, roles among them, or of rows of relations, be it through arrays,
/// ranges, domains and composite types.
fn columns(relation: pg_sys::Oid) -> Vec<String> {
    read_often(
        concat!(
            parts!(),
            "SELECT DISTINCT p.attnum, p.attname::text FROM part AS p \
             JOIN pg_type AS t ON t.oid = p.type \
             LEFT JOIN pg_class AS c ON c.oid = t.typrelid \
             WHERE c.relkind <> 'c' OR t.typnamespace = 'pg_catalog'::regnamespace \
                 AND (t.typname ~ '^reg' OR t.typname = 'aclitem') \
             ORDER BY 1"
        ),
        &[relation.into()],
        |row| Ok(row.get::<String>(2)?.unwrap_or_default()),
    )
}
