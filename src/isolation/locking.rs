//! Locks on tables, had all together or not at all, and never at the price of somebody else's
//! statement.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgrx::prelude::*;
use tenant_guard_core::locking::Schedule;

use super::registry;
use crate::catalog::{our_schema, our_table};
use crate::error::Error;
use crate::subtransaction;
use crate::versions;

const LOCK_ORDER: &str = include_str!("lock_order.sql");
const WAITS: &str = include_str!("lock_waits.sql");
const HOLDERS: &str = include_str!("lock_holders.sql");
const CANCEL_AUTOVACUUM: &str = include_str!("cancel_autovacuum.sql");

/// Locks these relations and everything below them against everybody, to the end of the
/// transaction; what is not the caller's is left out, and refused by whoever reads it afterwards.
///
/// Between attempts nothing is held that was not held before the call. When `lock_timeout` has
/// passed the error names the relation that was not had, and nothing has changed.
pub(super) fn lock_trees(roots: &[pg_sys::Oid]) {
    lock_trees_in(roots, pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE);
}

/// The same against whoever writes.
pub(super) fn hold_off_writers(roots: &[pg_sys::Oid]) {
    lock_trees_in(roots, pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE);
}

fn lock_trees_in(roots: &[pg_sys::Oid], mode: pg_sys::LOCKMODE) {
    let trees = || {
        let mut found = registry::read_often(LOCK_ORDER, &[roots.to_vec().into()], |row| {
            Ok(row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::Oid::INVALID))
        });
        found.retain(|relation| is_the_callers(*relation));
        found
    };
    acquire(&trees, mode);
}

/// Serialises changes of the registry until the transaction ends, readers let through.
pub(super) fn lock_registry() {
    let registry = our_table(c"protection");
    acquire(
        &|| vec![registry],
        pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE,
    );
}

/// Whether the caller could protect it: owned, and neither PostgreSQL's nor ours.
fn is_the_callers(relation: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups by oid; a relation that is gone has no kind.
    unsafe {
        pg_sys::get_rel_relkind(relation) != 0
            && !pg_sys::IsCatalogRelationOid(relation)
            && pg_sys::get_rel_namespace(relation) != our_schema()
            && versions::owns_relation(relation)
    }
}

/// Locks what `relations` finds, and what it finds anew once that is locked.
fn acquire(relations: &dyn Fn() -> Vec<pg_sys::Oid>, mode: pg_sys::LOCKMODE) {
    // Only a transaction with an id reads under a new snapshot once the locks are had.
    // SAFETY: backend-local state and settings, read by their own thread.
    let (lock_timeout, deadlock_timeout) = unsafe {
        pg_sys::GetTopTransactionId();
        (pg_sys::LockTimeout, pg_sys::DeadlockTimeout)
    };
    let mut schedule = Schedule::new(milliseconds(lock_timeout), milliseconds(deadlock_timeout));
    let started = Instant::now();
    let mut wanted = relations();
    loop {
        let turn = schedule.turn(started.elapsed(), waits_of_others);
        let until = Instant::now() + turn;
        let had = subtransaction::kept_if_ok(|| take_all(&wanted, relations, mode, until));
        let Err(missed) = had else {
            return;
        };
        let Some(pause) = schedule.pause(turn, started.elapsed(), versions::any_number()) else {
            refuse(missed, mode, schedule.budget());
        };
        if !turn.is_zero() {
            cancel_autovacuum(missed);
        }
        // The one missed comes first: nobody has to stand behind the others while it is awaited.
        // Stable: those keep their order.
        wanted.sort_by_key(|relation| *relation != missed);
        sleep(pause);
    }
}

fn milliseconds(setting: i32) -> Duration {
    Duration::from_millis(setting.try_into().unwrap_or(0))
}

/// Takes all locks, in queues until `until`, or names the one it did not get.
fn take_all(
    wanted: &[pg_sys::Oid],
    relations: &dyn Fn() -> Vec<pg_sys::Oid>,
    mode: pg_sys::LOCKMODE,
    until: Instant,
) -> Result<(), pg_sys::Oid> {
    let mut had = HashSet::new();
    let mut missing = wanted.to_vec();
    while !missing.is_empty() {
        for relation in missing {
            if !take(relation, mode, until) {
                return Err(relation);
            }
            had.insert(relation);
        }
        missing = relations();
        missing.retain(|relation| !had.contains(relation));
    }
    Ok(())
}

/// Takes one lock, and stands in its queue no longer than `until`.
fn take(relation: pg_sys::Oid, mode: pg_sys::LOCKMODE, until: Instant) -> bool {
    // SAFETY: a relation dropped meanwhile is locked to no effect; the lock ends with the
    // surrounding subtransaction where this or a later one is not had.
    if unsafe { pg_sys::ConditionalLockRelationOid(relation, mode) } {
        return true;
    }
    let left = until.saturating_duration_since(Instant::now()).as_millis();
    if left == 0 {
        return false;
    }
    set_lock_timeout(left);
    PgTryBuilder::new(|| {
        // SAFETY: as above.
        unsafe { pg_sys::LockRelationOid(relation, mode) };
        // The timeout that fired while the lock was granted is not left to a later statement.
        pgrx::check_for_interrupts!();
        true
    })
    .catch_when(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, |_| false)
    .execute()
}

/// Sets `lock_timeout` until the running subtransaction ends, either way.
fn set_lock_timeout(milliseconds: u128) {
    let value = std::ffi::CString::new(milliseconds.to_string()).expect("digits hold no NUL");
    // SAFETY: static name, terminated value; a SAVE entry ends with its nest level, which is the
    // subtransaction's.
    unsafe {
        pg_sys::set_config_option(
            c"lock_timeout".as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}

/// How long each lock wait of another session has lasted.
fn waits_of_others() -> Vec<Duration> {
    registry::read(WAITS, &[], |row| {
        Ok(Duration::from_secs_f64(
            row.get::<f64>(1)?.unwrap_or(0.0).max(0.0),
        ))
    })
}

/// Makes autovacuum give way, as it does to whoever waits in a queue for `deadlock_timeout`,
/// which we never do.
fn cancel_autovacuum(relation: pg_sys::Oid) {
    registry::read(CANCEL_AUTOVACUUM, &[relation.into()], |_| Ok(()));
}

fn refuse(relation: pg_sys::Oid, mode: pg_sys::LOCKMODE, waited: Duration) -> ! {
    let shared = mode != pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
    let found = registry::read(HOLDERS, &[relation.into(), shared.into()], |row| {
        Ok((row.get::<String>(1)?, row.get::<String>(2)?))
    });
    let (name, holders) = found.into_iter().next().unwrap_or_default();
    Error::LockNotHad {
        // It was dropped while its lock was awaited.
        relation: name.unwrap_or_else(|| relation.to_u32().to_string()),
        waited,
        holders: holders.unwrap_or_default(),
    }
    .raise()
}

/// Sleeps for `pause`; a cancel or the end of the server ends it.
fn sleep(pause: Duration) {
    let ended = Instant::now() + pause;
    loop {
        pgrx::check_for_interrupts!();
        let left = ended.saturating_duration_since(Instant::now()).as_millis();
        if left == 0 {
            return;
        }
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        // SAFETY: the process's own latch, set by the handlers of its signals.
        unsafe {
            pg_sys::WaitLatch(
                pg_sys::MyLatch,
                events as i32,
                left.try_into().unwrap_or(1),
                pg_sys::PG_WAIT_EXTENSION,
            );
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
    }
}
