//! The events of one relation in the order of changes.
//!
//! Transactions take effect on a row one after the other, which is not the order of their ids: one that
//! began first may have waited for the other's lock. Each event is captured after its change and before its
//! transaction ends, so of two transactions that changed one row, all events of the first have earlier
//! times than any change of the second. Within a transaction a row is changed in the order of commands, and
//! a command that others run inside of captures its changes after theirs: its event is therefore placed by
//! the earliest time of what its transaction did to that row from its command on, and other rows do not
//! matter. Where such a transaction changes keys, which row is whose cannot be told here, and all rows of
//! the relation count as one.

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::history::{Event, Names};

use super::limit;
use crate::audit::transaction;
use crate::ledger::rows::{Row, for_each_row};
use crate::ledger::store::{self, query_text};

/// What was said of an event beside what is folded.
pub(super) struct Beside {
    /// Microseconds since PostgreSQL's epoch.
    pub(super) occurred_at: i64,
    /// Number of its context.
    pub(super) context: Option<i16>,
}

/// The events of one relation, under the active snapshot.
pub(super) struct Reading {
    incarnations: Vec<i64>,
    commands: Vec<(EventKey, String, String)>,
    names: Names,
}

/// Actions of the extension that say something of rows.
const ACTIONS: &str = "'{ddl,protect,unprotect,audit,unaudit,annotate,record_baseline}'";

/// What a transaction did, and the commands of it from the last one to that of the event.
const WHOLE: &str = "PARTITION BY t.incarnation, t.xid";
const FROM_LAST: &str = "ORDER BY t.command_id DESC RANGE";

/// Whether an UPDATE changes a column of the key.
const REKEYS: &str = "CASE WHEN t.nested AND t.kind = 'row' AND t.action = 'update' THEN EXISTS ( \
    SELECT FROM json_object_keys(t.data::json -> 'new') AS k (name) \
    WHERE t.row_key::json -> k.name IS NOT NULL) END";

const ORDER: &str = "ORDER BY array_position($1, l.incarnation), l.changed_at, l.xid, l.command_id, \
    l.ordinal";

impl Reading {
    /// Begins with the name the relation has, or had last.
    pub(super) fn of(name: &str) -> Self {
        let mut reading = Self {
            incarnations: Vec::new(),
            commands: Vec::new(),
            names: Names::of(name, &[]),
        };
        if store::exists() {
            reading.incarnations = incarnations();
            reading.read_commands();
            let names = Names::from_commands(name, &reading.commands);
            let free = { names.given_up() }.is_some_and(|event| !is_taken(name, event));
            reading.names = if free { names.of_any() } else { names };
        }
        reading
    }

    /// The same, with what other relations were that had the name before.
    pub(super) fn of_any(name: &str) -> Self {
        let mut reading = Self::of(name);
        reading.names = reading.names.of_any();
        reading
    }

    pub(super) fn names(&self) -> Names {
        self.names.clone()
    }

    /// All commands on whatever relation, in the order of changes.
    pub(super) fn commands(&self) -> &[(EventKey, String, String)] {
        &self.commands
    }

    fn read_commands(&mut self) {
        let query = query_text(&format!(
            "SELECT l.incarnation, l.xid, l.ordinal, l.relation, l.data FROM ( \
                 SELECT t.incarnation, t.xid, t.command_id, t.ordinal, t.relation, t.data, \
                     t.occurred_at AS changed_at \
                 FROM tenant_guard.audit_log AS t \
                 WHERE t.kind = 'system' AND t.action = 'ddl' AND t.relation IS NOT NULL \
                     AND t.data IS NOT NULL) AS l {ORDER}"
        ));
        let commands = &mut self.commands;
        for_each_row(&query, &[array(self.incarnations.clone())], |row| {
            let event = EventKey {
                incarnation: row.bigint(0),
                xid: row.bigint(1),
                ordinal: row.integer(2),
            };
            limit::watch();
            commands.push((event, row.text(3).to_owned(), row.text(4).to_owned()));
        });
    }

    /// Hands over the events of the relation's rows, of one account or of all, and all events of the
    /// extension that may say something of them. Data that a rule let go is the empty text, which
    /// nothing can be read from.
    pub(super) fn for_each(&self, account: Option<&str>, mut each: impl FnMut(&Event<'_>, Beside)) {
        if self.incarnations.is_empty() {
            return;
        }
        let of_account = match account {
            // TRUNCATE is in no account.
            Some(_) => {
                "AND (t.account_id = $3 OR t.account_id = '' AND t.action = 'truncate' \
                     AND t.data IS NULL AND t.data_hash IS NULL)"
            }
            None => "",
        };
        let query = query_text(&format!(
            "SELECT l.incarnation, l.xid, l.command_id, l.occurred_at, l.ordinal, l.context, l.kind, \
                 l.action, l.account_id, l.relation, l.leaf_relation, l.row_key, \
                 COALESCE(l.data, CASE WHEN l.data_hash IS NOT NULL THEN '' END), l.personal, \
                 l.erased \
             FROM (SELECT t.*, CASE \
                     WHEN t.kind = 'system' THEN t.occurred_at \
                     WHEN t.rekeyed THEN t.by_commands \
                     ELSE min(t.occurred_at) OVER ({WHOLE}, t.kind, COALESCE(t.row_key, t.data) \
                         {FROM_LAST} UNBOUNDED PRECEDING) \
                     END AS changed_at \
                 FROM (SELECT t.*, bool_or({REKEYS}) OVER ({WHOLE}) AS rekeyed \
                 FROM (SELECT t.*, bool_or(t.later < t.occurred_at) OVER ({WHOLE}) AS nested \
                 FROM (SELECT t.incarnation, t.xid, t.command_id, t.occurred_at, t.ordinal, t.context, \
                     t.kind, t.action, t.account_id, t.relation, t.leaf_relation, t.row_key, t.data, \
                     t.personal, t.data_hash, \
                     (t.personal_commitment IS NOT NULL AND t.personal IS NULL)::integer AS erased, \
                     min(t.occurred_at) OVER ({WHOLE} {FROM_LAST} UNBOUNDED PRECEDING) AS by_commands, \
                     min(t.occurred_at) OVER ({WHOLE} {FROM_LAST} \
                         BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS later \
                 FROM tenant_guard.audit_log AS t \
                 WHERE t.kind = 'row' AND t.relation = ANY ($2) {of_account} \
                     OR t.kind = 'system' AND t.action = ANY ({ACTIONS})) AS t) AS t) AS t) AS l {ORDER}"
        ));
        let names = self.names.all().into_datum().expect("a vector is no NULL");
        let mut arguments = vec![
            array(self.incarnations.clone()),
            (pg_sys::TEXTARRAYOID, names),
        ];
        if let Some(account) = account {
            let account = account.into_datum().expect("a text is no NULL");
            arguments.push((pg_sys::TEXTOID, account));
        }
        for_each_row(&query, &arguments, |row| {
            let beside = Beside {
                occurred_at: row.bigint(3),
                context: row.optional_smallint(5),
            };
            let event = event_of(row);
            limit::before(&event);
            each(&event, beside);
        });
    }
}

fn event_of<'a>(row: &Row<'a>) -> Event<'a> {
    Event {
        key: EventKey {
            incarnation: row.bigint(0),
            xid: row.bigint(1),
            ordinal: row.integer(4),
        },
        command_id: row.bigint(2),
        kind: row.text(6),
        action: row.text(7),
        account: row.text(8),
        relation: row.optional_text(9),
        leaf: row.optional_text(10),
        row_key: row.optional_text(11),
        data: row.optional_text(12),
        personal: row.optional_text(13),
        erased: row.integer(14) == 1,
    }
}

/// Whether a relation has events under a name that another one gave up by an event.
fn is_taken(name: &str, since: EventKey) -> bool {
    let query = query_text(&format!(
        "SELECT 1 FROM tenant_guard.audit_log AS t \
         WHERE t.relation = $1 AND (t.kind = 'row' OR t.kind = 'system' AND t.action = ANY ({ACTIONS})) \
             AND t.occurred_at > (SELECT e.occurred_at FROM tenant_guard.audit_log AS e \
                 WHERE e.incarnation = $2 AND e.xid = $3 AND e.ordinal = $4) LIMIT 1"
    ));
    let arguments = [
        (
            pg_sys::TEXTOID,
            name.into_datum().expect("a text is no NULL"),
        ),
        (pg_sys::INT8OID, pg_sys::Datum::from(since.incarnation)),
        (pg_sys::INT8OID, pg_sys::Datum::from(since.xid)),
        (pg_sys::INT4OID, pg_sys::Datum::from(since.ordinal)),
    ];
    let mut taken = false;
    for_each_row(&query, &arguments, |_| taken = true);
    taken
}

/// The databases the events are from, in the order of time; this one is the last.
fn incarnations() -> Vec<i64> {
    let mut found: Vec<_> = store::incarnations(store::AUDIT_LOG)
        .into_iter()
        .map(|(incarnation, _)| (first_event(incarnation), incarnation))
        .collect();
    found.sort_unstable();
    let own = transaction::incarnation();
    let before = found.into_iter().map(|(_, incarnation)| incarnation);
    let mut all: Vec<_> = before.filter(|incarnation| *incarnation != own).collect();
    all.push(own);
    all
}

fn first_event(incarnation: i64) -> i64 {
    let mut at = i64::MAX;
    for_each_row(
        c"SELECT occurred_at FROM tenant_guard.audit_log AS t WHERE t.incarnation = $1 \
          ORDER BY t.incarnation, t.xid, t.ordinal LIMIT 1",
        &[(pg_sys::INT8OID, pg_sys::Datum::from(incarnation))],
        |row| at = row.bigint(0),
    );
    at
}

fn array(values: Vec<i64>) -> (pg_sys::Oid, pg_sys::Datum) {
    let datum = values.into_datum().expect("a vector is no NULL");
    (pg_sys::INT8ARRAYOID, datum)
}
