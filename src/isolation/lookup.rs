//! What PostgreSQL's catalogs say of relations, columns and roles that isolation asks about.

use std::ffi::{CStr, CString};

use pgrx::prelude::*;

use super::registry::{read, read_often};
use super::request::{Request, text};
use crate::error::{Error, Obstacle};

/// The parent that `via` of `relation` points to, and the column of the parent it holds.
///
/// Both come from the foreign key over that one column; a parent that is named and to which there is
/// none is reached by its primary key.
pub(super) fn parent_key(
    relation: pg_sys::Oid,
    via: &str,
    parent: Option<pg_sys::Oid>,
) -> Result<(pg_sys::Oid, String), Obstacle> {
    let own_name = || name_of(relation).unwrap_or_default();
    let found = read(
        "SELECT p.oid, k.attname::text, format_type(v.atttypid, NULL), \
             format_type(k.atttypid, NULL), p.oid::regclass::text \
         FROM pg_attribute AS v \
         LEFT JOIN LATERAL ( \
             SELECT f.confrelid AS parent, f.confkey[1] AS key, 1 AS rank FROM pg_constraint AS f \
             WHERE f.contype = 'f' AND f.conrelid = $1 AND f.conparentid = 0 \
                 AND f.conkey = ARRAY[v.attnum] AND ($3 IS NULL OR f.confrelid = $3) \
             UNION \
             SELECT i.indrelid, i.indkey[0], 2 FROM pg_index AS i \
             WHERE i.indrelid = $3 AND i.indisprimary AND i.indnkeyatts = 1 \
                 AND i.indimmediate \
             ORDER BY rank) AS f ON true \
         LEFT JOIN pg_class AS p ON p.oid = f.parent \
         LEFT JOIN pg_attribute AS k ON k.attrelid = p.oid AND k.attnum = f.key \
         WHERE v.attrelid = $1 AND v.attname = $2 AND v.attnum > 0 AND NOT v.attisdropped \
         ORDER BY f.rank",
        &[relation.into(), via.into(), parent.into()],
        |row| {
            let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
            let target = row.get::<pg_sys::Oid>(1)?.zip(row.get::<String>(2)?);
            Ok((target, text(3)?, text(4)?, text(5)?))
        },
    );
    let Some((target, ..)) = found.first() else {
        return Err(Obstacle::NoColumn(via.to_owned(), own_name()));
    };
    let targets = found.iter().filter_map(|(target, ..)| target.as_ref());
    let ambiguous = parent.is_none()
        && targets
            .clone()
            .any(|(oid, _)| Some(*oid) != target.as_ref().map(|(oid, _)| *oid));
    let Some((oid, key)) = target.clone().filter(|_| !ambiguous) else {
        return Err(Obstacle::NoParent(via.to_owned(), own_name()));
    };
    let (_, via_type, key_type, parent_name) = &found[0];
    if comparable(via_type, key_type) {
        Ok((oid, key))
    } else {
        let (via, parent) = (via.to_owned(), parent_name.clone());
        Err(Obstacle::UnlikeKey(
            via,
            own_name(),
            via_type.clone(),
            parent,
            key_type.clone(),
        ))
    }
}

/// Whether a column of one type can hold keys of the other, without a cast that no index serves.
pub(super) fn comparable(one: &str, other: &str) -> bool {
    let family = |name: &str| match name {
        "smallint" | "integer" | "bigint" => "integer".to_owned(),
        "text" | "character varying" => "text".to_owned(),
        other => other.to_owned(),
    };
    family(one) == family(other)
}

/// The relation of this name, which says its schema.
pub(super) fn relation_named(name: &str) -> Result<pg_sys::Oid, Error> {
    let found = read("SELECT to_regclass($1)::oid", &[name.into()], |row| {
        row.get::<pg_sys::Oid>(1)
    });
    let relation = found.into_iter().next().flatten();
    relation.ok_or_else(|| Error::UnknownRelation(name.to_owned()))
}

/// Whether the relation has such a column.
pub(super) fn has_column(relation: pg_sys::Oid, column: &str) -> bool {
    let found = read_often(
        "SELECT FROM pg_attribute AS a WHERE a.attrelid = $1 AND a.attname = $2 AND a.attnum > 0 \
             AND NOT a.attisdropped",
        &[relation.into(), column.into()],
        |_| Ok(()),
    );
    !found.is_empty()
}

/// Schema-qualified and quoted name of a relation.
pub(super) fn name_of(relation: pg_sys::Oid) -> Option<String> {
    let names = read_often(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = $1",
        &[relation.into()],
        |row| row.get::<String>(1),
    );
    names.into_iter().next().flatten()
}

/// Whether a relation is a partition.
pub(super) fn is_partition(relation: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up by oid, false for a relation that is gone.
    unsafe { pg_sys::get_rel_relispartition(relation) }
}

/// The relations from `root` down to `relation`, and those below that, parents first.
pub(super) fn path_below(root: pg_sys::Oid, relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut path = read(
        "WITH RECURSIVE above AS ( \
             SELECT $2::oid AS relation, 0 AS distance \
             UNION ALL \
             SELECT i.inhparent, a.distance + 1 FROM above AS a \
             JOIN pg_inherits AS i ON i.inhrelid = a.relation WHERE a.relation <> $1) \
         SELECT a.relation FROM above AS a WHERE a.distance > 0 ORDER BY a.distance DESC",
        &[root.into(), relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    );
    path.extend(tree_of(relation));
    path
}

/// The relations from `root` down to the parents of `relation`, parents first; only `root` where
/// that is not above.
pub(super) fn path_to(root: pg_sys::Oid, relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read(
        "WITH RECURSIVE above AS ( \
             SELECT i.inhparent AS relation, 1 AS distance FROM pg_inherits AS i \
             WHERE i.inhrelid = $2 \
             UNION ALL \
             SELECT i.inhparent, a.distance + 1 FROM above AS a \
             JOIN pg_inherits AS i ON i.inhrelid = a.relation) \
         SELECT m.relation::oid FROM tenant_guard.protection_member AS m \
         LEFT JOIN (SELECT a.relation, max(a.distance) AS distance FROM above AS a \
                    GROUP BY a.relation) AS a ON a.relation = m.relation \
         WHERE m.root = $1 AND (m.relation = $1 OR a.relation IS NOT NULL) \
         ORDER BY m.relation <> $1, a.distance DESC",
        &[root.into(), relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// The row trigger of its own that keeps a relation from getting the one of this parent.
pub(super) fn capture_in_the_way(parent: pg_sys::Oid, comes: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let found = read(
        "SELECT t.oid FROM pg_trigger AS t \
         JOIN pg_class AS c ON c.oid = t.tgrelid AND NOT c.relispartition \
         WHERE t.tgrelid = $2 AND t.tgname = 'tenant_guard_capture' \
             AND t.tgparentid = 0 AND t.tgfoid = 'tenant_guard.capture'::regproc \
             AND (EXISTS (SELECT FROM tenant_guard.protection_member AS m \
                     JOIN tenant_guard.protection AS p ON p.relation = m.root \
                     WHERE m.relation = $1 AND (p.audit OR EXISTS ( \
                         SELECT FROM tenant_guard.capture_rule AS r WHERE r.relation = m.root))) \
                 OR EXISTS (SELECT FROM tenant_guard.capture_rule AS r \
                     JOIN pg_trigger AS a ON a.tgrelid = $1 AND a.tgname = t.tgname \
                         AND a.tgfoid = t.tgfoid AND a.tgargs = t.tgargs \
                     WHERE r.relation = $2))",
        &[parent.into(), comes.into()],
        |row| row.get::<pg_sys::Oid>(1),
    );
    found.into_iter().next().flatten()
}

/// Those of the columns that the relation has.
pub(super) fn present_columns(relation: pg_sys::Oid, columns: &[String]) -> Vec<String> {
    read_often(
        "SELECT r.name FROM unnest($2::text[]) WITH ORDINALITY AS r (name, position) \
         JOIN pg_attribute AS a ON a.attrelid = $1 AND a.attname = r.name \
             AND a.attnum > 0 AND NOT a.attisdropped \
         ORDER BY r.position",
        &[relation.into(), columns.to_vec().into()],
        |row| Ok(row.get(1)?.unwrap_or_default()),
    )
}

/// The partitions and children of a relation.
pub(super) fn children_of(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read(
        "SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = $1 ORDER BY 1",
        &[relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// The relation and all below it, parents first, each once.
pub(super) fn tree_of(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read_often(
        "WITH RECURSIVE tree AS ( \
             SELECT $1::oid AS relation, 0 AS depth \
             UNION ALL \
             SELECT i.inhrelid, t.depth + 1 FROM tree AS t \
             JOIN pg_inherits AS i ON i.inhparent = t.relation) \
         SELECT t.relation FROM tree AS t GROUP BY t.relation ORDER BY max(t.depth), t.relation",
        &[relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// Name of the relation that `relation` is a partition or child of.
pub(super) fn parent_of(relation: pg_sys::Oid) -> Option<String> {
    read_often(
        "SELECT i.inhparent::regclass::text FROM pg_inherits AS i \
         WHERE i.inhrelid = $1 ORDER BY i.inhseqno",
        &[relation.into()],
        |row| row.get::<String>(1),
    )
    .into_iter()
    .next()
    .flatten()
}

/// The parent of a partition; none of what is no partition.
pub(super) fn partition_of(relation: pg_sys::Oid) -> Option<String> {
    // SAFETY: a catalog look-up by oid.
    let is_partition = unsafe { pg_sys::get_rel_relispartition(relation) };
    is_partition.then(|| parent_of(relation)).flatten()
}

/// What a column that is to be redacted is to its relation.
pub(super) enum Standing {
    Missing,
    /// The account column or part of the primary key, or what one of them is generated from.
    Key,
    Plain,
}

/// Columns of a relation by name, each with its standing; `account_column` is empty where there is
/// none. What a generated column reads, its expression depends on since PostgreSQL 15, and the column itself
/// before.
pub(super) fn standings(
    relation: pg_sys::Oid,
    columns: &[String],
    account_column: &str,
) -> Vec<(String, Standing)> {
    if columns.is_empty() {
        return Vec::new();
    }
    read_often(
        "SELECT r.name, a.attnum IS NULL, EXISTS ( \
             SELECT FROM pg_attribute AS s WHERE s.attrelid = $1 \
                 AND (s.attnum = a.attnum OR s.attgenerated <> '' AND EXISTS ( \
                     SELECT FROM pg_depend AS d LEFT JOIN pg_attrdef AS e \
                         ON d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid \
                     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 \
                         AND d.refobjsubid = a.attnum \
                         AND (e.adrelid = $1 AND e.adnum = s.attnum \
                             OR d.classid = 'pg_class'::regclass AND d.objid = $1 \
                                 AND d.objsubid = s.attnum))) \
                 AND (s.attname = $3 OR EXISTS ( \
                     SELECT FROM pg_index AS k WHERE k.indrelid = $1 AND k.indisprimary \
                         AND s.attnum = ANY (k.indkey)))) \
         FROM unnest($2::text[]) WITH ORDINALITY AS r (name, position) \
         LEFT JOIN pg_attribute AS a ON a.attrelid = $1 AND a.attname = r.name \
             AND a.attnum > 0 AND NOT a.attisdropped \
         ORDER BY r.position",
        &[
            relation.into(),
            columns.to_vec().into(),
            account_column.into(),
        ],
        |row| {
            let name = row.get::<String>(1)?.unwrap_or_default();
            let missing = row.get::<bool>(2)?.unwrap_or(true);
            let key = row.get::<bool>(3)?.unwrap_or(false);
            Ok((
                name,
                match (missing, key) {
                    (true, _) => Standing::Missing,
                    (false, true) => Standing::Key,
                    (false, false) => Standing::Plain,
                },
            ))
        },
    )
}

/// The names of roles.
pub(super) fn role_names(roles: &[pg_sys::Oid]) -> Result<Vec<String>, Error> {
    let names = read_often(
        "SELECT r.rolname::text FROM unnest($1::oid[]) WITH ORDINALITY AS w (oid, position) \
         LEFT JOIN pg_roles AS r ON r.oid = w.oid ORDER BY w.position",
        &[roles.to_vec().into()],
        |row| row.get::<String>(1),
    );
    names
        .into_iter()
        .zip(roles)
        .map(|(name, role)| name.ok_or(Error::UnknownRole(role.to_u32())))
        .collect()
}

/// Names as `quote_ident` writes them.
pub(super) fn quoted(names: &[String]) -> Vec<String> {
    let quoted = |name: &String| {
        let name = CString::new(name.as_str()).expect("names of the catalog hold no NUL");
        // SAFETY: a terminated name; what comes back is that or a terminated copy.
        text(unsafe { CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr())) })
    };
    names.iter().map(quoted).collect()
}

/// A table that `protect_schema` is to protect.
pub(super) struct Candidate {
    pub(super) relation: pg_sys::Oid,
    /// The columns to be redacted that it has.
    pub(super) redact: Vec<String>,
}

/// The names of schemas to look at. A name that is misspelt must not pass for a schema without findings.
pub(super) fn known_schemas(names: &pgrx::Array<'_, &CStr>) -> Result<Vec<String>, Error> {
    if names.is_empty() {
        return Err(Error::EmptyArgument("schemas"));
    }
    let known = |name: Option<&CStr>| {
        let name = text(name.ok_or(Error::NullArgument("an element of schemas"))?);
        refuse_unknown_schema(&name)?;
        Ok(name)
    };
    names.iter().map(known).collect()
}

/// Raises 3F000 where there is no schema of this name.
pub(super) fn refuse_unknown_schema(schema: &str) -> Result<(), Error> {
    let schemas = read(
        "SELECT FROM pg_namespace WHERE nspname = $1",
        &[schema.into()],
        |_| Ok(()),
    );
    if schemas.is_empty() {
        return Err(Error::UnknownSchema(schema.to_owned()));
    }
    Ok(())
}

/// The topmost tables of a schema that have the account column and are not protected yet.
pub(super) fn tables_of(schema: &str, common: &Request) -> Result<Vec<Candidate>, Error> {
    refuse_unknown_schema(schema)?;
    let tables = read(
        "SELECT c.oid, c.oid::regclass::text, \
             EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = $2 \
                 AND a.attnum > 0 AND NOT a.attisdropped), \
             ARRAY(SELECT r.name FROM unnest($3::text[]) WITH ORDINALITY AS r (name, position) \
                 JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = r.name \
                     AND a.attnum > 0 AND NOT a.attisdropped \
                 ORDER BY r.position) \
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') \
             AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid) \
             AND NOT EXISTS ( \
                 SELECT FROM tenant_guard.protection_member AS m WHERE m.relation = c.oid) \
         ORDER BY c.relname",
        &[
            schema.into(),
            common.column.as_deref().into(),
            common.redact.clone().into(),
        ],
        |row| {
            let candidate = Candidate {
                relation: row.get(1)?.unwrap_or(pg_sys::Oid::INVALID),
                redact: row.get(4)?.unwrap_or_default(),
            };
            Ok((
                candidate,
                row.get::<String>(2)?,
                row.get::<bool>(3)?.unwrap_or(false),
            ))
        },
    );
    for redacted in &common.redact {
        if !tables
            .iter()
            .any(|(table, ..)| table.redact.contains(redacted))
        {
            return Err(Error::UnknownColumn(redacted.clone(), schema.to_owned()));
        }
    }
    let (with, without): (Vec<_>, Vec<_>) = tables.into_iter().partition(|(.., has)| *has);
    if !without.is_empty() {
        let names: Vec<_> = without
            .into_iter()
            .filter_map(|(_, name, _)| name)
            .collect();
        notice!(
            "left alone, without column \"{}\": {}",
            common.column_name(),
            names.join(", ")
        );
    }
    Ok(with.into_iter().map(|(table, ..)| table).collect())
}
