//! Relations that a command reaches beside the one it names.

use pgrx::pg_sys;
use pgrx::spi::{SpiError, SpiHeapTupleData};

use crate::audit::text::qualified_name;
use crate::isolation::integrity;
use crate::isolation::registry::read;
use crate::ledger::rows::for_each_row;

/// The tables that a relation is or consists of, by the names that events have.
pub(super) fn leaves(relation: pg_sys::Oid) -> Vec<String> {
    let leaves = read(
        "WITH RECURSIVE below AS ( \
             SELECT $1::oid AS relation \
             UNION ALL \
             SELECT i.inhrelid FROM below AS b JOIN pg_inherits AS i ON i.inhparent = b.relation) \
         SELECT c.oid FROM below AS b JOIN pg_class AS c ON c.oid = b.relation AND c.relkind <> 'p' \
         ORDER BY 1",
        &[relation.into()],
        oid,
    );
    leaves.into_iter().map(qualified_name).collect()
}

fn oid(row: &SpiHeapTupleData<'_>) -> Result<pg_sys::Oid, SpiError> {
    Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID))
}

/// The relations that were right below one when the running command began, as far as others are concerned
/// with what they did since; none where that cannot be told.
///
/// `alone` says that the transaction has nothing but this command, or the rest of it.
pub(super) fn children_before(relation: pg_sys::Oid, alone: bool) -> Option<Vec<pg_sys::Oid>> {
    let mut found = Vec::new();
    // SAFETY: the snapshot is a copy of our own, pushed and popped here; of the running transaction it sees
    // what the one of the command does.
    unsafe {
        let begun = match (alone, pg_sys::ActiveSnapshotSet()) {
            (true, _) => 0,
            (false, true) => (*pg_sys::GetActiveSnapshot()).curcid,
            (false, false) => return None,
        };
        pg_sys::PushCopiedSnapshot(pg_sys::GetLatestSnapshot());
        (*pg_sys::GetActiveSnapshot()).curcid = begun;
    }
    for_each_row(
        c"SELECT i.inhrelid::text FROM pg_catalog.pg_inherits AS i \
          WHERE i.inhparent OPERATOR(pg_catalog.=) $1",
        &[(pg_sys::OIDOID, pg_sys::Datum::from(relation))],
        |row| found.extend(row.text(0).parse().map(pg_sys::Oid::from_u32)),
    );
    // SAFETY: pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    Some(found)
}

/// Those of the relations that are protected or audited, or below one that is.
pub(super) fn captured(relations: Vec<pg_sys::Oid>) -> Vec<pg_sys::Oid> {
    if relations.is_empty() {
        return relations;
    }
    read(
        "WITH RECURSIVE captured AS ( \
             SELECT m.relation::oid AS relation FROM tenant_guard.protection_member AS m \
             UNION SELECT r.relation::oid FROM tenant_guard.capture_rule AS r \
             UNION SELECT i.inhrelid FROM captured AS c \
             JOIN pg_inherits AS i ON i.inhparent = c.relation) \
         SELECT c.relation FROM captured AS c WHERE c.relation = ANY ($1) ORDER BY 1",
        &[relations.into()],
        oid,
    )
}

/// Locks relations against whoever writes them, to the end of the transaction, and those that are
/// found once these are locked.
pub(super) fn held_off(find: impl Fn() -> Vec<pg_sys::Oid>) -> Vec<pg_sys::Oid> {
    let mut held = Vec::new();
    loop {
        let mut missing = find();
        missing.retain(|relation| !held.contains(relation));
        if missing.is_empty() {
            return held;
        }
        for relation in missing {
            // SAFETY: one that was dropped meanwhile is locked to no effect.
            unsafe {
                pg_sys::LockRelationOid(relation, pg_sys::ShareRowExclusiveLock as i32);
            }
            held.push(relation);
        }
    }
}

/// Whether all tables that a relation is or consists of are ours to look into and without a row.
pub(super) fn is_empty(relation: pg_sys::Oid) -> bool {
    let foreign = read(
        "WITH RECURSIVE below AS ( \
             SELECT $1::oid AS relation \
             UNION ALL \
             SELECT i.inhrelid FROM below AS b JOIN pg_inherits AS i ON i.inhparent = b.relation) \
         SELECT FROM below AS b JOIN pg_class AS c ON c.oid = b.relation AND c.relkind = 'f'",
        &[relation.into()],
        |_| Ok(()),
    );
    foreign.is_empty() && integrity::is_empty(relation)
}

/// The tables of ours that inherit the columns of a relation and are no partitions.
pub(super) fn heirs(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    captured(read(
        "WITH RECURSIVE below AS ( \
             SELECT $1::oid AS relation \
             UNION \
             SELECT c.oid FROM below AS b JOIN pg_inherits AS i ON i.inhparent = b.relation \
             JOIN pg_class AS c ON c.oid = i.inhrelid AND NOT c.relispartition) \
         SELECT b.relation FROM below AS b WHERE b.relation <> $1 ORDER BY 1",
        &[relation.into()],
        oid,
    ))
}

/// The tables of ours in a schema.
pub(super) fn tables_in(schema: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    captured(read(
        "SELECT c.oid FROM pg_class AS c \
         WHERE c.relnamespace = $1 AND c.relkind IN ('r', 'p', 'f') ORDER BY 1",
        &[schema.into()],
        oid,
    ))
}

/// The tables of ours that belong to an extension.
pub(super) fn tables_of_extension(extension: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    captured(read(
        "SELECT c.oid FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid \
         WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = $1 AND d.deptype = 'e' \
             AND d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'f') ORDER BY 1",
        &[extension.into()],
        oid,
    ))
}

/// The pairs of a parent and a partition that the running transaction marked as leaving it.
pub(super) fn leaving() -> Vec<(pg_sys::Oid, pg_sys::Oid)> {
    read(
        "SELECT i.inhparent, i.inhrelid FROM pg_inherits AS i \
         WHERE i.inhdetachpending AND i.xmin = pg_current_xact_id()::xid",
        &[],
        |row| {
            let at = |n| row.get(n).map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID));
            Ok((at(1)?, at(2)?))
        },
    )
}
