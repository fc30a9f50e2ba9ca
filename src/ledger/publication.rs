//! Which blocks checkpoints, proofs and exports speak of. With `tenant_guard.publish_after` at
//! `standby flush` those that a failover cannot take back.
//!
//! What is known of blocks and positions stands in shared memory and nowhere else: a server that
//! has just started waits until a standby confirms all there is.

use std::cell::Cell;
use std::ptr;

use pgrx::pg_sys;
use tenant_guard_core::merkle::Hash;
use tenant_guard_core::publication::{Marks, Receiver, Rule, Sealed, Standing};

use super::rows::{for_each_row, with_latest_snapshot};
use super::sealer::{shared, start};
use super::store::{self, LastBlock};
use crate::catalog::as_owner;
use crate::clock::now_us;
use crate::error::Error;
use crate::settings::{self, PublishAfter};

/// How long an export waits for a standby, and between two looks, microseconds.
const PATIENCE: i64 = 10_000_000;
const PAUSE: i64 = 10_000;

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// The block that the running transaction seals.
    static SEALED: Cell<Option<Sealed>> = const { Cell::new(None) };
}

/// Notes that the running transaction seals a block, so that its commit marks where the log holds
/// it.
pub(super) fn note_sealed(block: i64, hash: &Hash) {
    if !REGISTERED.replace(true) {
        // SAFETY: the callback lives as long as the library and never raises.
        unsafe { pg_sys::RegisterXactCallback(Some(transaction_ended), ptr::null_mut()) };
        shared::table();
    }
    SEALED.set(Some(Sealed::new(block, hash)));
}

/// Transaction callback. Whatever it misses, a block sealed by a prepared transaction for one, is
/// marked by whoever asks next.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn transaction_ended(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            if let Some(sealed) = SEALED.take() {
                // SAFETY: a variable of this process, set by the commit that ends here.
                let position = unsafe { pg_sys::XactLastCommitEnd };
                with_marks(|marks| marks.add(sealed, position));
            }
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PREPARE => {
            SEALED.set(None);
        }
        _ => {}
    }
}

/// Works on the marks of this database; `None` where shared memory has no place for them.
fn with_marks<T>(work: impl FnOnce(&mut Marks) -> T) -> Option<T> {
    let entry = start::own_entry()?;
    // SAFETY: set when the process connects.
    let database = unsafe { pg_sys::MyDatabaseId };
    shared::table()?.with_marks(entry, database, work)
}

/// How far the ledger may be spoken of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// To its end.
    Newest,
    /// To this block.
    Block(Sealed),
    /// No block is published.
    Nothing,
}

/// How far the ledger may be spoken of now. A snapshot taken later sees that far.
pub(super) fn limit() -> Limit {
    // SAFETY: reads the state of the server. What a standby has replayed, two servers have.
    let standby = unsafe { pg_sys::RecoveryInProgress() };
    if standby || settings::PUBLISH_AFTER.get() == PublishAfter::Commit {
        return Limit::Newest;
    }
    as_owner(published).map_or(Limit::Nothing, Limit::Block)
}

fn published() -> Option<Sealed> {
    let before = with_marks(|marks| *marks)?;
    let newest = with_latest_snapshot(|| store::sealed(None))?;
    // SAFETY: reads the state of a server that is not in recovery. What a snapshot saw committed
    // stands before this position.
    let position = unsafe { pg_sys::GetXLogInsertRecPtr() };
    let secured = with_latest_snapshot(secured);
    let found = with_marks(|marks| {
        marks.confirm(before, newest, position);
        marks.advance(secured);
        marks.published()
    })??;
    let is_there =
        found == newest || with_latest_snapshot(|| store::sealed(Some(found.block))) == Some(found);
    if !is_there {
        // Marked by a transaction that took the block back at a savepoint, or of another ledger.
        with_marks(|marks| *marks = Marks::default());
        return None;
    }
    Some(found)
}

/// The position up to which standbys keep everything; none while too few are connected.
fn secured() -> Option<u64> {
    let mut receivers = Vec::new();
    // A subscriber of logical replication flushes its own log, not a copy of this one. A receiver
    // of files replays nothing.
    for_each_row(
        c"SELECT s.sync_state, (s.replay_lsn IS NOT NULL)::integer::bigint, \
            (s.flush_lsn OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn)::bigint \
          FROM pg_catalog.pg_stat_get_wal_senders() AS s \
          WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_get_replication_slots() AS r \
            WHERE r.active_pid OPERATOR(pg_catalog.=) s.pid \
              AND r.slot_type OPERATOR(pg_catalog.=) 'logical')",
        &[],
        |row| {
            receivers.push(Receiver {
                standing: match row.optional_text(0) {
                    Some("sync") => Standing::Sync,
                    Some("quorum") => Standing::Quorum,
                    _ => Standing::Other,
                },
                replays: row.bigint(1) == 1,
                flushed: row.optional_bigint(2).and_then(|at| at.try_into().ok()),
            });
        },
    );
    rule().secured(&receivers)
}

/// Who must have flushed a block, by `synchronous_standby_names`.
fn rule() -> Rule {
    // SAFETY: what the setting's text was parsed to, or NULL; replaced only by this process when it
    // reads its configuration.
    let Some(config) = (unsafe { pg_sys::SyncRepConfig.as_ref() }) else {
        return Rule::Any;
    };
    let number = usize::try_from(config.num_sync).unwrap_or_default();
    match u32::from(config.syncrep_method) {
        pg_sys::SYNC_REP_QUORUM => Rule::Quorum(number),
        _ => Rule::First(number),
    }
}

/// The newest block within the limit, as the active snapshot sees it. Raises where there is none.
pub(super) fn newest_block(limit: Limit) -> LastBlock {
    let newest = store::newest_block();
    match limit {
        Limit::Newest => newest,
        Limit::Block(known) if known == newest.sealed() => newest,
        Limit::Block(known) => store::block(known.block)
            .filter(|block| block.sealed() == known)
            .unwrap_or_else(|| Error::NothingPublished.raise()),
        Limit::Nothing => Error::NothingPublished.raise(),
    }
}

/// Waits until everything the active snapshot sees sealed is published, for what cannot speak of
/// less. Raises where that takes too long.
pub(super) fn await_all() {
    let wanted = store::sealed(None).map_or(0, |newest| newest.block);
    let deadline = now_us() + PATIENCE;
    loop {
        match limit() {
            Limit::Newest => return,
            _ if wanted == 0 => return,
            Limit::Block(known) if known.block >= wanted => return,
            _ if now_us() > deadline => Error::NotAllPublished.raise(),
            _ => super::sealer::worker::wait(PAUSE),
        }
        pgrx::check_for_interrupts!();
    }
}

/// The newest published block, and what publication waits for, as text.
pub(super) fn state(newest: Option<i64>) -> (i64, String) {
    let number = match limit() {
        Limit::Newest => newest.unwrap_or(0),
        Limit::Block(known) => known.block,
        Limit::Nothing => 0,
    };
    let text = if settings::PUBLISH_AFTER.get() == PublishAfter::Commit {
        "at commit".to_owned()
    } else if newest.is_none_or(|newest| newest <= number) {
        "up to date".to_owned()
    } else {
        let awaited = with_marks(|marks| marks.awaited());
        match (with_latest_snapshot(secured), awaited) {
            (_, None) => "cannot publish: the server has no shared memory left for it".to_owned(),
            (None, _) => "no standby that counts is connected".to_owned(),
            // It came after the look.
            (_, Some(None)) => "up to date".to_owned(),
            (_, Some(Some(position))) => {
                let (high, low) = (position >> 32, position & 0xffff_ffff);
                format!("waits for a standby to flush {high:X}/{low:X}")
            }
        }
    };
    (number, text)
}
