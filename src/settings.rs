//! Every setting of the extension, with who may set it and what an attacker would gain.

use std::ffi::CString;

use pgrx::PostgresGucEnum;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::identity::binding;
use crate::versions;

/// What the readers do where no valid identity is bound.
#[derive(Copy, Clone, PartialEq, Eq, PostgresGucEnum)]
pub(crate) enum OnMissingIdentity {
    /// Raise 28000, so that a forgotten `authenticate` is noticed.
    #[name = c"error"]
    Error,
    /// Return NULL, so that policies show no row.
    #[name = c"empty"]
    Empty,
}

/// Which blocks checkpoints, proofs and exports speak of.
#[derive(Copy, Clone, PartialEq, Eq, PostgresGucEnum)]
pub(crate) enum PublishAfter {
    /// All that are committed.
    #[name = c"commit"]
    Commit,
    /// Those that a standby has flushed.
    #[name = c"standby flush"]
    StandbyFlush,
}

/// `tenant_guard.on_missing_identity`. Superuser only: an application that could set it to
/// `empty` would hide its own missing `authenticate`. It never opens a row either way.
pub(crate) static ON_MISSING_IDENTITY: GucSetting<OnMissingIdentity> =
    GucSetting::<OnMissingIdentity>::new(OnMissingIdentity::Error);

/// `tenant_guard.allow_session_identity`. Superuser only: behind a transaction pooler an identity
/// that outlives its transaction serves the next client of the same server connection.
pub(crate) static ALLOW_SESSION_IDENTITY: GucSetting<bool> = GucSetting::<bool>::new(false);

/// `tenant_guard.guards`. Superuser only: whoever switches the guards off can drop what they keep,
/// if it is theirs to drop.
pub(crate) static GUARDS: GucSetting<bool> = GucSetting::<bool>::new(true);

/// `tenant_guard.seal_interval`, milliseconds; 0 for no background worker. Superuser only: whoever
/// stops sealing widens the window in which a change leaves no trace.
pub(crate) static SEAL_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(1_000);

/// `tenant_guard.sealer_idle`, milliseconds. Superuser only, as all that governs the worker.
pub(crate) static SEALER_IDLE: GucSetting<i32> = GucSetting::<i32>::new(5_000);

/// `tenant_guard.heartbeat_interval`, milliseconds; 0 for none. Superuser only, as above.
pub(crate) static HEARTBEAT_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(0);

/// `tenant_guard.read_buffer`, kilobytes of shared memory in which reads wait for the log; what it is
/// made with stays. Superuser only: what finds no room is counted and lost.
pub(crate) static READ_BUFFER: GucSetting<i32> = GucSetting::<i32>::new(4_096);

/// `tenant_guard.audit_refusals`. Superuser only: whoever tries doors would like it off.
pub(crate) static AUDIT_REFUSALS: GucSetting<bool> = GucSetting::<bool>::new(true);

/// `tenant_guard.export_rows`. Superuser only: whoever exports would like it high.
pub(crate) static EXPORT_ROWS: GucSetting<i32> = GucSetting::<i32>::new(10_000);

/// `tenant_guard.history_memory`, kilobytes that one call which looks back keeps of rows. Superuser only:
/// people of an account may call, and memory that runs out ends the server.
pub(crate) static HISTORY_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(262_144);

/// `tenant_guard.retention_floor`, seconds. Superuser only: it is what keeps whoever may set rules of
/// retention from removing what was just written. In thirty days a checkpoint of it has been witnessed,
/// backups have been taken, and somebody has looked.
static RETENTION_FLOOR: GucSetting<i32> = GucSetting::<i32>::new(30 * 86_400);

/// The same in microseconds.
pub(crate) fn retention_floor_us() -> i64 {
    i64::from(RETENTION_FLOOR.get()) * 1_000_000
}

/// `tenant_guard.publish_after`. Superuser only: whoever publishes earlier can have a failover
/// contradict what was published.
pub(crate) static PUBLISH_AFTER: GucSetting<PublishAfter> =
    GucSetting::<PublishAfter>::new(PublishAfter::Commit);

/// `tenant_guard.databases`: where the preloaded launcher starts sealers. In files only: it is the
/// launcher's alone.
pub(crate) static DATABASES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// `tenant_guard.checkpoint_key_file`. Superuser only: whoever chooses the file chooses who signs.
static CHECKPOINT_KEY_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// The file with the key that signs checkpoints; none where checkpoints are signed elsewhere.
pub(crate) fn checkpoint_key_file() -> Option<String> {
    let path = CHECKPOINT_KEY_FILE.get()?;
    let path = path.to_string_lossy().into_owned();
    (!path.is_empty()).then_some(path)
}

/// `tenant_guard.identity`. Written by `authenticate` alone: the check hook refuses every other
/// non-empty value, whoever sets it and wherever, since who chooses it chooses the account.
static IDENTITY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// Registers the settings and reserves the prefix `tenant_guard` for them.
pub(crate) fn define() {
    GucRegistry::define_enum_guc(
        c"tenant_guard.on_missing_identity",
        c"What identity readers do when no valid identity is bound: error or empty.",
        c"With empty they return NULL and protected tables show no rows.",
        &ON_MISSING_IDENTITY,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"tenant_guard.allow_session_identity",
        c"Allows authenticate(is_local => false).",
        c"Unsafe behind a transaction pooler, which hands the session to other clients.",
        &ALLOW_SESSION_IDENTITY,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"tenant_guard.guards",
        c"Refuses commands that would take protection or the ledger apart.",
        c"With off they are done and leave an event in the audit log.",
        &GUARDS,
        GucContext::Suset,
        GucFlags::default(),
    );
    define_sealer();
    define_reads();
    GucRegistry::define_int_guc(
        c"tenant_guard.history_memory",
        c"Memory that one call of as_of, row_history or verify_state takes for rows.",
        c"Beyond it the call fails.",
        &HISTORY_MEMORY,
        64,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"tenant_guard.retention_floor",
        c"Shortest time for which rules of retention keep anything.",
        c"Neither set_retention() nor keep_events() takes less, and let_go() lets nothing younger go.",
        &RETENTION_FLOOR,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_string_guc(
        c"tenant_guard.checkpoint_key_file",
        c"File with the Ed25519 note key that signs checkpoints.",
        c"It belongs to the server's user and nobody else may read it.",
        &CHECKPOINT_KEY_FILE,
        GucContext::Suset,
        GucFlags::SUPERUSER_ONLY,
    );
    // SAFETY: both hooks are guarded against panics and follow the contract of GUC hooks: the
    // check hook allocates `extra` the way guc.c frees it, the assign hook does not fail.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"tenant_guard.identity",
            c"The identity bound by tenant_guard.authenticate().",
            c"Cannot be set in any other way.",
            &IDENTITY,
            GucContext::Suset,
            GucFlags::NO_SHOW_ALL | GucFlags::SUPERUSER_ONLY | GucFlags::DISALLOW_IN_FILE,
            Some(binding::check_identity),
            Some(binding::assign_identity),
            None,
        );
        versions::reserve_settings(c"tenant_guard");
    }
}

/// The settings of audited reads.
fn define_reads() {
    GucRegistry::define_int_guc(
        c"tenant_guard.read_buffer",
        c"Shared memory in which the reads of a database wait for the audit log.",
        c"It is made when reads are first audited, and keeps its size until the server ends.",
        &READ_BUFFER,
        64,
        1 << 20,
        GucContext::Suset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_bool_guc(
        c"tenant_guard.audit_refusals",
        c"Logs refused tokens, writes and calls in databases whose reads are audited.",
        c"They wait in the same buffer, in room of their own.",
        &AUDIT_REFUSALS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"tenant_guard.export_rows",
        c"Rows above which a read of an audited relation is logged as an export.",
        c"COPY TO is one in any case.",
        &EXPORT_ROWS,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// The settings of the background worker that seals.
fn define_sealer() {
    let milliseconds = |name, short, long, setting, minimum| {
        GucRegistry::define_int_guc(
            name,
            short,
            long,
            setting,
            minimum,
            i32::MAX,
            GucContext::Suset,
            GucFlags::UNIT_MS,
        );
    };
    milliseconds(
        c"tenant_guard.seal_interval",
        c"Time between two rounds of sealing in the background.",
        c"0 starts no background worker: seal() has to be called.",
        &SEAL_INTERVAL,
        0,
    );
    milliseconds(
        c"tenant_guard.sealer_idle",
        c"How long the sealing worker stays with nothing to seal.",
        c"It leaves within two seconds where nobody else is connected to its database.",
        &SEALER_IDLE,
        0,
    );
    milliseconds(
        c"tenant_guard.heartbeat_interval",
        c"Time after which a block is made although there is nothing to seal.",
        c"0 makes none. Only while a sealing worker runs: see tenant_guard.databases.",
        &HEARTBEAT_INTERVAL,
        0,
    );
    GucRegistry::define_enum_guc(
        c"tenant_guard.publish_after",
        c"What makes a block fit for checkpoints, proofs and exports: commit or standby flush.",
        c"With standby flush they speak of nothing that a failover could take back.",
        &PUBLISH_AFTER,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"tenant_guard.databases",
        c"Databases where the preloaded launcher starts sealing workers, parted by commas.",
        c"Without tenant_guard in shared_preload_libraries it does nothing.",
        &DATABASES,
        GucContext::Sighup,
        GucFlags::default(),
    );
}
