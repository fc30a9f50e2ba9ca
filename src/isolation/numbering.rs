//! Which columns the names in the lists of capture meant when they were declared: a name may come
//! to another column, a number never does.

use pgrx::pg_sys;

use super::forgetting::{NUMBERED, Sweep};
use super::registry::{read, read_often};
use crate::catalog::{write, write_often};

/// What declares columns; each takes anew only what it names itself.
#[derive(Clone, Copy)]
pub(super) enum By {
    Protect,
    Audit,
    Annotate,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Protect => "protect",
            Self::Audit => "audit",
            Self::Annotate => "annotate",
        }
    }
}

/// $1 and the partitions under it that were detached and have numbers of their own.
macro_rules! of_its_own {
    () => {
        "SELECT $1::oid UNION SELECT m.relation::oid FROM tenant_guard.protection_member AS m \
         WHERE m.root = $1 AND EXISTS ( \
             SELECT FROM tenant_guard.capture_column AS k WHERE k.relation = m.relation)"
    };
}

/// Remembers the columns that now have these names, in the place of what was.
///
/// Of what is below a relation nothing is remembered: PostgreSQL renames an inherited column
/// everywhere or nowhere. A partition that was detached has numbers of its own.
pub(super) fn take<'a>(relation: pg_sys::Oid, by: By, names: impl IntoIterator<Item = &'a String>) {
    let names: Vec<String> = names.into_iter().cloned().collect();
    if names.is_empty() && !any() {
        return;
    }
    if !names.is_empty() {
        write_often(
            concat!(
                "INSERT INTO tenant_guard.capture_column AS k (relation, declared_by, name, number) \
                 SELECT a.attrelid, $2, a.attname, a.attnum FROM pg_attribute AS a \
                 WHERE a.attrelid IN (",
                of_its_own!(),
                ") AND a.attname = ANY ($3::text[]::name[]) AND a.attnum > 0 AND NOT a.attisdropped \
                 ON CONFLICT (relation, declared_by, name) DO UPDATE SET number = excluded.number"
            ),
            &[relation.into(), by.name().into(), names.clone().into()],
        );
    }
    write_often(
        concat!(
            "DELETE FROM tenant_guard.capture_column AS k WHERE k.relation IN (",
            of_its_own!(),
            ") AND k.declared_by = $2 AND k.name <> ALL ($3::text[]::name[])"
        ),
        &[relation.into(), by.name().into(), names.into()],
    );
    NUMBERED.with(Sweep::go_on);
}

/// Whether a column of any relation is remembered.
fn any() -> bool {
    let found = read_often(
        "SELECT FROM tenant_guard.capture_column ORDER BY relation LIMIT 1",
        &[],
        |_| Ok(()),
    );
    !found.is_empty()
}

/// Remembers of a partition that leaves what is remembered of its root. Where that has other
/// columns under the names by now, so may the partition: number 0 fits none.
pub(super) fn keep(root: pg_sys::Oid, leaving: pg_sys::Oid) {
    write(
        "INSERT INTO tenant_guard.capture_column (relation, declared_by, name, number) \
         SELECT $2, k.declared_by, k.name, CASE WHEN r.attname = k.name THEN a.attnum ELSE 0 END \
         FROM tenant_guard.capture_column AS k \
         LEFT JOIN pg_attribute AS r ON r.attrelid = k.relation AND r.attnum = k.number \
         JOIN pg_attribute AS a ON a.attrelid = $2 AND a.attname = k.name AND a.attnum > 0 \
         WHERE k.relation = $1 \
         ON CONFLICT (relation, declared_by, name) DO NOTHING",
        &[root.into(), leaving.into()],
    );
}

/// Declared names that have come to other columns, or to none: relation, name and what declared it.
pub(super) fn strayed() -> Vec<(String, String, String)> {
    read(
        "SELECT s.relation::text, quote_ident(s.name), s.declared_by \
         FROM tenant_guard.strayed_column AS s ORDER BY 1, 2, 3",
        &[],
        |row| {
            Ok((
                row.get(1)?.unwrap_or_default(),
                row.get(2)?.unwrap_or_default(),
                row.get(3)?.unwrap_or_default(),
            ))
        },
    )
}

/// Columns of a protected relation that `redact` named, under their names of now, and that these names
/// leave out.
pub(super) fn left_off(relation: pg_sys::Oid, redact: &[String]) -> Vec<String> {
    read(
        "SELECT quote_ident(a.attname) FROM tenant_guard.protection AS p \
         CROSS JOIN unnest(p.redact) AS r (name) \
         LEFT JOIN tenant_guard.capture_column AS k ON k.relation = p.relation \
             AND k.declared_by = 'protect' AND k.name = r.name \
         JOIN pg_attribute AS a ON a.attrelid = p.relation AND a.attnum > 0 AND NOT a.attisdropped \
             AND CASE WHEN k.number IS NULL THEN a.attname = r.name ELSE a.attnum = k.number END \
         WHERE p.relation = $1 AND p.audit AND a.attname <> ALL ($2::text[]::name[]) \
         ORDER BY a.attnum",
        &[relation.into(), redact.to_vec().into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    )
}
