//! Holds as the log tells them. The table of holds is what erasures and retention go by; before any of
//! them does, what the log knows better is put right in it: a table that was emptied, or made anew with
//! the extension, lets nothing go.

use std::collections::BTreeMap;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::history::names_before;
use tenant_guard_core::hold::{Log, Told};

use super::covered::with_relatives;
use super::holds::{Row, all};
use crate::audit::tables::LedgerWriting;
use crate::catalog::{as_owner, write};
use crate::ledger::rows::{for_each_row, with_latest_snapshot};

/// Where an event stands.
#[derive(Clone, Copy)]
struct At {
    key: EventKey,
    occurred_at: i64,
    context: i16,
}

/// Puts the table right. The caller holds the lock of holds.
pub(super) fn mend() {
    let (told, renames) = as_owner(|| with_latest_snapshot(read));
    let known: BTreeMap<i64, Row> = all(None).into_iter().map(|row| (row.id, row)).collect();
    for (id, told) in &told {
        match known.get(id) {
            None => put_back(*id, told),
            // Whatever the table says, nobody released it.
            Some(row) if told.released.is_none() && !tells_the_same(row, told) => {
                correct(*id, told);
            }
            Some(_) => {}
        }
    }
    for row in all(None).into_iter().filter(|row| row.active) {
        let Some(covers) = &row.covers else { continue };
        let of_row = row.row_key.is_some();
        let now =
            as_owner(|| with_latest_snapshot(|| with_relatives(covers.clone(), &renames, of_row)));
        if now != *covers {
            let now: Vec<String> = now.into_iter().collect();
            let _writing = LedgerWriting::begin();
            write(
                "UPDATE tenant_guard.legal_hold AS h SET covers = $2 \
                 WHERE h.id OPERATOR(pg_catalog.=) $1",
                &[row.id.into(), now.into()],
            );
        }
    }
}

/// Changes of relations' names in the log: the name before and the name after.
pub(crate) fn renames() -> Vec<(String, String)> {
    as_owner(|| with_latest_snapshot(read)).1
}

type Read = (BTreeMap<i64, Told<At>>, Vec<(String, String)>);

/// Reads the events of holds, and of commands for changes of names.
fn read() -> Read {
    let (mut log, mut renames) = (Log::default(), Vec::new());
    if !crate::ledger::exists() {
        return (log.finish(), renames);
    }
    for_each_row(
        c"SELECT l.action, l.account_id, l.relation, l.row_key, l.data, l.incarnation, l.xid, \
              l.ordinal, l.occurred_at, l.context \
          FROM tenant_guard.audit_log AS l \
          WHERE l.kind = 'system' AND l.action IN ('place_hold', 'release_hold', 'ddl')",
        &[],
        |row| {
            let (action, relation, data) =
                (row.text(0), row.optional_text(2), row.optional_text(4));
            if action == "ddl" {
                if let Some((relation, data)) = relation.zip(data) {
                    let before = names_before(relation, data).into_iter();
                    renames.extend(before.map(|before| (before, relation.to_owned())));
                }
                return;
            }
            let at = At {
                key: EventKey {
                    incarnation: row.bigint(5),
                    xid: row.bigint(6),
                    ordinal: row.integer(7),
                },
                occurred_at: row.bigint(8),
                context: row.optional_smallint(9).unwrap_or_default(),
            };
            let about = (relation, row.optional_text(3));
            log.take(action, row.text(1), about, data, at);
        },
    );
    (log.finish(), renames)
}

fn tells_the_same(row: &Row, told: &Told<At>) -> bool {
    let covered = |name: &String| {
        row.covers
            .as_ref()
            .is_some_and(|covers| covers.contains(name))
    };
    row.active
        && row.account == told.account
        && row.relation == told.relation
        && row.row_key == told.row_key
        && told.covers.iter().all(covered)
}

/// Writes a row that is gone.
fn put_back(id: i64, told: &Told<At>) {
    let by = |at: At| as_owner(|| with_latest_snapshot(|| session_role(at)));
    let released = told.released.as_ref();
    write(
        "INSERT INTO tenant_guard.legal_hold (id, account_id, relation, row_key, reason, placed_by, \
             placed_at, released_by, released_at, release_reason, covers) \
         VALUES ($1, $2, $3, $4, $5, $6::name, $7, $8::name, $9, $10, $11)",
        &[
            id.into(),
            told.account.as_str().into(),
            told.relation.as_deref().into(),
            told.row_key.as_deref().into(),
            told.reason.as_str().into(),
            by(told.placed).into(),
            time(Some(told.placed)),
            released.map(|(_, at)| by(*at)).into(),
            time(released.map(|(_, at)| *at)),
            released.map(|(reason, _)| reason.as_str()).into(),
            covers(told).into(),
        ],
    );
}

/// Makes a row what the events say.
fn correct(id: i64, told: &Told<At>) {
    let _writing = LedgerWriting::begin();
    write(
        "UPDATE tenant_guard.legal_hold AS h SET account_id = $2, relation = $3, row_key = $4, \
             covers = $5, released_by = NULL, released_at = NULL, release_reason = NULL \
         WHERE h.id OPERATOR(pg_catalog.=) $1",
        &[
            id.into(),
            told.account.as_str().into(),
            told.relation.as_deref().into(),
            told.row_key.as_deref().into(),
            covers(told).into(),
        ],
    );
}

fn covers(told: &Told<At>) -> Option<Vec<String>> {
    let relation = told.relation.clone()?;
    let mut covers = told.covers.clone();
    covers.push(relation);
    covers.sort();
    covers.dedup();
    Some(covers)
}

fn time(at: Option<At>) -> DatumWithOid<'static> {
    match at {
        // SAFETY: microseconds as they were read from a column of this type, which is passed by value.
        Some(at) => unsafe {
            DatumWithOid::new(pg_sys::Datum::from(at.occurred_at), pg_sys::TIMESTAMPTZOID)
        },
        None => DatumWithOid::null_oid(pg_sys::TIMESTAMPTZOID),
    }
}

/// Who wrote an event, by its context; nobody where that is gone.
fn session_role(at: At) -> String {
    let mut role = String::new();
    let arguments = [
        (pg_sys::INT8OID, pg_sys::Datum::from(at.key.incarnation)),
        (pg_sys::INT8OID, pg_sys::Datum::from(at.key.xid)),
        (pg_sys::INT2OID, pg_sys::Datum::from(at.context)),
    ];
    for_each_row(
        c"SELECT c.session_role FROM tenant_guard.audit_context AS c \
          WHERE c.incarnation = $1 AND c.xid = $2 AND c.number = $3",
        &arguments,
        |row| role = row.text(0).to_owned(),
    );
    role
}
