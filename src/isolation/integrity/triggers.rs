//! Triggers that hold foreign keys to the account, as they stand in the catalog.

use pgrx::prelude::*;
use tenant_guard_core::reference::{BIND, BOUND, trigger_name};

use crate::isolation::{execute, lookup, registry};

/// Whether a trigger of this name is one of ours.
pub(in crate::isolation) fn is_ours(name: &str) -> bool {
    name.starts_with(BIND) || name.starts_with(BOUND)
}

/// Whether a trigger under a name of ours does what one made by `bind_foreign_keys` does.
pub(in crate::isolation) fn is_as_made(trigger: pg_sys::Oid) -> bool {
    let found = registry::read(
        "SELECT t.tgname::text, convert_from(substring(t.tgargs FOR length(t.tgargs) - 1), 'UTF8'), \
             t.tgfoid = 'tenant_guard.check_binding'::regproc \
         FROM pg_trigger AS t \
         WHERE t.oid = $1 AND t.tgqual IS NULL AND t.tgattr = '' AND t.tgnargs = 1 \
             AND (t.tgfoid, t.tgtype) IN ( \
                 ('tenant_guard.check_binding'::regproc, 21), \
                 ('tenant_guard.check_bound'::regproc, 17))",
        &[trigger.into()],
        |row| {
            let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
            Ok((text(1)?, text(2)?, row.get::<bool>(3)?.unwrap_or(false)))
        },
    );
    found.into_iter().any(|(name, key, binds)| {
        let first = if binds { BIND } else { BOUND };
        trigger_name(first, &key) == name
    })
}

/// Whether a key of the relation, or to it, is held by a trigger of this name: one that is there and
/// does not pair the accounts itself.
pub(in crate::isolation) fn holds(relation: pg_sys::Oid, name: &str) -> bool {
    let keys = unpaired(relation).into_iter();
    { keys }.any(|key| {
        let first = if key.refers { BIND } else { BOUND };
        trigger_name(first, &key.name) == name
    })
}

/// Whether the trigger is there, and does what it is to do.
pub(super) fn has(relation: pg_sys::Oid, name: &str) -> bool {
    let found = registry::read(
        "SELECT t.oid FROM pg_trigger AS t WHERE t.tgrelid = $1 AND t.tgname = $2",
        &[relation.into(), name.into()],
        |row| row.get::<pg_sys::Oid>(1),
    );
    found.into_iter().flatten().any(is_as_made)
}

/// The relation and its partitions where the trigger is not always fired.
pub(super) fn silent(relation: pg_sys::Oid, name: &str) -> Vec<pg_sys::Oid> {
    registry::read(
        "SELECT t.tgrelid FROM pg_trigger AS t \
         WHERE t.tgname = $2 AND t.tgenabled <> 'A' AND (t.tgrelid = $1 OR t.tgrelid IN ( \
             SELECT p.relid FROM pg_partition_tree($1) AS p)) ORDER BY 1",
        &[relation.into(), name.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// Triggers of ours on the relation that did not come from one above: their names.
pub(super) fn on(relation: pg_sys::Oid) -> Vec<String> {
    let names = registry::read(
        "SELECT t.tgname::text FROM pg_trigger AS t \
         WHERE t.tgrelid = $1 AND t.tgparentid = 0 AND t.tgfoid IN ( \
             'tenant_guard.check_binding'::regproc, 'tenant_guard.check_bound'::regproc) ORDER BY 1",
        &[relation.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    );
    names.into_iter().filter(|name| is_ours(name)).collect()
}

/// Takes the triggers off relations that are no longer protected.
pub(in crate::isolation) fn drop_of(relations: impl Iterator<Item = pg_sys::Oid>) {
    for relation in relations {
        let name = lookup::name_of(relation).unwrap_or_default();
        let drop = |trigger: String| format!("DROP TRIGGER {trigger} ON {name}");
        let statements: Vec<_> = on(relation).into_iter().map(drop).collect();
        execute(&statements);
    }
}

/// A foreign key that does not pair the accounts.
pub(super) struct Unpaired {
    pub(super) name: String,
    /// Whether the relation asked about is the one that refers.
    pub(super) refers: bool,
    pub(super) child: pg_sys::Oid,
    pub(super) columns: Vec<String>,
    pub(super) parent: pg_sys::Oid,
    pub(super) parent_columns: Vec<String>,
}

/// The keys of and to a relation, and of and to the partitioned ones above it.
pub(super) fn unpaired(relation: pg_sys::Oid) -> Vec<Unpaired> {
    registry::read(
        "WITH own AS ( \
             SELECT $1::oid AS relation UNION \
             SELECT a.relid FROM pg_partition_ancestors($1) AS a) \
         SELECT f.conname::text, r.refers, f.conrelid, \
             (SELECT array_agg(a.attname::text ORDER BY k.position) \
              FROM unnest(f.conkey) WITH ORDINALITY AS k (number, position) \
              JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.number), \
             f.confrelid, \
             (SELECT array_agg(a.attname::text ORDER BY k.position) \
              FROM unnest(f.confkey) WITH ORDINALITY AS k (number, position) \
              JOIN pg_attribute AS a ON a.attrelid = f.confrelid AND a.attnum = k.number) \
         FROM pg_constraint AS f \
         LEFT JOIN tenant_guard.protection_member AS c ON c.relation = f.conrelid \
         LEFT JOIN tenant_guard.protection_member AS p ON p.relation = f.confrelid \
         LEFT JOIN pg_attribute AS ca ON ca.attrelid = f.conrelid AND ca.attname = c.account_column \
         LEFT JOIN pg_attribute AS pa ON pa.attrelid = f.confrelid AND pa.attname = p.account_column \
         CROSS JOIN LATERAL ( \
             SELECT true WHERE f.conrelid IN (SELECT o.relation FROM own AS o) UNION ALL \
             SELECT false WHERE f.confrelid IN (SELECT o.relation FROM own AS o)) AS r (refers) \
         WHERE f.contype = 'f' AND f.conparentid = 0 AND NOT EXISTS ( \
             SELECT FROM ROWS FROM (unnest(f.conkey), unnest(f.confkey)) AS pair (child, parent) \
             WHERE pair.child = ca.attnum AND pair.parent = pa.attnum) \
         ORDER BY f.oid",
        &[relation.into()],
        |row| {
            let oid = |n| row.get(n).map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID));
            Ok(Unpaired {
                name: row.get(1)?.unwrap_or_default(),
                refers: row.get(2)?.unwrap_or(false),
                child: oid(3)?,
                columns: row.get(4)?.unwrap_or_default(),
                parent: oid(5)?,
                parent_columns: row.get(6)?.unwrap_or_default(),
            })
        },
    )
}
