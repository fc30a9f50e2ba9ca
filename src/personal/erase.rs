//! Taking personal values out of the log.

use pgrx::prelude::*;
use pgrx::spi::SpiError;
use tenant_guard_core::erasure::{self, MOST_NAMED};
use tenant_guard_core::event::EventKey;

use super::holds::{self, Holds};
use super::{account_of, why};
use crate::audit::record::record_system;
use crate::audit::tables::LedgerWriting;
use crate::catalog::{as_owner, refuse_on_standby};
use crate::error::{Error, OrRaise};
use crate::fault::fault_point;
use crate::isolation::require_admin;
use crate::ledger::rows::{Arguments, for_each_row, with_latest_snapshot};

/// Removes the personal values of these events and their salts, and says so in the log. Returns
/// how many events had some.
#[pg_extern(sql = false)]
fn erase_personal(
    account: Option<&str>,
    events: Option<pgrx::Array<'_, &str>>,
    legal_basis: Option<&str>,
    reason: Option<&str>,
) -> i64 {
    require_admin().or_raise();
    let account = account_of(account).or_raise();
    let legal_basis = why("legal_basis", legal_basis).or_raise();
    let reason = reason.map(|text| why("reason", Some(text)).or_raise());
    let events = events.ok_or(Error::NullArgument("events")).or_raise();
    let keys = keys_of(&events).or_raise();
    refuse_on_standby();
    refuse_old_snapshots().or_raise();
    if keys.is_empty() {
        return 0;
    }
    // Held to the end of the transaction: what is judged here is what is erased.
    holds::lock();
    fault_point!("erase.locked");
    let held = Holds::active(&account);
    as_owner(|| with_latest_snapshot(|| judge(&account, &keys, &held)));
    fault_point!("erase.judged");
    let mut erased = 0;
    for keys in keys.chunks(MOST_NAMED) {
        let found = as_owner(|| erase(keys));
        fault_point!("erase.emptied");
        if !found.is_empty() {
            let data = erasure::data(&found, &legal_basis, reason.as_deref());
            record_system(erasure::ACTION, None, &account, Some(&data));
        }
        erased += found.len() as i64;
    }
    fault_point!("erase.recorded");
    erased
}

/// An UPDATE under the transaction's own snapshot would pass over values that were committed since.
fn refuse_old_snapshots() -> Result<(), Error> {
    // SAFETY: reads backend-local transaction state.
    match unsafe { pg_sys::XactIsoLevel } == pg_sys::XACT_READ_COMMITTED as i32 {
        true => Ok(()),
        false => Err(Error::EraseIsolation),
    }
}

/// The events named, ascending, each once.
fn keys_of(events: &pgrx::Array<'_, &str>) -> Result<Vec<EventKey>, Error> {
    let mut keys = Vec::with_capacity(events.len());
    for id in events.iter() {
        let id = id.ok_or(Error::NullArgument("an element of events"))?;
        keys.push(id.parse::<EventKey>().map_err(|_| Error::UnfitEventId)?);
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// Raises unless all events are there, of the account, and under no hold.
fn judge(account: &str, keys: &[EventKey], held: &Holds) {
    if !crate::ledger::exists() {
        Error::UnknownEvents(keys.len(), keys[0].to_string()).raise();
    }
    let mut unknown = (0, None);
    let mut of_held_relations = Vec::new();
    for keys in keys.chunks(MOST_NAMED) {
        let mut found = Vec::with_capacity(keys.len());
        for_each_row(
            c"SELECT l.incarnation, l.xid, l.ordinal, l.account_id, l.relation, l.leaf_relation, \
                  l.row_key \
              FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) \
                  AS e (incarnation, xid, ordinal) \
              JOIN tenant_guard.audit_log AS l ON l.incarnation OPERATOR(pg_catalog.=) e.incarnation \
                  AND l.xid OPERATOR(pg_catalog.=) e.xid \
                  AND l.ordinal OPERATOR(pg_catalog.=) e.ordinal",
            &arguments(keys),
            |row| {
                let key = EventKey {
                    incarnation: row.bigint(0),
                    xid: row.bigint(1),
                    ordinal: row.integer(2),
                };
                if row.text(3) != account {
                    Error::OtherAccountsEvent(key.to_string()).raise();
                }
                let (relation, leaf) = (row.optional_text(4), row.optional_text(5));
                if let Some(hold) = held.on(relation, leaf, row.optional_text(6)) {
                    Error::Held(key.to_string(), hold).raise();
                }
                if held.follow(relation, leaf) {
                    of_held_relations.push(key);
                }
                found.push(key);
            },
        );
        found.sort_unstable();
        for key in keys.iter().filter(|key| found.binary_search(key).is_err()) {
            unknown.0 += 1;
            unknown.1.get_or_insert(*key);
        }
    }
    if let (count, Some(first)) = unknown {
        Error::UnknownEvents(count, first.to_string()).raise();
    }
    if !of_held_relations.is_empty() {
        let of_rows = held.events_of_rows();
        for key in of_held_relations {
            if let Some(hold) = of_rows.get(&key) {
                Error::Held(key.to_string(), *hold).raise();
            }
        }
    }
}

/// Three lists: incarnations, transactions and ordinals.
fn arguments(keys: &[EventKey]) -> [(pg_sys::Oid, pg_sys::Datum); 3] {
    let list = |list: Option<pg_sys::Datum>| list.expect("a list is never NULL");
    let incarnations: Vec<i64> = keys.iter().map(|key| key.incarnation).collect();
    let xids: Vec<i64> = keys.iter().map(|key| key.xid).collect();
    let ordinals: Vec<i32> = keys.iter().map(|key| key.ordinal).collect();
    [
        (pg_sys::INT8ARRAYOID, list(incarnations.into_datum())),
        (pg_sys::INT8ARRAYOID, list(xids.into_datum())),
        (pg_sys::INT4ARRAYOID, list(ordinals.into_datum())),
    ]
}

/// Removes what these events hold, past the guards of the log. Returns those that held something,
/// ascending.
fn erase(keys: &[EventKey]) -> Vec<EventKey> {
    let _writing = LedgerWriting::begin();
    let arguments: Arguments<'_> = &arguments(keys);
    let arguments: Vec<_> = arguments
        .iter()
        // SAFETY: each value is of the type it comes with.
        .map(|(oid, value)| unsafe { pgrx::datum::DatumWithOid::new(*value, *oid) })
        .collect();
    let erased = Spi::connect_mut(|client| {
        let rows = client.update(
            "UPDATE tenant_guard.audit_log AS l SET personal = NULL, personal_salt = NULL \
             FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) \
                 AS e (incarnation, xid, ordinal) \
             WHERE l.incarnation OPERATOR(pg_catalog.=) e.incarnation \
                 AND l.xid OPERATOR(pg_catalog.=) e.xid \
                 AND l.ordinal OPERATOR(pg_catalog.=) e.ordinal \
                 AND (l.personal IS NOT NULL OR l.personal_salt IS NOT NULL) \
                 AND l.personal_commitment IS NOT NULL \
             RETURNING l.incarnation, l.xid, l.ordinal",
            None,
            &arguments,
        )?;
        rows.map(|row| {
            Ok(EventKey {
                incarnation: row.get(1)?.unwrap_or_default(),
                xid: row.get(2)?.unwrap_or_default(),
                ordinal: row.get(3)?.unwrap_or_default(),
            })
        })
        .collect::<Result<Vec<_>, SpiError>>()
    });
    let mut erased = erased.unwrap_or_else(|error| {
        pgrx::error!("the audit log cannot be written: {error}");
    });
    erased.sort_unstable();
    erased
}
