//! The events that hold personal values of given rows.

use std::collections::HashSet;

use pgrx::prelude::*;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::row_key::normalised;

use super::{account_of, keys, known_relation};
use crate::catalog::as_owner;
use crate::error::{Error, OrRaise};
use crate::ledger::reads_ledger;
use crate::ledger::rows::{Row, for_each_row, with_latest_snapshot};
use crate::raw::{raw_function, text_argument};
use crate::versions::{self, SetRows};

raw_function! {
    /// `personal_events(account text, relation text, row_keys text[])`; without the last, of all rows.
    tenant_guard_personal_events, pg_finfo_tenant_guard_personal_events, |fcinfo| {
        if !reads_ledger() {
            Error::NotAdmin.raise();
        }
        // SAFETY: PostgreSQL passed `fcinfo`; the arguments are text, text and, where there is a third,
        // text[].
        let (account, relation, row_keys) = unsafe {
            let row_keys = ((*fcinfo).nargs > 2)
                .then(|| pgrx::fcinfo::pg_getarg::<Vec<Option<String>>>(fcinfo, 2));
            (text_argument(fcinfo, 0), text_argument(fcinfo, 1), row_keys)
        };
        let account = account_of(account.as_deref()).or_raise();
        let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
        // NULL is what array_agg makes of no rows, and must not mean all of them.
        let row_keys = row_keys.map(|keys| keys.ok_or(Error::NullArgument("row_keys")).or_raise());
        let wanted = row_keys.map(keys_of);
        // SAFETY: the function is declared to return a set, and the caller's resources own what
        // is set up here.
        let mut found = unsafe {
            let (store, descriptor) = versions::begin_set(fcinfo, SetRows::Declared);
            Found { store, descriptor }
        };
        as_owner(|| {
            with_latest_snapshot(|| {
                let relation = known_relation(&relation);
                if let Some(wanted) = &wanted {
                    keys::refuse_foreign(&relation, wanted);
                }
                find(&account, &relation, wanted.as_ref(), &mut found);
            });
        });
        pg_sys::Datum::from(0)
    }
}

/// Row keys in the form they are compared in.
fn keys_of(row_keys: Vec<Option<String>>) -> HashSet<String> {
    let key = |key: Option<String>| {
        let key = key
            .ok_or(Error::NullArgument("an element of row_keys"))
            .or_raise();
        normalised(&key).ok_or(Error::UnfitRowKey).or_raise()
    };
    row_keys.into_iter().map(key).collect()
}

/// Reads the log once, however many keys are wanted.
fn find(account: &str, relation: &str, wanted: Option<&HashSet<String>>, found: &mut Found) {
    if !crate::ledger::exists() {
        return;
    }
    let text = |text: &str| {
        (
            pg_sys::TEXTOID,
            text.into_datum().expect("a text is never NULL"),
        )
    };
    for_each_row(
        // Without a primary key the whole row names it, which an INSERT has in its data alone.
        c"SELECT incarnation, xid, ordinal, \
              CASE WHEN row_key IS NULL AND action OPERATOR(pg_catalog.=) 'insert' THEN data \
                  ELSE row_key END, \
              occurred_at, action, personal \
          FROM tenant_guard.audit_log \
          WHERE account_id OPERATOR(pg_catalog.=) $1 AND relation OPERATOR(pg_catalog.=) $2 \
              AND personal IS NOT NULL \
          ORDER BY incarnation, xid, ordinal",
        &[text(account), text(relation)],
        |row| {
            let wanted = wanted.is_none_or(|wanted| {
                let key = row.optional_text(3).and_then(normalised);
                key.is_some_and(|key| wanted.contains(&key))
            });
            if wanted {
                found.put(row);
            }
        },
    );
}

/// Rows of the result. What does not fit into work_mem the server keeps in a temporary file.
struct Found {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
}

impl Found {
    fn put(&mut self, row: &Row<'_>) {
        let key = EventKey {
            incarnation: row.bigint(0),
            xid: row.bigint(1),
            ordinal: row.integer(2),
        };
        let texts = [
            Some(key.to_string()),
            row.optional_text(3).map(str::to_owned),
            row.optional_text(5).map(str::to_owned),
            row.optional_text(6).map(str::to_owned),
        ];
        let [id, row_key, action, personal] = texts.map(IntoDatum::into_datum);
        let time = row.optional_bigint(4).map(pg_sys::Datum::from);
        let row = [id, row_key, time, action, personal];
        let mut values = row.map(|value| value.unwrap_or(pg_sys::Datum::from(0)));
        let mut nulls = row.map(|value| value.is_none());
        // SAFETY: the store was made for rows of these five columns and copies them, so that the
        // texts can be freed, which spares the memory of a whole export.
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.descriptor,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            for text in [id, row_key, action, personal].into_iter().flatten() {
                pg_sys::pfree(text.cast_mut_ptr());
            }
        }
    }
}
