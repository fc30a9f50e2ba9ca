//! Relations that a command reaches beside the one it names.

use pgrx::pg_sys;

use crate::isolation::integrity;
use crate::isolation::registry::read;

/// The tables that a relation is or consists of, by the names that events have.
pub(super) fn leaves(relation: pg_sys::Oid) -> Vec<String> {
    read(
        "WITH RECURSIVE below AS ( \
             SELECT $1::oid AS relation \
             UNION ALL \
             SELECT i.inhrelid FROM below AS b JOIN pg_inherits AS i ON i.inhparent = b.relation) \
         SELECT format('%I.%I', n.nspname, c.relname) FROM below AS b \
         JOIN pg_class AS c ON c.oid = b.relation AND c.relkind <> 'p' \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace ORDER BY 1",
        &[relation.into()],
        |row| Ok(row.get(1)?.unwrap_or_default()),
    )
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

/// The tables that inherit the columns of one and are no partitions.
pub(super) fn heirs(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read(
        "WITH RECURSIVE below AS ( \
             SELECT $1::oid AS relation \
             UNION \
             SELECT c.oid FROM below AS b JOIN pg_inherits AS i ON i.inhparent = b.relation \
             JOIN pg_class AS c ON c.oid = i.inhrelid AND NOT c.relispartition) \
         SELECT b.relation FROM below AS b WHERE b.relation <> $1 ORDER BY 1",
        &[relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// The tables of a schema.
pub(super) fn tables_in(schema: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read(
        "SELECT c.oid FROM pg_class AS c \
         WHERE c.relnamespace = $1 AND c.relkind IN ('r', 'p', 'f') ORDER BY 1",
        &[schema.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}
