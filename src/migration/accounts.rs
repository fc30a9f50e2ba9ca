//! Which accounts a data migration visits.

use std::collections::BTreeSet;

use pgrx::pg_sys;
use tenant_guard_core::account::AccountId;

use crate::catalog::as_owner;
use crate::error::Error;
use crate::identity::membership;
use crate::ledger::rows::{for_each_row, with_latest_snapshot};

/// The accounts asked for, or else all of them, in the order of their canonical texts.
///
/// All are those of the declared relation of accounts, suspended ones too: they are locked out,
/// their rows are still to be migrated. Where none is declared, all are those that have rows in
/// protected relations.
pub(super) fn chosen(asked: Option<&[String]>) -> Result<BTreeSet<AccountId>, Error> {
    let declared = membership::accounts()?.map(|keys| ids(&keys));
    let Some(asked) = asked else {
        return declared.map_or_else(in_protected_relations, Ok);
    };
    let asked = asked
        .iter()
        .map(|account| AccountId::from_text(account).map_err(|_| Error::UnfitAccount))
        .collect::<Result<BTreeSet<_>, _>>()?;
    if let Some(declared) = declared
        && let Some(unknown) = asked.difference(&declared).next()
    {
        return Err(Error::UnknownAccount(unknown.to_string()));
    }
    Ok(asked)
}

/// Those of the texts that can name an account: rows of others are nobody's.
fn ids(texts: &[String]) -> BTreeSet<AccountId> {
    let ids = texts.iter().map(|text| AccountId::from_text(text));
    ids.filter_map(Result::ok).collect()
}

fn in_protected_relations() -> Result<BTreeSet<AccountId>, Error> {
    let mut tables = Vec::new();
    as_owner(|| {
        with_latest_snapshot(|| {
            for_each_row(
                c"SELECT m.relation::pg_catalog.oid::pg_catalog.int8, \
                  m.account_column::pg_catalog.text \
                  FROM tenant_guard.protection_member AS m \
                  JOIN pg_catalog.pg_class AS c \
                      ON c.oid OPERATOR(pg_catalog.=) m.relation::pg_catalog.oid \
                  WHERE c.relkind OPERATOR(pg_catalog.=) 'r' AND m.account_column IS NOT NULL \
                  ORDER BY 1",
                &[],
                |row| {
                    let relation = pg_sys::Oid::from(row.bigint(0) as u32);
                    tables.push((relation, row.text(1).to_owned()));
                },
            );
        });
    });
    let mut found = BTreeSet::new();
    for (relation, column) in tables {
        pgrx::check_for_interrupts!();
        found.extend(ids(&membership::accounts_in(relation, &column)?));
    }
    Ok(found)
}
