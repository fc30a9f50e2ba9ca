//! What of a statement is a read, and the records of those that run.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::ptr;
use std::rc::Rc;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::reads::{Act, Record};

use super::fingerprints::fingerprint;
use super::known::{self, Known, Named, known};
use super::notes::{Note, close, note, record};
use super::{copies, persons, refusals};
use crate::audit::text::{name, qualified_name};
use crate::identity::binding;
use crate::versions;

/// A statement that runs and has records in the buffer, or may come to have one.
struct Open {
    query: *mut pg_sys::QueryDesc,
    notes: Vec<Note>,
    /// What is to be recorded if a policy refuses a row that it writes.
    write: Option<Write>,
    /// Rows of the runs before the last one.
    rows: u64,
    subtransaction: pg_sys::SubTransactionId,
    /// The [`binding::generation`] of whom it is noted for.
    identity: u64,
    /// Whether it runs in the course of a check or an action of a foreign key.
    by_foreign_key: bool,
}

/// The relations that a statement writes, each by its own name and by the one of the log.
#[derive(Clone)]
pub(super) struct Write {
    pub(super) record: Record,
    pub(super) targets: Vec<(String, String)>,
}

thread_local! {
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
    static ANY_OPEN: Cell<bool> = const { Cell::new(false) };
    static OURS: Cell<u32> = const { Cell::new(0) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, statements are our own code's, and nobody's reads.
pub(crate) struct Ours(());

impl Ours {
    /// Until the returned value is dropped, which an error does too.
    pub(crate) fn begin() -> Self {
        OURS.set(OURS.get() + 1);
        Self(())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        OURS.set(OURS.get() - 1);
    }
}

/// Whether a statement may be one to look at: all that is asked where no relation's reads are audited.
pub(super) fn may_concern() -> bool {
    known::may_be_any() && OURS.get() == 0
}

/// Whether a statement with records runs.
pub(super) fn any_open() -> bool {
    ANY_OPEN.get()
}

/// Notes what a statement reads that is about to start.
///
/// # Safety
/// The query must be one that PostgreSQL is about to start.
pub(super) unsafe fn begin(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: the caller vouches for the query.
    unsafe {
        let plan = (*query).plannedstmt;
        if is_share(query) {
            return;
        }
        let Some(known) = known() else {
            return;
        };
        if refusals::are_recorded() {
            refusals::prepare();
        }
        // What it may not call it is refused even where nothing of it will run.
        if flags as u32 & pg_sys::EXEC_FLAG_EXPLAIN_ONLY != 0 {
            return;
        }
        // A foreign key alone reads past forced row security, and so does what its statements run in
        // their turn: triggers, and functions of operators. The first one is its own.
        let by_foreign_key = pg_sys::InNoForceRLSOperation();
        let own = by_foreign_key && !runs_for_foreign_key();
        let read = match own {
            true => Vec::new(),
            false => reads_of(plan, &known),
        };
        let targets = match refusals::are_recorded() {
            true => targets_of(plan, &known),
            false => Vec::new(),
        };
        if read.is_empty() && targets.is_empty() && !by_foreign_key {
            return;
        }
        let text = CStr::from_ptr((*query).sourceText).to_bytes();
        let fingerprint = fingerprint(part(text, (*plan).stmt_location, (*plan).stmt_len));
        let copies = (*query)
            .dest
            .as_ref()
            .is_some_and(|to| to.mydest == pg_sys::CommandDest::DestCopyOut);
        let (act, what) = match copies {
            true => (Act::Export, "COPY"),
            false => (Act::Read, command((*plan).commandType)),
        };
        let records = read
            .into_iter()
            .map(|named| record(act, named, what, &fingerprint));
        let notes: Vec<_> = records.filter_map(note).collect();
        let write = (!targets.is_empty()).then(|| Write {
            record: Record {
                who: (*persons::present()).clone(),
                act: Act::WriteRefused,
                relation: None,
                leaf: None,
                what: format!("{} against row security", command((*plan).commandType)),
                fingerprint: fingerprint.to_string(),
                begun: None,
            },
            targets,
        });
        if notes.is_empty() && write.is_none() && !by_foreign_key {
            return;
        }
        register_callbacks();
        let opened = Open {
            query,
            notes,
            write,
            rows: 0,
            subtransaction: pg_sys::GetCurrentSubTransactionId(),
            identity: binding::generation(),
            by_foreign_key,
        };
        OPEN.with_borrow_mut(|open| {
            // What did not end where it should leaves its address to the next one.
            open.retain(|known| known.query != query);
            open.push(opened);
        });
        ANY_OPEN.set(true);
    }
}

/// Counts the rows of the last run of a statement that is about to be run again. Where somebody else has
/// signed in since, they are the other one's, and what comes now is a read of his.
///
/// # Safety
/// The query must be one that PostgreSQL has started.
pub(super) unsafe fn run(query: *mut pg_sys::QueryDesc) {
    let identity = binding::generation();
    let left = OPEN.with_borrow_mut(|open| {
        let open = open.iter_mut().rev().find(|open| open.query == query)?;
        // SAFETY: the caller vouches for the query.
        open.rows += unsafe { processed(query) };
        if open.identity == identity {
            return None;
        }
        open.identity = identity;
        Some((std::mem::take(&mut open.notes), open.rows))
    });
    let Some((left, rows)) = left else { return };
    let who = persons::present();
    let another = left
        .iter()
        .any(|note| !note.record.who.is_same_person(&who));
    let notes = match another {
        false => left,
        true => left
            .into_iter()
            .filter_map(|left| {
                close(&left, Some(rows));
                let record = Record {
                    who: (*who).clone(),
                    ..(*left.record).clone()
                };
                note(Rc::new(record))
            })
            .collect(),
    };
    OPEN.with_borrow_mut(|open| {
        if let Some(open) = open.iter_mut().rev().find(|open| open.query == query) {
            open.notes = notes;
            if another {
                open.rows = 0;
            }
            if let Some(write) = &mut open.write {
                write.record.who = (*who).clone();
            }
        }
    });
}

/// Notes the end of a statement.
///
/// # Safety
/// As of [`run`].
pub(super) unsafe fn end(query: *mut pg_sys::QueryDesc) {
    let ended = OPEN.with_borrow_mut(|open| {
        let found = open.iter().rposition(|open| open.query == query);
        let ended = found.map(|position| open.remove(position));
        ANY_OPEN.set(!open.is_empty());
        ended
    });
    if let Some(open) = ended {
        // SAFETY: the caller vouches for the query.
        let rows = open.rows + unsafe { processed(query) };
        open.notes.iter().for_each(|note| close(note, Some(rows)));
    }
}

/// What is to be recorded of a row that the statement which runs innermost may not write. Touches nothing
/// that could fail.
pub(super) fn innermost_write() -> Option<Write> {
    OPEN.with(|open| {
        let open = open.try_borrow().ok()?;
        open.iter().rev().find_map(|open| open.write.clone())
    })
}

/// Whether a statement of a foreign key's runs, or something that it runs.
fn runs_for_foreign_key() -> bool {
    OPEN.with_borrow(|open| open.iter().any(|open| open.by_foreign_key))
}

/// Whether a query is a parallel worker's share of one that its leader has noted: nothing else gives its
/// rows to a queue.
///
/// # Safety
/// The query must be one that PostgreSQL is about to start.
unsafe fn is_share(query: *mut pg_sys::QueryDesc) -> bool {
    // SAFETY: reads a variable of the server; the caller vouches for the query.
    unsafe {
        let to = (*query).dest.as_ref();
        pg_sys::ParallelWorkerNumber >= 0
            && to.is_some_and(|to| to.mydest == pg_sys::CommandDest::DestTupleQueue)
    }
}

/// The audited relations of which a statement needs rows, be it to find those that it changes. One above
/// them stands for those below it, unless it is named with ONLY.
///
/// # Safety
/// The statement must be one that PostgreSQL planned.
unsafe fn reads_of(plan: *mut pg_sys::PlannedStmt, known: &Known) -> Vec<&Named> {
    let select = pg_sys::AclMode::from(pg_sys::ACL_SELECT);
    let mut found: Vec<&Named> = Vec::new();
    // SAFETY: the caller vouches for the statement.
    for entry in unsafe { versions::entries(versions::rights_of_plan(plan)) } {
        if !versions::is_of_relation(entry) || entry.requiredPerms & select == 0 {
            continue;
        }
        for named in known.reached(entry.relid, entry.inh) {
            if !found.iter().any(|other| ptr::eq(*other, named)) {
                found.push(named);
            }
        }
    }
    found
}

/// The relations that a statement writes: their own names, and those the log has for them.
///
/// # Safety
/// As of [`reads_of`].
unsafe fn targets_of(plan: *mut pg_sys::PlannedStmt, known: &Known) -> Vec<(String, String)> {
    let write = pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE;
    let write = pg_sys::AclMode::from(write);
    let mut found = Vec::new();
    // SAFETY: the caller vouches for the statement; the name of a relation that is locked is there.
    unsafe {
        if (*plan).commandType == pg_sys::CmdType::CMD_SELECT && !(*plan).hasModifyingCTE {
            return found;
        }
        for entry in versions::entries(versions::rights_of_plan(plan)) {
            if !versions::is_of_relation(entry) || entry.requiredPerms & write == 0 {
                continue;
            }
            let own = pg_sys::get_rel_name(entry.relid);
            if own.is_null() {
                continue;
            }
            let logged = match known.of(entry.relid) {
                Some(named) => named.root.to_string(),
                None => qualified_name(entry.relid),
            };
            let target = (name(own), logged);
            if !found.contains(&target) {
                found.push(target);
            }
        }
    }
    found
}

/// Ends all statements of this subtransaction and those in it, or of the whole transaction: how many
/// rows they had nobody can tell.
fn close_from(subtransaction: pg_sys::SubTransactionId) {
    if !ANY_OPEN.get() {
        return;
    }
    let ended: Vec<_> = OPEN.with_borrow_mut(|open| {
        let ended = open.extract_if(.., |open| open.subtransaction >= subtransaction);
        ended.collect()
    });
    ANY_OPEN.set(OPEN.with_borrow(|open| !open.is_empty()));
    let notes = ended.iter().flat_map(|open| &open.notes);
    notes.for_each(|note| close(note, None));
}

pub(super) fn register_callbacks() {
    if REGISTERED.replace(true) {
        return;
    }
    // SAFETY: the callbacks live as long as the library and never raise.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_ended), ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_ended), ptr::null_mut());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_ended(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent as At;
    if matches!(
        event,
        At::XACT_EVENT_ABORT
            | At::XACT_EVENT_COMMIT
            | At::XACT_EVENT_PREPARE
            | At::XACT_EVENT_PARALLEL_ABORT
            | At::XACT_EVENT_PARALLEL_COMMIT
    ) {
        copies::forget();
        close_from(0);
    }
}

/// Subtransactions are numbered as they begin: see [`crate::audit::transaction`].
#[pg_guard]
unsafe extern "C-unwind" fn subtransaction_ended(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        copies::forget();
        close_from(subtransaction);
    }
}

/// # Safety
/// The query must be one that PostgreSQL has started.
unsafe fn processed(query: *mut pg_sys::QueryDesc) -> u64 {
    // SAFETY: the caller vouches for the query.
    unsafe { (*query).estate.as_ref() }.map_or(0, |state| state.es_processed)
}

fn command(command: pg_sys::CmdType::Type) -> &'static str {
    match command {
        pg_sys::CmdType::CMD_SELECT => "SELECT",
        pg_sys::CmdType::CMD_INSERT => "INSERT",
        pg_sys::CmdType::CMD_UPDATE => "UPDATE",
        pg_sys::CmdType::CMD_DELETE => "DELETE",
        _ => "MERGE",
    }
}

/// One statement out of a text of several, as PostgreSQL marks it.
pub(super) fn part(text: &[u8], location: i32, length: i32) -> &[u8] {
    let start = usize::try_from(location).unwrap_or(0).min(text.len());
    let rest = &text[start..];
    match usize::try_from(length) {
        Ok(length) if length > 0 => &rest[..length.min(rest.len())],
        _ => rest,
    }
}
