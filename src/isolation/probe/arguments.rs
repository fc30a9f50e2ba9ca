//! What a probe is asked for.

use std::collections::HashMap;

use pgrx::prelude::*;

use super::authors::Leave;
use super::canary::name;
use crate::error::{Error, Obstacle};
use crate::isolation::ownership::Ownerships;
use crate::isolation::registry::{read, root_of};
use crate::isolation::{obstacles, require_admin};
use crate::raw::json_argument;

/// Values for columns of a row, by name.
type Chosen = HashMap<String, String>;

/// The arguments, checked.
pub(super) struct Asked {
    pub(super) relation: pg_sys::Oid,
    pub(super) name: String,
    pub(super) accepted: Vec<String>,
    pub(super) leave: Leave,
    canaries: Vec<Chosen>,
}

impl Asked {
    pub(super) fn of(fcinfo: pg_sys::FunctionCallInfo) -> Result<Self, Error> {
        // SAFETY: PostgreSQL passed `fcinfo`; sql/probe.sql gives the arguments these types.
        let (relation, accepted, canaries, trusted) = unsafe {
            (
                pgrx::fcinfo::pg_getarg::<pg_sys::Oid>(fcinfo, 0),
                pgrx::fcinfo::pg_getarg::<Vec<Option<String>>>(fcinfo, 1),
                json_argument(fcinfo, 2),
                pgrx::fcinfo::pg_getarg::<Vec<Option<String>>>(fcinfo, 3),
            )
        };
        require_admin()?;
        let relation = relation.ok_or(Error::NullArgument("relation"))?;
        let accepted = accepted.ok_or(Error::NullArgument("accept"))?;
        let canaries = canaries.ok_or(Error::NullArgument("canary"))?;
        let trusted = trusted.ok_or(Error::NullArgument("trust"))?;
        let name = refuse_unfit(relation)?;
        Ok(Self {
            relation,
            canaries: chosen_values(relation, &name, &canaries)?,
            name,
            accepted: accepted.into_iter().flatten().collect(),
            leave: Leave {
                // SAFETY: backend-local state.
                caller: unsafe { pg_sys::GetUserId() },
                trusted: trusted.into_iter().flatten().collect(),
            },
        })
    }

    /// The values chosen for the row at this place: one's own, the other account's, and a further one
    /// of that account's. Rows for which nothing else is said get what is said last.
    pub(super) fn chosen(&self, place: usize) -> &Chosen {
        &self.canaries[place.min(self.canaries.len() - 1)]
    }
}

/// The name of a relation whose rows belong to accounts.
fn refuse_unfit(relation: pg_sys::Oid) -> Result<String, Error> {
    let kinds = read(
        "SELECT c.relkind::text FROM pg_class AS c WHERE c.oid = $1",
        &[relation.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    );
    let kind = kinds.into_iter().next();
    let kind = kind.ok_or(Obstacle::Gone(relation.to_u32()))?;
    let name = name(relation);
    let other = obstacles::other_kind(&kind);
    if !other.is_empty() {
        return Err(Obstacle::WrongKind(name, other).into());
    }
    match root_of(relation) {
        None => return Err(Obstacle::NotProtected(name).into()),
        Some(root) if root != relation => {
            return Err(Obstacle::PartOf(name, super::canary::name(root)).into());
        }
        Some(_) => {}
    }
    let owner = Ownerships::of(vec![relation]).get(relation);
    match owner {
        Some(owner) if owner.archetype().has_accounts() => Ok(name),
        _ => Err(Obstacle::NoAccounts(name).into()),
    }
}

/// The values that the caller chose for columns of canary rows; at least one row of them.
fn chosen_values(relation: pg_sys::Oid, name: &str, chosen: &str) -> Result<Vec<Chosen>, Error> {
    let rows = read(
        "SELECT jsonb_typeof(r.row), r.row::text FROM jsonb_array_elements( \
             CASE jsonb_typeof($1::jsonb) WHEN 'array' THEN $1::jsonb \
                 ELSE jsonb_build_array($1::jsonb) END) WITH ORDINALITY AS r (row, place) \
         ORDER BY r.place",
        &[chosen.into()],
        |row| {
            let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
            Ok((text(1)?, text(2)?))
        },
    );
    let unfit = Error::UnfitArgument("canary", "it is not an object or an array of one to three");
    if rows.is_empty() || rows.len() > 3 || rows.iter().any(|(kind, _)| kind != "object") {
        return Err(unfit);
    }
    let rows = rows.into_iter();
    rows.map(|(_, row)| chosen_row(relation, name, &row))
        .collect()
}

fn chosen_row(relation: pg_sys::Oid, name: &str, chosen: &str) -> Result<Chosen, Error> {
    let columns = read(
        "SELECT k.key, k.value, EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = $1 \
             AND a.attname = k.key AND a.attnum > 0 AND NOT a.attisdropped) \
         FROM jsonb_each_text($2::jsonb) AS k",
        &[relation.into(), chosen.into()],
        |row| {
            let column = row.get::<String>(1)?.unwrap_or_default();
            Ok((column, row.get::<String>(2)?, row.get::<bool>(3)?))
        },
    );
    let mut values = HashMap::new();
    for (column, value, exists) in columns {
        if exists != Some(true) {
            return Err(Obstacle::NoColumn(column, name.to_owned()).into());
        }
        let value = value.ok_or(Error::UnfitArgument("canary", "it has a null value"))?;
        values.insert(column, value);
    }
    Ok(values)
}
