//! The record of runs: what each was begun with, and how far it has come.
//!
//! The caller's search path is in force here, so everything is qualified, operators too.

use std::collections::HashSet;

use pgrx::prelude::*;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::migration;

use crate::catalog::{as_owner, our_table, write};
use crate::error::{Error, Failure, OrRaise};
use crate::ledger::rows::{for_each_row, with_latest_snapshot};

/// Keeps a second call of a run away. It outlives the transactions of the first, and goes with its
/// session or its error.
///
/// A lock on an object no other code locks, rather than an advisory lock: those any session may
/// take and hold.
pub(crate) struct RunLock(pg_sys::LOCKTAG);

impl RunLock {
    pub(crate) fn take(run: &str) -> Result<Self, Error> {
        let lock = Self::of(run);
        lock.acquire(run, true)?;
        Ok(lock)
    }

    pub(crate) fn release(self) {
        // SAFETY: held by this session since `take`.
        unsafe { pg_sys::LockRelease(&self.0, pg_sys::ExclusiveLock as i32, true) };
    }

    fn of(run: &str) -> Self {
        let (high, low) = migration::lock_key(run);
        // SAFETY: set when the process connects.
        let database = unsafe { pg_sys::MyDatabaseId };
        let table = our_table(c"migration_run");
        Self(pg_sys::LOCKTAG {
            locktag_field1: database.to_u32(),
            locktag_field2: table.to_u32(),
            locktag_field3: high,
            locktag_field4: low,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        })
    }

    fn acquire(&self, run: &str, for_session: bool) -> Result<(), Error> {
        // SAFETY: a complete lock tag; without waiting the call returns at once. A lock of the
        // default method that is held for the session goes when a transaction of it aborts.
        let result = unsafe {
            let mode = pg_sys::ExclusiveLock as i32;
            pg_sys::LockAcquire(&self.0, mode, for_session, true)
        };
        match result {
            pg_sys::LockAcquireResult::LOCKACQUIRE_OK => Ok(()),
            _ => Err(Error::RunBusy(run.to_owned())),
        }
    }
}

/// Begins a run or takes it up again. Returns the accounts that are not done.
pub(super) fn begin(
    run: &str,
    hash: &str,
    reason: &str,
    accounts: Vec<AccountId>,
) -> Result<Vec<AccountId>, Error> {
    write(
        "INSERT INTO tenant_guard.migration_run \
         (run, statements_hash, reason, begun_by, begun_at) \
         VALUES ($1, $2, $3, SESSION_USER, pg_catalog.clock_timestamp()) \
         ON CONFLICT (run) DO NOTHING",
        &[run.into(), hash.into(), reason.into()],
    );
    if read(
        "SELECT r.statements_hash FROM tenant_guard.migration_run AS r \
             WHERE r.run OPERATOR(pg_catalog.=) $1",
        run,
    ) != [hash]
    {
        return Err(Error::OtherStatements(run.to_owned()));
    }
    let texts: Vec<_> = accounts.iter().map(|a| a.as_str().to_owned()).collect();
    write(
        "INSERT INTO tenant_guard.migration_run_account (run, account_id, state) \
         SELECT $1, a.account, 'pending' \
         FROM pg_catalog.unnest($2::pg_catalog.text[]) AS a (account) \
         ON CONFLICT (run, account_id) DO NOTHING",
        &[run.into(), texts.into()],
    );
    // Where the last call was cut off.
    write(
        "UPDATE tenant_guard.migration_run_account AS a SET state = 'pending', started_at = NULL \
         WHERE a.run OPERATOR(pg_catalog.=) $1 AND a.state OPERATOR(pg_catalog.=) 'running'",
        &[run.into()],
    );
    let done: HashSet<_> = read(
        "SELECT a.account_id FROM tenant_guard.migration_run_account AS a \
         WHERE a.run OPERATOR(pg_catalog.=) $1 AND a.state OPERATOR(pg_catalog.=) 'done'",
        run,
    )
    .into_iter()
    .collect();
    let open = accounts.into_iter();
    Ok(open
        .filter(|account| !done.contains(account.as_str()))
        .collect())
}

/// Records that the account's turn has come.
pub(super) fn start(run: &str, account: &AccountId) {
    write(
        "UPDATE tenant_guard.migration_run_account AS a SET state = 'running', \
             started_at = pg_catalog.clock_timestamp(), finished_at = NULL, rows = NULL, \
             sqlstate = NULL, message = NULL \
         WHERE a.run OPERATOR(pg_catalog.=) $1 AND a.account_id OPERATOR(pg_catalog.=) $2",
        &[run.into(), account.as_str().into()],
    );
}

/// Records that the account is done, in the transaction that did it.
pub(super) fn finish(run: &str, account: &AccountId, rows: u64) {
    write(
        "UPDATE tenant_guard.migration_run_account AS a SET state = 'done', \
             finished_at = pg_catalog.clock_timestamp(), rows = $3 \
         WHERE a.run OPERATOR(pg_catalog.=) $1 AND a.account_id OPERATOR(pg_catalog.=) $2",
        &[
            run.into(),
            account.as_str().into(),
            i64::try_from(rows).unwrap_or(i64::MAX).into(),
        ],
    );
}

/// Records that the statements failed for the account.
pub(super) fn fail(run: &str, account: &AccountId, failure: &Failure, by_server: bool) {
    let sqlstate = failure.sqlstate();
    let message = migration::recorded_message(&sqlstate, &failure.message, by_server);
    write(
        "UPDATE tenant_guard.migration_run_account AS a SET state = 'failed', \
             finished_at = pg_catalog.clock_timestamp(), sqlstate = $3, message = $4 \
         WHERE a.run OPERATOR(pg_catalog.=) $1 AND a.account_id OPERATOR(pg_catalog.=) $2",
        &[
            run.into(),
            account.as_str().into(),
            sqlstate.into(),
            message.into(),
        ],
    );
}

/// The texts a query about a run gives.
fn read(query: &str, run: &str) -> Vec<String> {
    let query = std::ffi::CString::new(query).expect("our queries hold no NUL");
    let run = run.into_datum().expect("a text has a value");
    let mut texts = Vec::new();
    as_owner(|| {
        with_latest_snapshot(|| {
            for_each_row(&query, &[(pg_sys::TEXTOID, run)], |row| {
                texts.push(row.text(0).to_owned());
            });
        });
    });
    texts
}

/// Forgets a run, so that its name is free and its accounts can be visited again.
#[pg_extern(sql = false)]
fn forget_run(run: &str) {
    RunLock::of(run).acquire(run, false).or_raise();
    let run_is = "run OPERATOR(pg_catalog.=) $1";
    let found = write(
        &format!("DELETE FROM tenant_guard.migration_run WHERE {run_is}"),
        &[run.into()],
    );
    if found == 0 {
        Error::UnknownRun(run.to_owned()).raise();
    }
    write(
        &format!("DELETE FROM tenant_guard.migration_run_account WHERE {run_is}"),
        &[run.into()],
    );
}
