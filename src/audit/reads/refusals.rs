//! What was refused: tokens, rows and calls.
//!
//! A record is made where the error is raised or reported, when the transaction may be past reading a
//! catalog. So it is made of what the session knew before, and a session knows nothing before its first
//! statement beside an audited relation.

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::LazyLock;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::reads::{Act, Record, Who};
use tenant_guard_core::token::Speaker;

use super::memory::Buffer;
use super::statements::Write;
use super::{known, persons, statements};
use crate::audit::transaction;
use crate::error::Error;
use crate::ledger::sealer::start;
use crate::settings;

static mut PREVIOUS: pg_sys::emit_log_hook_type = None;

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// Something was refused that the sealer does not know of yet.
    static PENDING: Cell<bool> = const { Cell::new(false) };
}

/// Puts the hook on reports of errors in front of those that other libraries installed.
pub(super) fn install() {
    // SAFETY: called once, by _PG_init; a backend has one thread.
    unsafe {
        PREVIOUS = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(reported);
    }
}

/// Whether refusals are recorded now.
pub(super) fn are_recorded() -> bool {
    // SAFETY: a variable of the server.
    settings::AUDIT_REFUSALS.get() && unsafe { pg_sys::ParallelWorkerNumber } < 0
}

/// Prepares the running transaction for refusals, while it may still read catalogs and make the buffer:
/// the first refusal after a start of the server may come before any read.
pub(super) fn prepare() {
    persons::present();
    // SAFETY: reads the state of the server. A standby has nothing that would write its buffer.
    let standby = unsafe { pg_sys::RecoveryInProgress() };
    if !standby && Buffer::ensure().is_some() && !REGISTERED.replace(true) {
        // SAFETY: the callback lives as long as the library and never raises.
        unsafe { pg_sys::RegisterXactCallback(Some(transaction_ended), ptr::null_mut()) };
    }
}

/// Notes a token that is about to be refused. `speaker` is asked for no more than was verified.
pub(crate) fn token(error: &Error, speaker: impl FnOnce() -> Speaker) {
    // SAFETY: reads the state of the server.
    if !are_recorded() || unsafe { pg_sys::RecoveryInProgress() } || known::known().is_none() {
        return;
    }
    if !error.refuses_identity() || Buffer::ensure().is_none() {
        return;
    }
    prepare();
    let Speaker { issuer, subject } = speaker();
    let present = persons::present();
    put(&Record {
        who: Who {
            issuer,
            subject,
            account: String::new(),
            token_id: None,
            session: None,
            roles: None,
            ..(*present).clone()
        },
        act: Act::TokenRefused,
        relation: None,
        leaf: None,
        what: error.to_string(),
        fingerprint: String::new(),
        begun: None,
    });
}

/// Notes an error of our own that is about to be raised, if it is a refusal. Its message names objects,
/// and no values.
pub(crate) fn raised(error: &Error) {
    if !known::were_any() || !are_recorded() {
        return;
    }
    match error {
        Error::RowNotAdmitted(relation, _) => write_of("COPY", relation),
        Error::ForeignAccount(..) => write(error.to_string().as_bytes()),
        // The transaction is as good as it was: the one who acts may be looked up.
        error if error.refuses_rights() => call(&persons::present(), error.to_string()),
        _ => {}
    }
}

/// Called with each error that the server writes into its log, before the transaction ends. Nothing here
/// can fail.
unsafe extern "C-unwind" fn reported(report: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL passes a report whose texts are terminated or null; the previous hook gets
    // what we got.
    unsafe {
        if known::were_any() && (*report).elevel == pgrx::PgLogLevel::ERROR as i32 && are_recorded()
        {
            refused(&*report);
        }
        if let Some(previous) = PREVIOUS {
            previous(report);
        }
    }
}

/// # Safety
/// The texts of the report must be terminated or null.
unsafe fn refused(report: &pg_sys::ErrorData) {
    let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32;
    if report.sqlerrcode != code {
        return;
    }
    // SAFETY: the caller vouches.
    let (function, format) = unsafe { (text(report.funcname), text(report.message_id)) };
    match function {
        // SAFETY: as above.
        b"ExecWithCheckOptions" => write(unsafe { text(report.message) }),
        b"aclcheck_error" => {
            let kind = match format {
                b"permission denied for function %s" => "function",
                b"permission denied for procedure %s" => "procedure",
                _ => return,
            };
            // SAFETY: as above.
            let message = unsafe { text(report.message) };
            if let Some(name) = OURS.iter().find(|name| names(message, name)) {
                let reason = format!("permission denied for {kind} {name}");
                call(&transaction::who_in_memory(), reason);
            }
        }
        _ => {}
    }
}

/// # Safety
/// The text must be terminated or null.
unsafe fn text<'a>(text: *const c_char) -> &'a [u8] {
    match text.is_null() {
        true => &[],
        // SAFETY: the caller vouches.
        false => unsafe { CStr::from_ptr(text) }.to_bytes(),
    }
}

/// Whether a message, in whatever language, has this name as a word of its own.
fn names(message: &[u8], name: &str) -> bool {
    let mut words = message.split(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
    words.any(|word| word == name.as_bytes())
}

/// The functions and procedures of this extension: an error names them without schema.
static OURS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    const SCRIPTS: [&str; 19] = [
        include_str!("../../../sql/audit.sql"),
        include_str!("../../../sql/checks.sql"),
        include_str!("../../../sql/explain.sql"),
        include_str!("../../../sql/guards.sql"),
        include_str!("../../../sql/history.sql"),
        include_str!("../../../sql/identity.sql"),
        include_str!("../../../sql/integrity.sql"),
        include_str!("../../../sql/isolation.sql"),
        include_str!("../../../sql/ledger.sql"),
        include_str!("../../../sql/manifest.sql"),
        include_str!("../../../sql/migration.sql"),
        include_str!("../../../sql/personal.sql"),
        include_str!("../../../sql/probe.sql"),
        include_str!("../../../sql/proofs.sql"),
        include_str!("../../../sql/reads.sql"),
        include_str!("../../../sql/retention.sql"),
        include_str!("../../../sql/roles.sql"),
        include_str!("../../../sql/sealer.sql"),
        include_str!("../../../sql/ledger_views.sql"),
    ];
    let mut names: Vec<_> = SCRIPTS
        .iter()
        .flat_map(|script| script.lines())
        .filter_map(|line| {
            let rest = line.strip_prefix("CREATE FUNCTION tenant_guard.");
            rest.or_else(|| line.strip_prefix("CREATE PROCEDURE tenant_guard."))
        })
        .filter_map(|rest| rest.split('(').next())
        .map(|name| name.trim_matches('"'))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
});

/// Notes that the statement which runs innermost wrote what it may not. Where it writes several relations
/// the message, in whatever language, quotes the name of the one.
fn write(message: &[u8]) {
    let Some(Write {
        mut record,
        targets,
    }) = statements::innermost_write()
    else {
        return;
    };
    let quoted = |name: &str| {
        let name = format!("\"{name}\"");
        message
            .windows(name.len())
            .any(|part| part == name.as_bytes())
    };
    let named: Vec<_> = targets.iter().filter(|(own, _)| quoted(own)).collect();
    match (targets.as_slice(), named.as_slice()) {
        ([(_, one)], _) | (_, [(_, one)]) => record.relation = Some(one.clone()),
        _ => {
            let all: Vec<_> = targets.iter().map(|(_, logged)| logged.as_str()).collect();
            record.what.push_str(" of one of ");
            record.what.push_str(&all.join(", "));
        }
    }
    put(&record);
}

/// The same of what runs without a plan.
fn write_of(command: &str, relation: &str) {
    put(&Record {
        who: (*persons::present()).clone(),
        act: Act::WriteRefused,
        relation: Some(relation.to_owned()),
        leaf: None,
        what: format!("{command} against row security"),
        fingerprint: String::new(),
        begun: None,
    });
}

fn call(who: &Who, reason: String) {
    put(&Record {
        who: who.clone(),
        act: Act::CallRefused,
        relation: None,
        leaf: None,
        what: reason,
        fingerprint: String::new(),
        begun: None,
    });
}

/// Puts a record into the buffer, or counts it once more where the same one waits there.
fn put(record: &Record) {
    let Some(buffer) = Buffer::mapped() else {
        start::count_unbuffered();
        return;
    };
    let content = record.encode();
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    buffer.with(|mut rings| {
        let ring = &mut rings.refusals;
        let place = match ring.find(&content) {
            Some(place) if ring.again(place, now) => Some(place),
            _ => ring.add(&content, now),
        };
        if let Some(place) = place {
            ring.end(place, Some(0), false);
        }
    });
    PENDING.set(true);
}

/// The sealer is told when the transaction is over: to start it is not for the middle of an error.
#[pg_guard]
unsafe extern "C-unwind" fn transaction_ended(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    let ended = [
        pg_sys::XactEvent::XACT_EVENT_COMMIT,
        pg_sys::XactEvent::XACT_EVENT_ABORT,
    ];
    if ended.contains(&event) && PENDING.replace(false) {
        start::announce_reads(false);
    }
}
