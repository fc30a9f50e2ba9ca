//! Legal holds: what must not be erased, whoever asks.

use pgrx::prelude::*;
use tenant_guard_core::row_key::normalised;

use super::{account_of, why};
use crate::audit::record::record_about;
use crate::catalog::{our_schema, write};
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
    let id = next_id();
    // The session's role: this statement runs as the owner of the extension.
    write(
        "INSERT INTO tenant_guard.legal_hold \
             (id, account_id, relation, row_key, reason, placed_by, placed_at) \
         VALUES ($1, $2, $3, $4, $5, session_user, pg_catalog.statement_timestamp())",
        &[
            id.into(),
            account.as_str().into(),
            relation.into(),
            row_key.as_deref().into(),
            reason.as_str().into(),
        ],
    );
    let data = serde_json::json!({ "hold": id, "reason": reason }).to_string();
    record_about(
        "place_hold",
        &account,
        (relation, row_key.as_deref()),
        &data,
    );
    id
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
    write(
        "UPDATE tenant_guard.legal_hold AS h SET released_by = session_user, \
             released_at = pg_catalog.statement_timestamp(), release_reason = $2 \
         WHERE h.id OPERATOR(pg_catalog.=) $1",
        &[id.into(), reason.as_str().into()],
    );
    let data = serde_json::json!({ "hold": id, "reason": reason }).to_string();
    let about = (hold.relation.as_deref(), hold.row_key.as_deref());
    record_about("release_hold", &hold.account, about, &data);
}

/// Sub-id of the lock on our schema that stands for holds.
const HOLDS: u16 = 0x4C48;

/// Keeps holds as they are until the transaction ends: nobody places or releases one, and nobody
/// else erases. Whoever removes personal values takes it before asking [`Holds::active`].
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
}

/// The holds on an account.
pub(crate) struct Holds(Vec<Hold>);

struct Hold {
    id: i64,
    account: String,
    relation: Option<String>,
    row_key: Option<String>,
    active: bool,
}

impl Holds {
    /// The active ones, as they are now, whatever the transaction's snapshot.
    pub(crate) fn active(account: &str) -> Self {
        let mut holds = all(Some(account));
        holds.retain(|hold| hold.active);
        Self(holds)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first hold on an event of the account about this relation and row.
    pub(crate) fn on(&self, relation: Option<&str>, row_key: Option<&str>) -> Option<i64> {
        let mut key = None;
        let holds = |hold: &&Hold| {
            let of_relation = hold.relation.is_none() || hold.relation.as_deref() == relation;
            of_relation
                && hold.row_key.as_ref().is_none_or(|held| {
                    let key = key.get_or_insert_with(|| row_key.and_then(normalised));
                    key.as_ref() == Some(held)
                })
        };
        self.0.iter().find(holds).map(|hold| hold.id)
    }
}

/// All holds, or those of an account.
fn all(account: Option<&str>) -> Vec<Hold> {
    let mut found = Vec::new();
    let arguments: Vec<_> = account
        .and_then(|account| account.into_datum())
        .map(|account| (pg_sys::TEXTOID, account))
        .into_iter()
        .collect();
    let of_account = match account {
        Some(_) => {
            c"SELECT id, account_id, relation, row_key, released_at FROM tenant_guard.legal_hold \
                     WHERE account_id OPERATOR(pg_catalog.=) $1 ORDER BY id"
        }
        None => {
            c"SELECT id, account_id, relation, row_key, released_at FROM tenant_guard.legal_hold \
                  ORDER BY id"
        }
    };
    crate::catalog::as_owner(|| {
        with_latest_snapshot(|| {
            for_each_row(of_account, &arguments, |row| {
                found.push(Hold {
                    id: row.bigint(0),
                    account: row.text(1).to_owned(),
                    relation: row.optional_text(2).map(str::to_owned),
                    row_key: row.optional_text(3).map(str::to_owned),
                    active: row.optional_bigint(4).is_none(),
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
