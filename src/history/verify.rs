//! Whether a table is what its events made of it.

use pgrx::pg_sys;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::history::{Difference, Fold, Misfit, Scope, Unknown};

use super::answer::Answer;
use super::events::Reading;
use super::limit;
use crate::audit::standing;
use crate::audit::text::qualified_name;
use crate::catalog::as_owner;
use crate::error::{Error, Looking, OrRaise, why_unknown};
use crate::ledger::rows::with_latest_snapshot;
use crate::raw::raw_function;

raw_function! {
    /// `verify_state(relation regclass) returns table(code, account_id, row_key, detail)`.
    tenant_guard_verify_state, pg_finfo_tenant_guard_verify_state, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the argument is an oid, and the function returns a set.
        let (relation, answer) = unsafe {
            let relation = pgrx::fcinfo::pg_getarg_datum(fcinfo, 0);
            (relation, Answer::begin(fcinfo))
        };
        let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
        verify(pg_sys::Oid::from(relation.value() as u32), &answer);
        pg_sys::Datum::from(0)
    }
}

fn verify(relation: pg_sys::Oid, answer: &Answer) {
    // SAFETY: a lock and a catalog look-up by oid.
    let is_partition = unsafe {
        pg_sys::LockRelationOid(relation, pg_sys::AccessShareLock as i32);
        pg_sys::get_rel_relispartition(relation)
    };
    let name = qualified_name(relation);
    if is_partition {
        Error::Looking(Looking::Partition(name)).raise();
    }
    standing::refuse_uncaptured(relation);
    let tables = standing::tables_of(relation);
    with_latest_snapshot(|| {
        let (mut fold, misfits) = as_owner(|| folded(&name));
        for (event, unknown) in misfits {
            let detail = format!("event {event}: {}", why_unknown(&unknown));
            answer.put_texts([Some("event_unfit"), None, None, Some(&detail)]);
        }
        if let Err(unknown) = fold.known() {
            let detail = said(&unknown);
            return answer.put_texts([Some("state_unknown"), None, None, Some(&detail)]);
        }
        for unknown in fold.unknown_columns() {
            let detail = said(&unknown);
            answer.put_texts([Some("column_unknown"), None, None, Some(&detail)]);
        }
        // The heap is read with the caller's own rights: nothing in it is ours.
        for table in tables {
            standing::for_each(table, |row| {
                let (code, detail) =
                    match fold.compare(row.account, row.row_key, row.data, row.personal) {
                        Difference::None => return,
                        Difference::Unknown(unknown) => {
                            let detail = said(&unknown);
                            let found = [Some("state_unknown"), None, None, Some(&detail)];
                            return answer.put_texts(found);
                        }
                        Difference::NoEvents => ("row_unknown", None),
                        Difference::Account => ("account_differs", None),
                        Difference::Columns(columns) => ("row_differs", Some(columns.join(", "))),
                    };
                let found = [
                    Some(code),
                    Some(row.account),
                    row.row_key,
                    detail.as_deref(),
                ];
                answer.put_texts(found);
            });
        }
        let has_key = fold.has_key();
        for gone in fold.rows() {
            limit::watch();
            let key = has_key.then_some(gone.row_key.as_str());
            answer.put_texts([Some("row_missing"), Some(&gone.account), key, None]);
        }
    });
}

/// The rows that all events made, and the events that did not fit since rows were last known anew.
fn folded(name: &str) -> (Fold, Vec<(EventKey, Unknown)>) {
    limit::begin();
    let reading = Reading::of(name);
    let mut fold = Fold::new(reading.names(), Scope::All).watched(limit::watch);
    let (mut misfits, mut begun) = (Vec::new(), fold.begun());
    reading.for_each(None, |event, _| {
        let applied = fold.apply(event);
        if fold.begun() != begun {
            begun = fold.begun();
            misfits.clear();
        }
        if let Err(Misfit::Unknown(unknown)) = applied {
            misfits.push((event.key, unknown));
        }
    });
    (fold, misfits)
}

fn said(unknown: &Unknown) -> String {
    match &unknown.event {
        Some(event) => format!("since event {event}: {}", why_unknown(unknown)),
        None => why_unknown(unknown),
    }
}
