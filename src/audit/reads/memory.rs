//! The memory in which records wait for the log: one segment of dynamic shared memory a database,
//! made when the first relation's reads are audited, or by the first read or refusal after a start of the
//! server.

use std::cell::{Cell, UnsafeCell};
use std::panic::AssertUnwindSafe;
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys;
use pgrx::pg_sys::PgTryBuilder;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::PgSqlErrorCode;
use tenant_guard_core::buffer::{Ring, SMALLEST};

use crate::ledger::sealer::shared;
use crate::ledger::sealer::start::own_entry;
use crate::settings;

/// What stands before the rings.
#[repr(C)]
struct Header {
    lock: UnsafeCell<pg_sys::LWLock>,
    /// Bytes of the ring of reads; that of refusals follows.
    reads: usize,
    refusals: usize,
    /// Names this segment among all there were.
    made_at: i64,
}

const HEADER: usize = 128;
const _: () = assert!(size_of::<Header>() <= HEADER);

/// The segment as this process has it mapped.
#[derive(Clone, Copy)]
pub(super) struct Buffer {
    handle: pg_sys::dsm_handle,
    segment: *mut pg_sys::dsm_segment,
    header: *mut Header,
}

/// Both rings, while the lock is held.
pub(super) struct Rings<'a> {
    pub(super) reads: Ring<'a>,
    pub(super) refusals: Ring<'a>,
}

thread_local! {
    static MAPPED: Cell<Option<Buffer>> = const { Cell::new(None) };
}

impl Buffer {
    /// The buffer of this database, if there is one and this process has it mapped. Touches nothing
    /// that could fail.
    pub(super) fn mapped() -> Option<Self> {
        let handle = own_entry()?.buffer.load(SeqCst);
        MAPPED.get().filter(|mapped| mapped.handle == handle)
    }

    /// The same, mapped now where there is one. Needs a transaction that has not failed.
    pub(super) fn find() -> Option<Self> {
        if let Some(mapped) = Self::mapped() {
            return Some(mapped);
        }
        let handle = own_entry()?.buffer.load(SeqCst);
        if handle == 0 {
            return None;
        }
        // SAFETY: raises where the segment is mapped already, which the handle above excludes.
        let segment = tolerated(|| unsafe { pg_sys::dsm_attach(handle) })?;
        Some(Self::map(handle, segment))
    }

    /// The same, made where there is none; `None` where the server has no memory for it.
    pub(super) fn ensure() -> Option<Self> {
        if let Some(found) = Self::find() {
            return Some(found);
        }
        let entry = own_entry()?;
        let size = (settings::READ_BUFFER.get().max(0) as usize * 1024).max(16 * SMALLEST);
        // SAFETY: flag 0 raises where there is no memory.
        let segment = tolerated(|| unsafe { pg_sys::dsm_create(HEADER + size, 0) })?;
        // SAFETY: a new segment of this size, mapped at this address, which nobody else has yet.
        let handle = unsafe {
            let header = pg_sys::dsm_segment_address(segment).cast::<Header>();
            let refusals = size / 8 / 8 * 8;
            let reads = size - refusals;
            let lock = (&raw mut (*header).lock).cast::<pg_sys::LWLock>();
            pg_sys::LWLockInitialize(lock, shared::table()?.tranche());
            (*header).reads = reads;
            (*header).refusals = refusals;
            (*header).made_at = crate::clock::now_us();
            let memory = header.cast::<u8>().add(HEADER);
            Ring::format(std::slice::from_raw_parts_mut(memory, reads));
            Ring::format(std::slice::from_raw_parts_mut(memory.add(reads), refusals));
            pg_sys::dsm_segment_handle(segment)
        };
        // SAFETY: a segment of ours; it stays until the server ends. Who finds its handle can rely on that.
        unsafe { pg_sys::dsm_pin_segment(segment) };
        match entry.buffer.compare_exchange(0, handle, SeqCst, SeqCst) {
            Ok(_) => Some(Self::map(handle, segment)),
            Err(_) => {
                // SAFETY: somebody else was first; this one goes with its only mapping.
                unsafe {
                    pg_sys::dsm_unpin_segment(handle);
                    pg_sys::dsm_detach(segment);
                }
                Self::find()
            }
        }
    }

    fn map(handle: pg_sys::dsm_handle, segment: *mut pg_sys::dsm_segment) -> Self {
        // SAFETY: just mapped. The mapping of one that is no longer this database's is given up.
        let header = unsafe {
            pg_sys::dsm_pin_mapping(segment);
            if let Some(old) = MAPPED.take() {
                pg_sys::dsm_detach(old.segment);
            }
            pg_sys::dsm_segment_address(segment).cast()
        };
        let mapped = Self {
            handle,
            segment,
            header,
        };
        MAPPED.set(Some(mapped));
        mapped
    }

    /// When the segment was made: with the number of a record, a name for it.
    pub(super) fn made_at(self) -> i64 {
        // SAFETY: mapped, and written once.
        unsafe { (*self.header).made_at }
    }

    /// Bytes of both rings.
    pub(super) fn size(self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.header).reads + (*self.header).refusals }
    }

    /// Runs `work` while nobody else looks at the rings. It must be short and must not raise.
    pub(super) fn with<T>(self, work: impl FnOnce(Rings<'_>) -> T) -> T {
        struct Locked(*mut pg_sys::LWLock);
        impl Drop for Locked {
            fn drop(&mut self) {
                // SAFETY: taken below.
                unsafe { pg_sys::LWLockRelease(self.0) }
            }
        }

        // SAFETY: mapped as long as the process lives; the lock keeps everybody else from the rings,
        // and holds off what would end this process meanwhile.
        unsafe {
            let lock = (&raw mut (*self.header).lock).cast::<pg_sys::LWLock>();
            pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
            let _locked = Locked(lock);
            let (reads, refusals) = ((*self.header).reads, (*self.header).refusals);
            let memory = self.header.cast::<u8>().add(HEADER);
            work(Rings {
                reads: Ring::of(std::slice::from_raw_parts_mut(memory, reads)),
                refusals: Ring::of(std::slice::from_raw_parts_mut(memory.add(reads), refusals)),
            })
        }
    }
}

/// What the server gives, if it does: a lack of memory must not end the statement. The server raises
/// it while it holds no lock, and its remains go with the transaction.
fn tolerated(
    work: impl FnOnce() -> *mut pg_sys::dsm_segment + std::panic::UnwindSafe,
) -> Option<*mut pg_sys::dsm_segment> {
    // SAFETY: reads and puts back what an error resets.
    unsafe {
        let held_off = pg_sys::InterruptHoldoffCount;
        let segment = PgTryBuilder::new(AssertUnwindSafe(work))
            .catch_others(|error| {
                if let CaughtError::PostgresError(report) = &error
                    && report.sql_error_code() == PgSqlErrorCode::ERRCODE_QUERY_CANCELED
                {
                    error.rethrow();
                }
                pg_sys::InterruptHoldoffCount = held_off;
                ptr::null_mut()
            })
            .execute();
        (!segment.is_null()).then_some(segment)
    }
}
