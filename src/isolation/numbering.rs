//! Which columns the names in the lists of capture meant when they were declared: a name may come
//! to another column, a number never does.

use pgrx::pg_sys;

use super::registry::read;
use crate::catalog::write;

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

/// Remembers the columns that now have these names, in the place of what was.
///
/// Of what is below a relation nothing is remembered: PostgreSQL renames an inherited column
/// everywhere or nowhere. A partition that was detached has numbers of its own.
pub(super) fn take<'a>(relation: pg_sys::Oid, by: By, names: impl IntoIterator<Item = &'a String>) {
    let names: Vec<String> = names.into_iter().cloned().collect();
    let of_its_own = "SELECT $1::oid UNION SELECT m.relation::oid \
         FROM tenant_guard.protection_member AS m WHERE m.root = $1 \
             AND EXISTS (SELECT FROM tenant_guard.capture_column AS k WHERE k.relation = m.relation)";
    write(
        &format!(
            "INSERT INTO tenant_guard.capture_column AS k (relation, declared_by, name, number) \
             SELECT a.attrelid, $2, a.attname, a.attnum FROM pg_attribute AS a \
             WHERE a.attrelid IN ({of_its_own}) AND a.attname = ANY ($3::text[]::name[]) \
                 AND a.attnum > 0 AND NOT a.attisdropped \
             ON CONFLICT (relation, declared_by, name) DO UPDATE SET number = excluded.number"
        ),
        &[relation.into(), by.name().into(), names.clone().into()],
    );
    write(
        &format!(
            "DELETE FROM tenant_guard.capture_column AS k \
             WHERE k.relation IN ({of_its_own}) AND k.declared_by = $2 \
                     AND k.name <> ALL ($3::text[]::name[]) \
                 OR NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = k.relation)"
        ),
        &[relation.into(), by.name().into(), names.into()],
    );
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
