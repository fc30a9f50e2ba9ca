//! The account of rows that are found by their key: each relation is read as its owner, past row
//! security and under a snapshot of now, as the foreign key's own checks are.

use std::ffi::{CStr, CString};

use pgrx::prelude::*;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::archetype::Archetype;

use super::firing::WATCH;
use super::values::column_number;
use crate::catalog::as_relation_owner;
use crate::error::OrRaise;
use crate::identity::membership::without_children;
use crate::isolation::{lookup, registry};
use crate::kept_plan::KeptPlan;
use crate::ledger::rows::with_latest_snapshot;

/// How a row of one relation is read by its key, and what of it says its account.
pub(super) struct Path {
    pub(super) relation: pg_sys::Oid,
    plan: KeptPlan,
    account: Account,
}

/// The place of a key among the columns read, the place and value of the kind that it is of, and how
/// the row it leads to is read.
pub(super) type Link = (usize, Option<(usize, String)>, Path);

/// What says the account of a row.
pub(super) enum Account {
    /// A column of its own, at this place among those read.
    Column(usize),
    /// The row it leads to.
    Links(Vec<Link>),
}

/// Columns that say the account of rows of a relation; none where nothing does.
pub(super) fn account(root: pg_sys::Oid) -> Option<(Vec<String>, Account)> {
    let request = registry::registered(root)?;
    if request.archetype != Archetype::Child {
        return Some((vec![request.column?], Account::Column(0)));
    }
    let mut columns = Vec::new();
    let mut place = |column: String| {
        let known = columns.iter().position(|known| *known == column);
        known.unwrap_or_else(|| {
            columns.push(column);
            columns.len() - 1
        })
    };
    let mut links = Vec::new();
    for link in request.links {
        let kind = link.when.map(|(column, value)| (place(column), value));
        let key = std::slice::from_ref(&link.parent_key);
        links.push((
            place(link.via),
            kind,
            Path::to(link.parent, link.parent, key)?,
        ));
    }
    Some((columns, Account::Links(links)))
}

impl Path {
    /// How rows of a relation are read by these columns; none where it is not protected.
    pub(super) fn to(relation: pg_sys::Oid, root: pg_sys::Oid, key: &[String]) -> Option<Self> {
        WATCH.add(relation);
        let (read, account) = account(root)?;
        let query = query(relation, &read, key)?;
        let types = vec![pg_sys::TEXTOID; key.len()];
        let prepare = || KeptPlan::of(&query, &types, read.len());
        Some(Self {
            relation,
            plan: as_relation_owner(relation, prepare).or_raise(),
            account,
        })
    }

    /// The accounts of the rows that have this key; of a row without one none.
    pub(super) fn accounts(&self, key: &[String]) -> Vec<Option<String>> {
        self.rows(key)
            .iter()
            .map(|row| self.account.of(row))
            .collect()
    }

    /// What is read of the rows that have this key, each different row once.
    fn rows(&self, key: &[String]) -> Vec<Vec<Option<String>>> {
        as_relation_owner(self.relation, || {
            with_latest_snapshot(|| {
                let texts = key.iter().map(|text| text.as_str().into_datum());
                self.plan.rows(texts.flatten().collect())
            })
        })
        .or_raise()
    }
}

impl Account {
    /// The account of a row whose columns were read.
    pub(super) fn of(&self, row: &[Option<String>]) -> Option<String> {
        match self {
            Self::Column(place) => {
                let text = row[*place].as_deref()?;
                AccountId::from_text(text)
                    .ok()
                    .map(|account| account.as_str().to_owned())
            }
            Self::Links(links) => links.iter().find_map(|(via, kind, path)| {
                if let Some((place, value)) = kind
                    && row[*place].as_ref() != Some(value)
                {
                    return None;
                }
                let key = row[*via].clone()?;
                path.accounts(&[key]).into_iter().next().flatten()
            }),
        }
    }
}

/// Reads columns of the rows with a key, each different row once.
fn query(relation: pg_sys::Oid, read: &[String], key: &[String]) -> Option<CString> {
    let read = lookup::quoted(read).into_iter();
    let read: Vec<_> = read
        .map(|column| format!("s.{column}::pg_catalog.text"))
        .collect();
    let mut conditions = Vec::new();
    for (n, (name, column)) in key.iter().zip(lookup::quoted(key)).enumerate() {
        let kind = type_name(relation, name)?;
        conditions.push(format!(
            "s.{column} OPERATOR(pg_catalog.=) ${}::{kind}",
            n + 1
        ));
    }
    let text = format!(
        "SELECT DISTINCT {} FROM {} AS s WHERE {}",
        read.join(", "),
        without_children(relation),
        conditions.join(" AND ")
    );
    CString::new(text).ok()
}

/// The type of a column, of a domain the one below, as a cast writes it.
fn type_name(relation: pg_sys::Oid, column: &str) -> Option<String> {
    let number = column_number(relation, column)?;
    // SAFETY: catalog look-ups by oid; the text is a terminated copy.
    unsafe {
        let kind = pg_sys::getBaseType(pg_sys::get_atttype(relation, number));
        let text = pg_sys::format_type_be_qualified(kind);
        Some(CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
