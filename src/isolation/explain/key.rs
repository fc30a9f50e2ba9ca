//! Which row is asked about: a protected relation and the values of a key of it.

use pgrx::prelude::*;

use crate::error::{Error, Obstacle};
use crate::isolation::registry::{self, read};
use crate::isolation::{lookup, obstacles};

/// One row, named by a key.
pub(super) struct Target {
    pub(super) relation: pg_sys::Oid,
    /// Schema-qualified and quoted.
    pub(super) name: String,
    /// The quoted name alone, by which policies name the relation.
    pub(super) alias: String,
    /// Quoted names and types of the key's columns.
    columns: Vec<(String, String)>,
    pub(super) values: Vec<String>,
}

impl Target {
    /// The row of `relation` with this key, a JSON object of columns and values.
    pub(super) fn of(relation: pg_sys::Oid, key: &str) -> Result<Self, Error> {
        let (name, alias) = names(relation)?;
        let columns = read(
            "SELECT k.key, k.value, a.attnum, quote_ident(a.attname), \
                 format_type(a.atttypid, a.atttypmod) \
             FROM jsonb_each_text($2::jsonb) AS k \
             LEFT JOIN pg_attribute AS a ON a.attrelid = $1 AND a.attname = k.key \
                 AND a.attnum > 0 AND NOT a.attisdropped \
             ORDER BY a.attnum",
            &[relation.into(), key.into()],
            |row| {
                Ok((
                    row.get::<String>(1)?.unwrap_or_default(),
                    row.get::<String>(2)?,
                    row.get::<i16>(3)?,
                    row.get::<String>(4)?.unwrap_or_default(),
                    row.get::<String>(5)?.unwrap_or_default(),
                ))
            },
        );
        let (mut numbers, mut typed, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (column, value, number, quoted, kind) in columns {
            let unknown = || Obstacle::NoColumn(column.clone(), name.clone());
            numbers.push(number.ok_or_else(unknown)?);
            typed.push((quoted, kind));
            values.push(value.ok_or(Error::UnfitArgument("key", "it has a null value"))?);
        }
        if !is_key(relation, numbers) {
            return Err(Error::UnfitArgument(
                "key",
                "it must name exactly the columns of a primary key or unique index",
            ));
        }
        Ok(Self {
            relation,
            name,
            alias,
            columns: typed,
            values,
        })
    }

    /// The condition on columns of `alias`, with the values as parameters of type text.
    pub(super) fn filter(&self, alias: &str) -> String {
        let compared = (1..).zip(&self.columns).map(|(number, (column, kind))| {
            format!("{alias}.{column} OPERATOR(pg_catalog.=) CAST(${number} AS {kind})")
        });
        compared.collect::<Vec<_>>().join(" AND ")
    }
}

/// The names of a protected relation.
fn names(relation: pg_sys::Oid) -> Result<(String, String), Error> {
    let found = read(
        "SELECT format('%I.%I', n.nspname, c.relname), quote_ident(c.relname), c.relkind::text \
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = $1",
        &[relation.into()],
        |row| {
            let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
            Ok((text(1)?, text(2)?, text(3)?))
        },
    );
    let gone = || Obstacle::Gone(relation.to_u32());
    let (name, alias, kind) = found.into_iter().next().ok_or_else(gone)?;
    let other = obstacles::other_kind(&kind);
    if !other.is_empty() {
        return Err(Obstacle::WrongKind(name, other).into());
    }
    if registry::root_of(relation).is_none() {
        return Err(Obstacle::NotProtected(name).into());
    }
    Ok((name, alias))
}

/// Whether no two rows of the table itself can have the same values in exactly these columns. Other columns beside those of
/// a key would tell their values to whoever asks.
fn is_key(relation: pg_sys::Oid, numbers: Vec<i16>) -> bool {
    let found = read(
        "SELECT FROM pg_index AS i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid \
             AND i.indpred IS NULL AND i.indexprs IS NULL \
             AND ARRAY(SELECT k.n FROM unnest(i.indkey) WITH ORDINALITY AS k (n, place) \
                 WHERE k.place <= i.indnkeyatts ORDER BY k.n) = $2",
        &[relation.into(), numbers.into()],
        |_| Ok(()),
    );
    !found.is_empty()
}

/// The key of the parent's row that a link leads to, as JSON.
pub(super) fn parent_key(column: &str, value: &str) -> String {
    serde_json::json!({ column: value }).to_string()
}

/// The name of a relation for messages.
pub(super) fn name_of(relation: pg_sys::Oid) -> String {
    lookup::name_of(relation).unwrap_or_default()
}
