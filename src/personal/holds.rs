//! Legal holds: what must not be erased, whoever asks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pgrx::prelude::*;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::hold::{self, Hold};
use tenant_guard_core::row_key::normalised;

pub(crate) use super::hold_log::renames;

use super::covered::with_relatives;
use super::{account_of, hold_log, keys, known_relation, why};
use crate::audit::record::record_about;
use crate::audit::tables::LedgerWriting;
use crate::catalog::{as_owner, our_schema, our_table, write};
use crate::error::{Error, OrRaise};
use crate::isolation::require_admin;
use crate::ledger::rows::{for_each_row, with_latest_snapshot};

/// Keeps the personal values of an account, of a relation or of one row from being erased.
#[pg_extern(sql = false)]
fn place_hold(
    account: Option<&str>,
    relation: Option<&str>,
    row_key: Option<&str>,
    reason: Option<&str>,
) -> i64 {
    require_admin().or_raise();
    let account = account_of(account).or_raise();
    let reason = why("reason", reason).or_raise();
    let row_key = row_key.map(|key| {
        if relation.is_none() {
            Error::UnfitArgument("row_key", "it is a row of a relation").raise();
        }
        normalised(key).unwrap_or_else(|| Error::UnfitRowKey.raise())
    });
    lock();
    let relation = as_owner(|| {
        with_latest_snapshot(|| {
            refuse_unknown(&account);
            relation.map(known_relation)
        })
    });
    let relation = relation.as_deref();
    let covers = relation.map(|relation| covered_by(&account, relation, row_key.as_deref()));
    let id = next_id();
    // The session's role: this statement runs as the owner of the extension.
    write(
        "INSERT INTO tenant_guard.legal_hold \
             (id, account_id, relation, row_key, reason, placed_by, placed_at, covers) \
         VALUES ($1, $2, $3, $4, $5, session_user, pg_catalog.statement_timestamp(), $6)",
        &[
            id.into(),
            account.as_str().into(),
            relation.into(),
            row_key.as_deref().into(),
            reason.as_str().into(),
            covers.clone().into(),
        ],
    );
    let mut beyond = covers.unwrap_or_default();
    beyond.retain(|name| Some(name.as_str()) != relation);
    record_about(
        hold::PLACE,
        &account,
        (relation, row_key.as_deref()),
        &hold::data(id, &reason, &beyond),
    );
    id
}

/// Raises where a hold would keep nothing, because the log has nothing of the account.
fn refuse_unknown(account: &str) {
    let mut known = false;
    if crate::ledger::exists() {
        let account = account.into_datum().expect("a text is never NULL");
        for_each_row(
            c"SELECT 1::bigint WHERE EXISTS ( \
                  SELECT FROM tenant_guard.ledger_account AS a WHERE a.account_id = $1) \
              OR EXISTS (SELECT FROM tenant_guard.audit_log AS l WHERE l.account_id = $1)",
            &[(pg_sys::TEXTOID, account)],
            |_| known = true,
        );
    }
    if !known {
        Error::AccountWithoutEvents.raise();
    }
}

/// The names of all relations that a hold on one, or on a row of it, is about. Raises where they can have
/// no such row.
fn covered_by(account: &str, relation: &str, row_key: Option<&str>) -> Vec<String> {
    let renames = hold_log::renames();
    let names = BTreeSet::from([relation.to_owned()]);
    let covers = as_owner(|| {
        with_latest_snapshot(|| {
            let covers = with_relatives(names, &renames, row_key.is_some());
            if let Some(key) = row_key {
                keys::refuse_unheld(account, relation, &covers, key);
            }
            covers
        })
    });
    covers.into_iter().collect()
}

/// Ends a hold.
#[pg_extern(sql = false)]
fn release_hold(id: Option<i64>, reason: Option<&str>) {
    require_admin().or_raise();
    let id = id.ok_or(Error::NullArgument("id")).or_raise();
    let reason = why("reason", reason).or_raise();
    lock();
    let found = all(None).into_iter().find(|hold| hold.id == id);
    let hold = found.ok_or(Error::NoHold(id)).or_raise();
    if !hold.active {
        Error::HoldReleased(id).raise();
    }
    {
        let _writing = LedgerWriting::begin();
        write(
            "UPDATE tenant_guard.legal_hold AS h SET released_by = session_user, \
                 released_at = pg_catalog.statement_timestamp(), release_reason = $2 \
             WHERE h.id OPERATOR(pg_catalog.=) $1",
            &[id.into(), reason.as_str().into()],
        );
    }
    let data = hold::data(id, &reason, &[]);
    let about = (hold.relation.as_deref(), hold.row_key.as_deref());
    record_about(hold::RELEASE, &hold.account, about, &data);
}

/// Sub-id of the lock on our schema that stands for holds.
const HOLDS: u16 = 0x4C48;

/// Keeps holds as they are until the transaction ends: nobody places or releases one, and nobody
/// else erases. Whoever removes personal values takes it before asking [`Holds::active`] or the table,
/// which afterwards has every hold that the log tells of.
pub(crate) fn lock() {
    // SAFETY: the schema exists, since our functions are in it; the lock goes with the transaction.
    unsafe {
        pg_sys::LockDatabaseObject(
            pg_sys::NamespaceRelationId,
            our_schema(),
            HOLDS,
            pg_sys::ExclusiveLock as i32,
        );
    }
    hold_log::mend();
}

/// Puts the table of holds right where there is one: the extension may have been made anew beside its
/// ledger.
pub(crate) fn restore() {
    if our_table(c"legal_hold") != pg_sys::Oid::INVALID {
        lock();
    }
}

/// The holds on an account.
pub(crate) struct Holds(Vec<Hold>);

impl Holds {
    /// The active ones, as they are now, whatever the transaction's snapshot.
    pub(crate) fn active(account: &str) -> Self {
        let holds = all(Some(account)).into_iter();
        Self(holds.filter(|row| row.active).map(Row::hold).collect())
    }

    /// The first hold on an event of the account by what the event itself says.
    pub(crate) fn on(
        &self,
        relation: Option<&str>,
        leaf: Option<&str>,
        row_key: Option<&str>,
    ) -> Option<i64> {
        let keeps = |hold: &&Hold| hold.keeps(relation, leaf, row_key);
        self.0.iter().find(keeps).map(|hold| hold.id)
    }

    /// Whether an event that is under none of them by what it says may be of a row that had another key.
    pub(crate) fn follow(&self, relation: Option<&str>, leaf: Option<&str>) -> bool {
        let follows = |hold: &Hold| hold.row_key.is_some() && hold.covers(relation, leaf);
        self.0.iter().any(follows)
    }

    /// All events of the rows that are held, whatever keys they had, each with its hold. Reads the
    /// events of their relations. Under the active snapshot, as the owner.
    pub(crate) fn events_of_rows(&self) -> HashMap<EventKey, i64> {
        let mut rows: BTreeMap<&str, Vec<(&str, i64)>> = BTreeMap::new();
        for hold in &self.0 {
            if let (Some(key), Some(covers)) = (&hold.row_key, &hold.covers) {
                for name in covers {
                    rows.entry(name).or_default().push((key, hold.id));
                }
            }
        }
        let mut found = HashMap::new();
        for (relation, keys) in rows {
            crate::history::events_of_rows(relation, &keys, |event, hold| {
                found.entry(event).or_insert(hold);
            });
        }
        found
    }
}

/// A row of the table of holds.
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) account: String,
    pub(super) relation: Option<String>,
    pub(super) row_key: Option<String>,
    pub(super) active: bool,
    /// The names it is about; none for all relations.
    pub(super) covers: Option<BTreeSet<String>>,
}

impl Row {
    fn hold(self) -> Hold {
        Hold {
            id: self.id,
            account: self.account,
            covers: self.covers,
            row_key: self.row_key,
        }
    }
}

/// All holds, or those of an account.
pub(super) fn all(account: Option<&str>) -> Vec<Row> {
    let mut found = Vec::new();
    let arguments: Vec<_> = account
        .and_then(|account| account.into_datum())
        .map(|account| (pg_sys::TEXTOID, account))
        .into_iter()
        .collect();
    let of_account = match account {
        Some(_) => {
            c"SELECT id, account_id, relation, row_key, released_at, covers FROM tenant_guard.legal_hold \
                     WHERE account_id OPERATOR(pg_catalog.=) $1 ORDER BY id"
        }
        None => {
            c"SELECT id, account_id, relation, row_key, released_at, covers FROM tenant_guard.legal_hold \
                  ORDER BY id"
        }
    };
    as_owner(|| {
        with_latest_snapshot(|| {
            for_each_row(of_account, &arguments, |row| {
                let relation = row.optional_text(2).map(str::to_owned);
                // Its own relation, whatever somebody made of the list.
                let covers = relation.clone().map(|relation| {
                    let listed = row.texts(5).unwrap_or_default().into_iter();
                    listed.map(str::to_owned).chain([relation]).collect()
                });
                found.push(Row {
                    id: row.bigint(0),
                    account: row.text(1).to_owned(),
                    relation,
                    row_key: row.optional_text(3).map(str::to_owned),
                    active: row.optional_bigint(4).is_none(),
                    covers,
                });
            });
        });
    });
    found
}

/// The id after the highest, which nobody else takes under the lock.
fn next_id() -> i64 {
    all(None).last().map_or(1, |hold| hold.id + 1)
}
