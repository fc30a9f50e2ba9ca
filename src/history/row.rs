//! The events of one row.

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::history::{Track, is_object};

use super::access;
use super::answer::{Answer, text};
use super::events::Reading;
use super::limit;
use crate::catalog::as_owner;
use crate::error::{Error, OrRaise};
use crate::ledger::rows::{for_each_row, with_latest_snapshot};
use crate::raw::{json_argument, raw_function, text_argument};

raw_function! {
    /// `row_history(relation text, key jsonb, account text) returns table(...)`.
    tenant_guard_row_history, pg_finfo_tenant_guard_row_history, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the arguments are text, jsonb and text, and the function
        // returns a set.
        let (relation, key, account, answer) = unsafe {
            let relation = text_argument(fcinfo, 0);
            let key = json_argument(fcinfo, 1);
            (relation, key, text_argument(fcinfo, 2), Answer::begin(fcinfo))
        };
        let relation = super::named(relation.as_deref()).or_raise();
        let key = key.ok_or(Error::NullArgument("key")).or_raise();
        if !is_object(&key) {
            Error::UnfitArgument("key", "it must be an object of the key's columns").raise();
        }
        let account = access::account(account.as_deref());
        as_owner(|| with_latest_snapshot(|| history(&relation, &key, account.as_deref(), &answer)));
        pg_sys::Datum::from(0)
    }
}

fn history(relation: &str, key: &str, account: Option<&str>, answer: &Answer) {
    limit::begin();
    let reading = Reading::of(relation);
    let track = Track::new(reading.names(), reading.commands(), key);
    let mut track = track.watched(limit::watch);
    reading.for_each(account, |event, _| track.look(event));
    track.decide();
    reading.for_each(account, |event, beside| {
        // TRUNCATE is read for every account, and is in none.
        if account.is_some_and(|account| account != event.account) && event.kind == "row" {
            return;
        }
        let Some(note) = track.take(event) else {
            return;
        };
        let (subject, roles) = who(event.key, beside.context);
        answer.put([
            text(Some(&event.key.to_string())),
            Some(pg_sys::Datum::from(beside.occurred_at)),
            text(Some(event.action)),
            text(note.text()),
            text(Some(event.account)),
            text(event.relation),
            text(event.leaf),
            text(event.row_key),
            text(subject.as_deref()),
            roles.and_then(IntoDatum::into_datum),
            text(event.data.filter(|data| !data.is_empty())),
            text(event.personal),
        ]);
    });
}

/// Hands over the events of rows of a relation, whatever keys they had, and of relations that had its name
/// before it: each of `keys` is that of a row
/// with a number that comes back with the events. Under the active snapshot, as the owner.
pub(crate) fn events_of_rows(
    relation: &str,
    keys: &[(&str, i64)],
    mut found: impl FnMut(EventKey, i64),
) {
    let reading = Reading::of_any(relation);
    let track = |(key, number): &(&str, i64)| {
        (
            Track::new(reading.names(), reading.commands(), key).of_any(),
            *number,
        )
    };
    let mut tracks: Vec<(Track, i64)> = keys.iter().map(track).collect();
    reading.for_each(None, |event, _| {
        tracks.iter_mut().for_each(|(track, _)| track.look(event));
    });
    tracks.iter_mut().for_each(|(track, _)| track.decide());
    reading.for_each(None, |event, _| {
        for (track, number) in &mut tracks {
            if track.take(event).is_some() {
                found(event.key, *number);
            }
        }
    });
}

/// Subject and roles of an event's context.
fn who(event: EventKey, context: Option<i16>) -> (Option<String>, Option<Vec<String>>) {
    let mut found = (None, None);
    let Some(context) = context else { return found };
    let arguments = [
        (pg_sys::INT8OID, pg_sys::Datum::from(event.incarnation)),
        (pg_sys::INT8OID, pg_sys::Datum::from(event.xid)),
        (pg_sys::INT2OID, pg_sys::Datum::from(context)),
    ];
    for_each_row(
        c"SELECT c.subject, c.role FROM tenant_guard.audit_context AS c \
          WHERE c.incarnation = $1 AND c.xid = $2 AND c.number = $3",
        &arguments,
        |row| {
            let roles = row.texts(1);
            found = (
                row.optional_text(0).map(str::to_owned),
                roles.map(|roles| roles.into_iter().map(str::to_owned).collect()),
            );
        },
    );
    found
}
