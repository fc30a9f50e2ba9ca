//! The sealer's process.

use std::ffi::{CStr, c_int};
use std::panic::AssertUnwindSafe;
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys;
use pgrx::pg_sys::PgTryBuilder;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use tenant_guard_core::sealing::{Pace, Schedule, Seen, Step, retry_after};

use super::shared::{self, Entry, Problem, Table};
use crate::audit::reads::flush::Which;
use crate::audit::{partitions, reads};
use crate::catalog::as_restricted_owner;
use crate::clock::now_us;
use crate::fault::fault_point;
use crate::ledger::rows::with_latest_snapshot;
use crate::ledger::seal::{seal_round, who_holds_it};
use crate::ledger::store;
use crate::settings;
use crate::versions;

unsafe extern "C-unwind" {
    /// Handlers of `tcop/tcopprot.h` and `postmaster/interrupt.h`. pgrx's wrappers around them
    /// are not fit to run in a signal.
    fn die(signal: c_int);
    fn SignalHandlerForConfigReload(signal: c_int);
}

/// What settings of the database or the server must not decide.
const PINNED: [(&CStr, &CStr); 10] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    (c"statement_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    // Somebody who seals by hand and does not end the transaction must not have this one hold
    // back vacuum for as long.
    (c"lock_timeout", c"1s"),
    // A standby that does not answer is the business of who publishes, not of sealing.
    (c"synchronous_commit", c"local"),
    (c"jit", c"off"),
    (c"application_name", c"tenant_guard sealer"),
];

/// Transactions that write reads, one after the other, before sealing has its turn.
const MOST_FLUSHES: u32 = 16;

/// Rounds in a row that somebody may keep from being one before he is named.
const BUSY_ROUNDS: u32 = 3;

/// The worker's entry point; `database` is the oid of its database.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn tenant_guard_sealer_main(database: pg_sys::Datum) {
    let database = pg_sys::Oid::from(database.value() as u32);
    // SAFETY: the first thing a worker does, once. The handlers are the server's own.
    unsafe {
        versions::on_signal(pg_sys::SIGTERM, die);
        versions::on_signal(pg_sys::SIGHUP, SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
    let Some(table) = shared::table() else { return };
    let claimed = |entry: &&'static Entry| claim(&table, entry, database);
    let Some(entry) = table.entry(database).filter(claimed) else {
        return;
    };
    entry.begin(now_us());
    // SAFETY: entry and callback outlive the process. Role 0 is the bootstrap superuser, who can
    // connect whatever the extension's owner may; ALLOW_CONNECTIONS, which the database's owner
    // sets, keeps out nobody who is connected and writes.
    unsafe {
        pg_sys::on_shmem_exit(
            Some(release),
            pg_sys::Datum::from(ptr::from_ref(entry) as usize),
        );
        pg_sys::BackgroundWorkerInitializeConnectionByOid(
            database,
            pg_sys::Oid::INVALID,
            pg_sys::BGWORKER_BYPASS_ALLOWCONN,
        );
        let no_timeout = versions::TRANSACTION_TIMEOUT.map(|name| (name, c"0"));
        for (name, value) in PINNED.into_iter().chain(no_timeout) {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
    }
    Sealer::new(table, entry).run();
}

/// Makes this process the sealer of the database, unless there is one or the entry has become
/// another database's.
fn claim(table: &Table, entry: &Entry, database: pg_sys::Oid) -> bool {
    // SAFETY: backend-local variables.
    let (pid, latch) = unsafe { (pg_sys::MyProcPid, pg_sys::MyLatch) };
    table.decide(|| {
        if entry.running().is_some() || !entry.is_of(database) {
            return false;
        }
        entry.asked_at.store(0, SeqCst);
        entry.set_latch(latch);
        entry.pid.store(pid, SeqCst);
        true
    })
}

/// Exit callback: there is no sealer any more.
#[pg_guard]
unsafe extern "C-unwind" fn release(_code: c_int, entry: pg_sys::Datum) {
    // SAFETY: an entry of the table, which lives as long as the server.
    let (entry, pid) = unsafe { (&*(entry.value() as *const Entry), pg_sys::MyProcPid) };
    if entry.pid.compare_exchange(pid, 0, SeqCst, SeqCst).is_ok() {
        entry.waits_for.store(0, SeqCst);
    }
}

struct Sealer {
    table: Table,
    entry: &'static Entry,
    schedule: Schedule,
    /// The extension as the first round found it.
    extension: Option<Extension>,
    /// Whether the last round saw prepared transactions of this database.
    prepared: bool,
    /// Rounds that somebody kept from being one, one after the other.
    busy: u32,
    /// The failure that was logged last.
    logged: Option<String>,
    /// Why reads could not be written into the log.
    unflushed: Option<String>,
    /// When that was tried last.
    flushed_at: i64,
}

/// The extension's oid and version.
type Extension = (pg_sys::Oid, String);

/// How a round ended.
enum Round {
    /// Well; when the newest block was made, if there is one.
    Sealed(Option<i64>),
    /// Somebody else seals, or cancelled it: nothing to worry about yet.
    Busy,
    /// There is no extension, or not the one this process was started for.
    Gone,
}

impl Sealer {
    fn new(table: Table, entry: &'static Entry) -> Self {
        Self {
            table,
            entry,
            schedule: Schedule::new(now_us(), entry.failures.load(SeqCst)),
            extension: None,
            prepared: false,
            busy: 0,
            logged: None,
            unflushed: None,
            flushed_at: 0,
        }
    }

    fn run(mut self) {
        loop {
            self.flush_before_end();
            serve_interrupts();
            let pace = pace();
            if pace.interval == 0 {
                // Sessions may still be told otherwise.
                self.entry.round_ended(now_us() + 10_000_000);
                return;
            }
            let now = now_us();
            let seen = self.look(now);
            // A ledger that cannot be sealed keeps no read out of the log.
            let failing = self.entry.failures.load(SeqCst) > 0;
            let waiting = self.entry.waiting.load(SeqCst) || seen.urgent;
            if failing && waiting && now - self.flushed_at >= pace.interval {
                self.flush_reads(Which::Ripe);
            }
            match self.schedule.step(now, pace, seen) {
                Step::Wait(time) => wait(time),
                Step::Seal { heartbeat } => {
                    if !self.seal(heartbeat) {
                        return;
                    }
                }
                Step::Leave if self.leave() => return,
                Step::Leave => {}
            }
        }
    }

    fn look(&self, now: i64) -> Seen {
        // SAFETY: counts entries of shared memory under their lock.
        let connected = unsafe { pg_sys::CountDBBackends(pg_sys::MyDatabaseId) };
        Seen {
            pending: self.entry.pending.load(SeqCst),
            urgent: self.entry.urgent.load(SeqCst),
            alone: connected <= 1,
            prepared: self.prepared,
            crowded: self.table.is_crowded(self.entry, now),
        }
    }

    /// One round; false where there is nothing left to seal in this database, ever.
    fn seal(&mut self, heartbeat: bool) -> bool {
        // What is committed from here on counts for the next round.
        let pending = self.entry.pending.swap(false, SeqCst);
        self.entry.urgent.store(false, SeqCst);
        self.flush_reads(Which::Ripe);
        match self.round(|sealer| sealer.work(heartbeat)) {
            Ok(Round::Sealed(last_block)) => {
                self.make_partitions();
                let now = now_us();
                self.schedule.sealed(now, last_block);
                self.entry.last_round.store(now, SeqCst);
                self.entry.round_ended(0);
                self.entry.failures.store(0, SeqCst);
                self.entry.set_problem(Problem::None);
                self.entry.waits_for.store(0, SeqCst);
                self.busy = 0;
                if self.logged.take().is_some() {
                    pgrx::log!("tenant_guard sealer: sealing again");
                }
                true
            }
            Ok(Round::Busy) => {
                self.entry.pending.fetch_or(pending, SeqCst);
                self.entry.round_ended(0);
                self.busy = self.busy.saturating_add(1);
                self.schedule.busy(now_us());
                true
            }
            Ok(Round::Gone) => {
                self.entry.last_round.store(now_us(), SeqCst);
                self.entry.round_ended(0);
                self.entry.pending.fetch_or(pending, SeqCst);
                self.entry.pid.store(0, SeqCst);
                false
            }
            Err(failure) => {
                self.entry.pending.fetch_or(pending, SeqCst);
                self.failed(&failure);
                true
            }
        }
    }

    /// Notes and logs a failure: each one once, however often it comes again.
    fn failed(&mut self, failure: &str) {
        let now = now_us();
        self.schedule.failed(now);
        let failures = self.entry.failures.load(SeqCst).saturating_add(1);
        self.entry.failures.store(failures, SeqCst);
        self.entry.round_ended(now + retry_after(failures));
        let known = self.table.failure(self.entry);
        self.table.note_failure(self.entry, failure);
        if (failures == 1 || known != failure) && self.logged.as_deref() != Some(failure) {
            pgrx::log!("tenant_guard sealer: sealing failed and is tried again: {failure}");
        }
        self.logged = Some(failure.to_owned());
    }

    /// Gives the place up; false where an event was committed meanwhile by somebody who still
    /// saw a sealer run.
    fn leave(&mut self) -> bool {
        self.entry.pid.store(0, SeqCst);
        let left_over = self.entry.pending.load(SeqCst) || self.entry.urgent.load(SeqCst);
        let failing = self.entry.failures.load(SeqCst) > 0;
        // SAFETY: set when the process connected.
        let database = unsafe { pg_sys::MyDatabaseId };
        !left_over || failing || !claim(&self.table, self.entry, database)
    }

    /// Writes the reads that wait in their buffer into the log, in transactions of their own: a sealer's
    /// has no events. Where that fails, sealing goes on without.
    fn flush_reads(&mut self, which: Which) {
        self.flushed_at = now_us();
        if self.entry.buffer.load(SeqCst) == 0 {
            return;
        }
        for _ in 0..MOST_FLUSHES {
            let mut flushed = None;
            let done = self.round(|_| {
                if extension().is_none() {
                    return Round::Gone;
                }
                flushed = Some(reads::flush::flush(which, false));
                Round::Sealed(None)
            });
            match done {
                Ok(_) => self.unflushed = None,
                Err(failure) => {
                    if self.unflushed.as_deref() != Some(&failure) {
                        pgrx::log!("tenant_guard sealer: reads cannot be logged: {failure}");
                    }
                    self.unflushed = Some(failure);
                    flushed = None;
                }
            }
            let Some(flushed) = flushed else {
                self.entry.pending.store(self.unflushed.is_none(), SeqCst);
                return;
            };
            if flushed.left {
                self.entry.pending.store(true, SeqCst);
            }
            if flushed.events < reads::flush::MOST as i64 {
                return;
            }
        }
    }

    /// Writes what waits once more where the process is asked to end, as by a stop of the server. A second
    /// request ends it in the middle, and no lock is waited for longer than ever.
    fn flush_before_end(&mut self) {
        // SAFETY: flags that signal handlers of this process set.
        unsafe {
            let asked = &raw mut pg_sys::ProcDiePending;
            if asked.read_volatile() == 0 {
                return;
            }
            asked.write_volatile(0);
            self.flush_reads(Which::All);
            asked.write_volatile(1);
        }
    }

    /// Makes the partitions of the months to come where they are missing, in a transaction that does
    /// nothing else: their locks must not wait for a block to reach the disk.
    fn make_partitions(&mut self) {
        if partitions::are_made() {
            return;
        }
        let made = self.round(|_| {
            as_restricted_owner(partitions::keep_ahead);
            Round::Sealed(None)
        });
        if let Err(failure) = made {
            pgrx::log!("tenant_guard sealer: partitions cannot be made: {failure}");
        }
    }

    /// A transaction. An error is caught, and its text returned.
    fn round(&mut self, work: impl FnOnce(&mut Self) -> Round) -> Result<Round, String> {
        let result = PgTryBuilder::new(AssertUnwindSafe(|| Ok(Some(self.transaction(work)))))
            .catch_others(|error| match error {
                CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
                    match report.sql_error_code() {
                        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
                        | PgSqlErrorCode::ERRCODE_QUERY_CANCELED => Ok(None),
                        other => Err(format!("{} {}", code(other), report.message())),
                    }
                }
                CaughtError::RustPanic { ereport, .. } => Err(ereport.message().to_owned()),
            })
            .execute();
        // SAFETY: the order of the server's own workers after an error; a report without text is
        // "idle". Interrupts that came meanwhile are served by the loop.
        unsafe {
            if !matches!(result, Ok(Some(_))) {
                pg_sys::InterruptHoldoffCount += 1;
                pg_sys::AbortCurrentTransaction();
                pg_sys::InterruptHoldoffCount -= 1;
            }
            pg_sys::pgstat_report_stat(true);
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, ptr::null());
        }
        result.map(|round| round.unwrap_or(Round::Busy))
    }

    fn transaction(&mut self, work: impl FnOnce(&mut Self) -> Round) -> Round {
        // SAFETY: the protocol of a worker's transaction; an error ends it in `round`.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::pgstat_report_activity(
                pg_sys::BackendState::STATE_RUNNING,
                c"sealing the audit ledger".as_ptr(),
            );
            pg_sys::StartTransactionCommand();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        let round = work(self);
        fault_point!("sealer.before_commit");
        // SAFETY: ends what was begun above.
        unsafe {
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
        }
        fault_point!("sealer.after_commit");
        round
    }

    fn work(&mut self, heartbeat: bool) -> Round {
        let found = extension();
        let expected = self.extension.clone().or_else(|| found.clone());
        if found.is_none() || found != expected {
            return Round::Gone;
        }
        self.extension = found;
        self.prepared = has_prepared_transactions();
        if self.busy >= BUSY_ROUNDS {
            self.look_for_holder();
        }
        Round::Sealed(as_restricted_owner(|| {
            if !with_latest_snapshot(store::is_being_restored) {
                seal_round(heartbeat);
            }
            with_latest_snapshot(store::newest_block_at)
        }))
    }
}

impl Sealer {
    /// Notes whom sealing waits for, and logs it when that is somebody new.
    fn look_for_holder(&self) {
        let holder = as_restricted_owner(|| with_latest_snapshot(who_holds_it)).unwrap_or(0);
        let before = self.entry.waits_for.swap(holder, SeqCst);
        if holder != 0 && holder != before {
            pgrx::log!("tenant_guard sealer: waiting for process {holder}");
        }
    }
}

/// The extension, as far as it tells one installation from another.
fn extension() -> Option<Extension> {
    let query = "SELECT oid, extversion FROM pg_catalog.pg_extension \
                 WHERE extname OPERATOR(pg_catalog.=) 'tenant_guard'";
    Spi::connect(|client| {
        let rows = client.select(query, Some(1), &[])?;
        if rows.is_empty() {
            return Ok(None);
        }
        let (oid, version) = rows.first().get_two::<pg_sys::Oid, String>()?;
        Ok(oid.zip(version))
    })
    .unwrap_or_else(|error: pgrx::spi::SpiError| pgrx::error!("{error}"))
}

/// Whether this database has prepared transactions: whoever commits one need not know of the
/// events in it.
fn has_prepared_transactions() -> bool {
    // SAFETY: set at the start of the server.
    if unsafe { max_prepared_xacts } == 0 {
        return false;
    }
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_prepared_xact() AS p \
                 WHERE p.dbid OPERATOR(pg_catalog.=) $1)";
    // SAFETY: set when the process connected.
    let database = unsafe { pg_sys::MyDatabaseId };
    Spi::connect(|client| {
        client
            .select(query, Some(1), &[database.into()])?
            .first()
            .get_one::<bool>()
    })
    .unwrap_or_else(|error| pgrx::error!("{error}"))
    .unwrap_or(false)
}

unsafe extern "C" {
    /// Of `access/twophase.h`, which pgrx does not bind.
    static max_prepared_xacts: c_int;
}

fn code(code: PgSqlErrorCode) -> String {
    // SAFETY: writes into a static buffer and returns it.
    let text = unsafe { CStr::from_ptr(pg_sys::unpack_sql_state(code as i32)) };
    text.to_string_lossy().into_owned()
}

pub(super) fn pace() -> Pace {
    let us = |milliseconds: i32| i64::from(milliseconds) * 1_000;
    Pace {
        interval: us(settings::SEAL_INTERVAL.get()),
        idle: us(settings::SEALER_IDLE.get()),
        heartbeat: us(settings::HEARTBEAT_INTERVAL.get()),
    }
}

/// Ends a worker that is asked to end, without a word in the log, and reads settings again.
pub(super) fn serve_interrupts() {
    // SAFETY: flags that signal handlers of this process set.
    unsafe {
        if (&raw const pg_sys::ProcDiePending).read_volatile() != 0 {
            pg_sys::proc_exit(0);
        }
        // There is nothing to cancel between rounds, and the process would end with it.
        pg_sys::QueryCancelPending = 0;
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
    pgrx::check_for_interrupts!();
}

/// Sleeps until woken; ends the process when the postmaster is gone.
pub(in crate::ledger) fn wait(microseconds: i64) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: waits on the process's own latch.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as c_int,
            (microseconds / 1_000).max(1),
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
}
