//! From the buffer to the log.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::buffer::Taken;
use tenant_guard_core::event::Kind;
use tenant_guard_core::reads::Record;

use super::memory::Buffer;
use crate::audit::events::Event;
use crate::audit::log;
use crate::audit::tables::ensure_ledger;
use crate::catalog::{our_schema, refuse_on_standby};
use crate::error::Error;
use crate::fault::fault_point;
use crate::ledger::sealer::start::own_entry;

/// How long a statement that runs is waited for, in microseconds.
const HELD_US: i64 = 2_000_000;

/// Records that one transaction writes at most.
pub(crate) const MOST: usize = 2_000;

/// Sub-id of our schema at which the lock of whoever empties the buffer stands.
const FLUSHING: u16 = 2;

/// What a transaction has taken out of the buffer and written.
#[derive(Clone, Copy, Default)]
struct Written {
    made_at: i64,
    lost_reads: u64,
    lost_refusals: u64,
}

thread_local! {
    static WRITTEN: Cell<Option<Written>> = const { Cell::new(None) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Whose records are to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those of statements that have ended, or have run for a while.
    Ripe,
    /// All, running or not.
    All,
}

/// What became of an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// Events written.
    pub(crate) events: i64,
    /// Whether something is left for later.
    pub(crate) left: bool,
}

/// Writes what waits in the buffer as events of the running transaction; the room is free when that
/// commits, and the records are there for the next one when it does not.
///
/// One transaction at a time; `wait` says whether to wait for another one's end.
pub(crate) fn flush(which: Which, wait: bool) -> Flushed {
    let nothing = Flushed {
        events: 0,
        left: false,
    };
    let Some(buffer) = Buffer::find() else {
        return nothing;
    };
    let waiting = buffer.with(|rings| {
        rings.reads.has_records()
            || rings.refusals.has_records()
            || rings.reads.lost() + rings.refusals.lost() > 0
    });
    if !waiting || WRITTEN.get().is_some() {
        return nothing;
    }
    if !lock(wait) {
        return Flushed {
            events: 0,
            left: true,
        };
    }
    fault_point!("reads.locked");
    register_callback();
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let (taken, lost, left) = buffer.with(|mut rings| {
        let crowded = rings.reads.used() > rings.reads.capacity() / 2;
        let until = match which {
            Which::Ripe if !crowded => now - HELD_US,
            _ => i64::MAX,
        };
        let mut taken = rings.reads.take(until, MOST);
        taken.extend(rings.refusals.take(i64::MAX, MOST));
        let lost = (rings.reads.lost(), rings.refusals.lost());
        (taken, lost, rings.reads.has_others())
    });
    if taken.is_empty() && lost == (0, 0) {
        unlock();
        return Flushed { events: 0, left };
    }
    WRITTEN.set(Some(Written {
        made_at: buffer.made_at(),
        lost_reads: lost.0,
        lost_refusals: lost.1,
    }));
    fault_point!("reads.taken");
    if !log::exists(&log::AUDIT_LOG) {
        ensure_ledger();
    }
    let written = taken.iter().filter(|taken| write(buffer, taken)).count();
    fault_point!("reads.all_written");
    let unreadable = (taken.len() - written) as u64;
    let lost = (lost.0 + unreadable, lost.1);
    if lost != (0, 0) {
        write_lost(lost);
    }
    Flushed {
        events: written as i64 + i64::from(lost != (0, 0)),
        left,
    }
}

/// Writes the event of a record; false where the record cannot be read, which only memory that somebody
/// else has written into can be.
fn write(buffer: Buffer, taken: &Taken) -> bool {
    let Ok(record) = Record::decode(&taken.content) else {
        return false;
    };
    let counts = &taken.counts;
    let name = super::name(buffer.made_at(), taken.number);
    let data = record.data(&name, counts);
    Event {
        kind: Kind::System,
        action: record.action(counts),
        account: &record.who.account,
        relation: record.relation.as_deref(),
        leaf_relation: record.leaf.as_deref(),
        row_key: None,
        target: None,
        data: Some(&data),
        personal: None,
        redacted: &[],
        hashed: &[],
        command_id: None,
    }
    .write_for(&record.who, taken.added_at);
    fault_point!("reads.event_written");
    true
}

/// The event that says how many there was no room for.
fn write_lost((reads, refusals): (u64, u64)) {
    let data = serde_json::json!({ "reads": reads, "refusals": refusals }).to_string();
    Event {
        kind: Kind::System,
        action: "reads_lost",
        account: "",
        relation: None,
        leaf_relation: None,
        row_key: None,
        target: None,
        data: Some(&data),
        personal: None,
        redacted: &[],
        hashed: &[],
        command_id: None,
    }
    .write();
}

/// To the end of the transaction, so that nobody takes again what this one has taken.
fn lock(wait: bool) -> bool {
    let (catalog, mode) = (pg_sys::NamespaceRelationId, pg_sys::ExclusiveLock as i32);
    // SAFETY: the schema exists while its table of audited reads does; an ERROR releases the lock.
    unsafe {
        match wait {
            true => {
                pg_sys::LockDatabaseObject(catalog, our_schema(), FLUSHING, mode);
                true
            }
            false => pg_sys::ConditionalLockDatabaseObject(catalog, our_schema(), FLUSHING, mode),
        }
    }
}

/// Where nothing was taken, whoever comes next need not wait for the end of this transaction.
fn unlock() {
    let (catalog, mode) = (pg_sys::NamespaceRelationId, pg_sys::ExclusiveLock as i32);
    // SAFETY: gives back what `lock` took last.
    unsafe { pg_sys::UnlockDatabaseObject(catalog, our_schema(), FLUSHING, mode) }
}

/// Writes what waits where no sealer does, with the events of a transaction that commits.
pub(crate) fn with_commit() {
    let unserved = own_entry().is_some_and(|entry| {
        entry.buffer.load(SeqCst) != 0 && entry.running().is_none() && !sealer_comes(entry)
    });
    if unserved {
        flush(Which::Ripe, false);
    }
}

/// Whether a sealer can be expected to empty the buffer.
fn sealer_comes(entry: &crate::ledger::sealer::shared::Entry) -> bool {
    use crate::ledger::sealer::shared::Problem;
    crate::settings::SEAL_INTERVAL.get() > 0 && entry.problem() != Problem::NoSlot
}

fn register_callback() {
    if REGISTERED.replace(true) {
        return;
    }
    // SAFETY: the callback lives as long as the library; it raises before the commit alone.
    unsafe { pg_sys::RegisterXactCallback(Some(transaction_ended), ptr::null_mut()) };
}

/// At COMMIT the events are there for everybody, and the lock is still held.
#[pg_guard]
unsafe extern "C-unwind" fn transaction_ended(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            if let Some(written) = WRITTEN.take() {
                release(written);
            }
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => WRITTEN.set(None),
        // Nobody could tell when it commits.
        pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE if WRITTEN.get().is_some() => {
            Error::PreparedFlush.raise();
        }
        _ => {}
    }
}

fn release(written: Written) {
    let mapped = Buffer::mapped().filter(|buffer| buffer.made_at() == written.made_at);
    let Some(buffer) = mapped else { return };
    if let Some(entry) = own_entry() {
        entry.waiting.store(false, SeqCst);
    }
    let left = buffer.with(|mut rings| {
        rings.reads.release();
        rings.refusals.release();
        rings.reads.forget_lost(written.lost_reads);
        rings.refusals.forget_lost(written.lost_refusals);
        rings.reads.has_records() || rings.refusals.has_records()
    });
    if let Some(entry) = own_entry().filter(|_| left) {
        entry.waiting.store(true, SeqCst);
    }
}

/// Writes all reads and refusals that wait in the buffer into the log; how many events they became.
#[pg_extern(sql = false)]
fn flush_reads() -> i64 {
    refuse_on_standby();
    // SAFETY: reads the state of the running transaction.
    let top = unsafe { pg_sys::GetCurrentTransactionNestLevel() } == 1;
    if !top {
        // What a savepoint takes along would be given free with the rest.
        Error::FlushInSavepoint.raise();
    }
    flush(Which::All, true).events
}

/// The buffer and what it could not take.
#[pg_extern(sql = false)]
fn reads_status() -> TableIterator<
    'static,
    (
        name!(buffer_bytes, i64),
        name!(used_bytes, i64),
        name!(lost_reads, i64),
        name!(lost_refusals, i64),
        name!(unbuffered_reads, i64),
    ),
> {
    let entry = own_entry();
    let unbuffered = entry.map_or(0, |entry| entry.unbuffered.load(SeqCst)) as i64;
    let Some(buffer) = Buffer::find() else {
        return TableIterator::once((0, 0, 0, 0, unbuffered));
    };
    let (used, reads, refusals) = buffer.with(|rings| {
        (
            rings.reads.used() + rings.refusals.used(),
            rings.reads.lost_ever(),
            rings.refusals.lost_ever(),
        )
    });
    TableIterator::once((
        buffer.size() as i64,
        used as i64,
        reads as i64,
        refusals as i64,
        unbuffered,
    ))
}
