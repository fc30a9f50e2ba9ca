//! The sealers of the server, one entry a database, in shared memory.
//!
//! Without preloading the table is made on first use, out of what the server keeps in reserve,
//! as contrib/pg_prewarm makes its own. A commit looks at one word of it.

use std::cell::{Cell, UnsafeCell};
use std::fs::read_dir;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst,
};

use pgrx::pg_sys;
use pgrx::pg_sys::PgTryBuilder;
use tenant_guard_core::publication::Marks;
use tenant_guard_core::sealing::retry_after;

use crate::clock::now_us;

/// Longest text of a failure that is kept, in bytes.
const LONGEST_MESSAGE: usize = 200;

/// Why no sealer runs although one is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Problem {
    /// There is none.
    None = 0,
    /// A worker slot is not free, or would be the last one.
    NoSlot = 1,
    /// The last round failed.
    Failed = 2,
}

/// What is known of the sealer of one database.
#[repr(C)]
pub(crate) struct Entry {
    /// 0 in an entry nobody uses.
    database: AtomicU32,
    /// Process of the sealer that runs, or 0.
    pub(super) pid: AtomicI32,
    /// Events were committed since the last round began.
    pub(super) pending: AtomicBool,
    /// Somebody waits for a round.
    pub(super) urgent: AtomicBool,
    /// A value of [`Problem`].
    problem: AtomicU8,
    /// The running sealer's.
    latch: AtomicPtr<pg_sys::Latch>,
    /// When a sealer was asked for that does not run yet, or 0.
    pub(super) asked_at: AtomicI64,
    /// None is started before.
    pub(super) not_before: AtomicI64,
    /// When the last round went well, or 0.
    pub(super) last_round: AtomicI64,
    /// Process that has kept several rounds from being one, or 0.
    pub(super) waits_for: AtomicI32,
    /// Rounds that failed one after the other.
    pub(super) failures: AtomicU32,
    /// Sealers that ended before their first round did, one after the other.
    fruitless: AtomicU32,
    /// Handle of the memory in which reads wait for the log, or 0.
    pub(crate) buffer: AtomicU32,
    /// Something waits there.
    pub(crate) waiting: AtomicBool,
    /// When something was put there last.
    pub(crate) last_read: AtomicI64,
    /// Reads that were lost because there was no such memory to be had, or written to the server's
    /// log on a standby.
    pub(crate) unbuffered: AtomicU64,
    /// Guarded by the table's lock.
    message: UnsafeCell<Message>,
    /// Guarded by the table's lock.
    marks: UnsafeCell<Marks>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    length: u16,
    text: [u8; LONGEST_MESSAGE],
}

#[repr(C)]
struct Header {
    lock: UnsafeCell<pg_sys::LWLock>,
    tranche: i32,
    entries: u32,
}

// The entries follow the header.
const _: () = assert!(size_of::<Header>().is_multiple_of(align_of::<Entry>()));

/// The table as this process sees it.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    header: &'static Header,
    entries: &'static [Entry],
}

/// Holds the table's lock.
struct Locked(*mut pg_sys::LWLock);

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: taken by `Table::lock`; nothing under it raises, which would release it too.
        unsafe { pg_sys::LWLockRelease(self.0) }
    }
}

thread_local! {
    static TABLE: Cell<Option<Option<Table>>> = const { Cell::new(None) };
}

/// Entries of the table: no more sealers than workers can run.
fn capacity() -> usize {
    // SAFETY: set at the start of the server.
    unsafe { pg_sys::max_worker_processes }.max(8) as usize
}

/// Shared memory the table takes, in bytes.
pub(crate) fn size() -> usize {
    size_of::<Header>() + capacity() * size_of::<Entry>()
}

/// The table; `None` where the server has no shared memory left for it. May be called where a
/// transaction may fail, and does not make it fail.
pub(crate) fn table() -> Option<Table> {
    if let Some(known) = TABLE.get() {
        return known;
    }
    let found = attach();
    TABLE.set(Some(found));
    found
}

fn attach() -> Option<Table> {
    let mut found = false;
    // SAFETY: the lock that guards what libraries make in shared memory; 21 of the fixed ones in
    // every version. After a caught error it is still held, and the error has reset the count of
    // held-off interrupts that its release counts down.
    let base = unsafe {
        const ADDIN_SHMEM_INIT_LOCK: usize = 21;
        let lock = &raw mut (*pg_sys::MainLWLockArray.add(ADDIN_SHMEM_INIT_LOCK)).lock;
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let held_off = pg_sys::InterruptHoldoffCount;
        let base = PgTryBuilder::new(AssertUnwindSafe(|| {
            pg_sys::ShmemInitStruct(c"tenant_guard sealers".as_ptr(), size(), &mut found)
        }))
        .catch_others(|_| {
            pg_sys::InterruptHoldoffCount = held_off;
            ptr::null_mut()
        })
        .execute();
        if !base.is_null() && !found {
            initialize(base.cast());
        }
        pg_sys::LWLockRelease(lock);
        base.cast::<Header>()
    };
    if base.is_null() {
        return None;
    }
    // SAFETY: initialized by the first process that came here, mapped at the same place in all,
    // and there as long as the server runs. The entries follow the header.
    unsafe {
        let header = &*base;
        pg_sys::LWLockRegisterTranche(header.tranche, c"tenant_guard_sealers".as_ptr());
        let entries = std::slice::from_raw_parts(base.add(1).cast(), header.entries as usize);
        Some(Table { header, entries })
    }
}

/// # Safety
/// `header` must point to [`size`] bytes that nobody else uses yet.
unsafe fn initialize(header: *mut Header) {
    // SAFETY: the caller vouches. All fields may be zero; the lock is made by its own function.
    unsafe {
        ptr::write_bytes(header.cast::<u8>(), 0, size());
        (*header).entries = capacity() as u32;
        (*header).tranche = pg_sys::LWLockNewTrancheId();
        pg_sys::LWLockInitialize((*header).lock.get(), (*header).tranche);
    }
}

impl Table {
    /// The tranche of this library's locks, registered in this process.
    pub(crate) fn tranche(&self) -> i32 {
        self.header.tranche
    }

    fn lock(&self) -> Locked {
        let lock = self.header.lock.get();
        // SAFETY: an initialized lock in shared memory.
        unsafe { pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE) };
        Locked(lock)
    }

    /// The entry of a database. Where it has none it gets one, unless all are in use by sealers.
    pub(crate) fn entry(&self, database: pg_sys::Oid) -> Option<&'static Entry> {
        let _locked = self.lock();
        let database = database.to_u32();
        let of = |wanted: u32| {
            self.entries
                .iter()
                .find(|entry| entry.database.load(SeqCst) == wanted)
        };
        if let Some(known) = of(database) {
            return Some(known);
        }
        let now = now_us();
        let unused = |entry: &&Entry| entry.running().is_none() && !entry.is_starting(now);
        // What waits in a buffer would go with it, so those of dropped databases come first, then those
        // without one, then those in which nothing waits, and of them the one used longest ago.
        let worth = |entry: &&Entry| {
            let has_buffer = entry.buffer.load(SeqCst) != 0;
            let (waiting, at) = (entry.waiting.load(SeqCst), entry.last_read.load(SeqCst));
            (!entry.is_dropped(), has_buffer, waiting, at)
        };
        let free = of(0).or_else(|| self.entries.iter().filter(unused).min_by_key(worth))?;
        let buffer = free.buffer.swap(0, SeqCst);
        free.reset(database);
        if buffer != 0 {
            // SAFETY: pinned by whoever made it; whoever is attached keeps it until he ends.
            unsafe { pg_sys::dsm_unpin_segment(buffer) };
        }
        // SAFETY: written and read under the table's lock alone.
        unsafe { *free.marks.get() = Marks::default() };
        Some(free)
    }

    /// Works on what is known of the blocks of a database; `None` where the entry has become
    /// another's.
    pub(in crate::ledger) fn with_marks<T>(
        &self,
        entry: &Entry,
        database: pg_sys::Oid,
        work: impl FnOnce(&mut Marks) -> T,
    ) -> Option<T> {
        let _locked = self.lock();
        // SAFETY: as of `entry`; `work` is given no way to get at them again.
        entry
            .is_of(database)
            .then(|| work(unsafe { &mut *entry.marks.get() }))
    }

    /// Whether the sealer of another database found no worker slot in the last seconds.
    pub(super) fn is_crowded(&self, own: &Entry, now: i64) -> bool {
        self.entries.iter().any(|entry| {
            !ptr::eq(entry, own)
                && entry.database.load(SeqCst) != 0
                && entry.problem() == Problem::NoSlot
                && entry.not_before.load(SeqCst) > now - 5_000_000
        })
    }

    /// Runs `decide` while nobody else decides about an entry.
    pub(super) fn decide<T>(&self, decide: impl FnOnce() -> T) -> T {
        let _locked = self.lock();
        decide()
    }

    /// Notes why a round failed.
    pub(super) fn note_failure(&self, entry: &Entry, text: &str) {
        let mut message = Message {
            length: 0,
            text: [0; LONGEST_MESSAGE],
        };
        let text = &text.as_bytes()[..text.floor_char_boundary(LONGEST_MESSAGE)];
        message.text[..text.len()].copy_from_slice(text);
        message.length = text.len() as u16;
        let _locked = self.lock();
        // SAFETY: written and read under the table's lock alone.
        unsafe { *entry.message.get() = message };
        entry.set_problem(Problem::Failed);
    }

    /// Why the last round failed.
    pub(crate) fn failure(&self, entry: &Entry) -> String {
        let message = {
            let _locked = self.lock();
            // SAFETY: as of `note_failure`.
            unsafe { *entry.message.get() }
        };
        let text = &message.text[..usize::from(message.length).min(LONGEST_MESSAGE)];
        String::from_utf8_lossy(text).into_owned()
    }
}

impl Entry {
    /// Whether this is the entry of the database.
    pub(super) fn is_of(&self, database: pg_sys::Oid) -> bool {
        self.database.load(SeqCst) == database.to_u32()
    }

    /// Whether the database was dropped: what its entry holds nobody will ever ask for. Where that cannot
    /// be told it was not.
    fn is_dropped(&self) -> bool {
        let name = self.database.load(SeqCst).to_string();
        matches!(has_directory(&name), Ok(false))
    }

    fn reset(&self, database: u32) {
        self.pending.store(false, SeqCst);
        self.urgent.store(false, SeqCst);
        self.set_problem(Problem::None);
        self.asked_at.store(0, SeqCst);
        self.not_before.store(0, SeqCst);
        self.last_round.store(0, SeqCst);
        self.waits_for.store(0, SeqCst);
        self.failures.store(0, SeqCst);
        self.fruitless.store(0, SeqCst);
        self.unbuffered.store(0, SeqCst);
        self.waiting.store(false, SeqCst);
        self.last_read.store(now_us(), SeqCst);
        self.database.store(database, SeqCst);
    }

    pub(crate) fn problem(&self) -> Problem {
        match self.problem.load(SeqCst) {
            1 => Problem::NoSlot,
            2 => Problem::Failed,
            _ => Problem::None,
        }
    }

    pub(super) fn set_problem(&self, problem: Problem) {
        self.problem.store(problem as u8, SeqCst);
    }

    /// The sealer's process, if one runs.
    pub(crate) fn running(&self) -> Option<i32> {
        match self.pid.load(SeqCst) {
            0 => None,
            pid => Some(pid),
        }
    }

    /// Notes that a sealer begins. Until its first round has ended, others like it are started
    /// ever more rarely: whatever ends it, such as a database it may not enter, would end them too.
    pub(super) fn begin(&self, now: i64) {
        let before = self.fruitless.fetch_add(1, SeqCst);
        if before > 0 {
            self.not_before.store(now + retry_after(before), SeqCst);
        }
    }

    /// Notes that a round has ended, be it badly. Where it went well a next sealer may come at once.
    pub(super) fn round_ended(&self, not_before: i64) {
        self.fruitless.store(0, SeqCst);
        self.not_before.store(not_before, SeqCst);
    }

    /// Whether the last sealer that ended did so before its first round.
    pub(super) fn is_fruitless(&self) -> bool {
        self.fruitless.load(SeqCst) > 0
    }

    /// Whether one was asked for and has not begun.
    pub(crate) fn is_starting(&self, now: i64) -> bool {
        let asked_at = self.asked_at.load(SeqCst);
        asked_at != 0 && now - asked_at < super::start::STARTING_US
    }

    /// When the last round went well.
    pub(crate) fn last_round(&self) -> Option<i64> {
        match self.last_round.load(SeqCst) {
            0 => None,
            at => Some(at),
        }
    }

    pub(super) fn set_latch(&self, latch: *mut pg_sys::Latch) {
        self.latch.store(latch, SeqCst);
    }

    /// Has the running sealer look around now.
    pub(super) fn wake(&self) {
        let latch = self.latch.load(SeqCst);
        if !latch.is_null() {
            // SAFETY: a latch of the server's array of processes, which may be another process's
            // by now: that one wakes for nothing.
            unsafe { pg_sys::SetLatch(latch) }
        }
    }
}

/// Whether a database, named by its oid, has a directory: in `base`, or below a tablespace, to which ALTER
/// DATABASE may have moved it. All processes of the server run in the data directory.
fn has_directory(name: &str) -> io::Result<bool> {
    if Path::new("base").join(name).try_exists()? {
        return Ok(true);
    }
    for tablespace in read_dir("pg_tblspc")? {
        for version in read_dir(tablespace?.path())? {
            if version?.path().join(name).try_exists()? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
