//! What of a statement is a read, and the records of those that run.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::buffer::Place;
use tenant_guard_core::reads::{Act, Record};

use super::fingerprints::fingerprint;
use super::known::{self, Named, known};
use super::memory::Buffer;
use super::{persons, refusals, standby};
use crate::audit::text::qualified_name;
use crate::ledger::sealer::start;
use crate::settings;
use crate::versions::{self, Rights};

/// Different reads of one transaction that may become one record each.
const MOST_FOLDED: usize = 1_024;

/// A statement that runs and has records in the buffer, or may come to have one.
struct Open {
    query: *mut pg_sys::QueryDesc,
    notes: Vec<Note>,
    /// What is to be recorded if a policy refuses a row that it writes.
    write: Option<Record>,
    /// Rows of the runs before the last one.
    rows: u64,
    subtransaction: pg_sys::SubTransactionId,
}

struct Note {
    record: Rc<Record>,
    place: Place,
    /// Of the buffer the place is in.
    made_at: i64,
}

/// Where the records of the running transaction stand, by their content.
#[derive(Default)]
struct Folded {
    transaction: u32,
    places: HashMap<Vec<u8>, (i64, Place)>,
}

thread_local! {
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
    static ANY_OPEN: Cell<bool> = const { Cell::new(false) };
    static FOLDED: RefCell<Folded> = RefCell::default();
    /// What the executor is about to check, of the statement started last.
    static CHECKED: Cell<*mut pg_sys::List> = const { Cell::new(ptr::null_mut()) };
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
        CHECKED.set(versions::rights_of_plan(plan));
        if flags as u32 & pg_sys::EXEC_FLAG_EXPLAIN_ONLY != 0 || is_internal() {
            return;
        }
        let Some(known) = known() else {
            return;
        };
        if refusals::are_recorded() {
            refusals::prepare();
        }
        let read = reads_of(plan, &known);
        let target = target_of(plan, &known).filter(|_| refusals::are_recorded());
        if read.is_empty() && target.is_none() {
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
        let write = target.map(|relation| Record {
            who: (*persons::present()).clone(),
            act: Act::WriteRefused,
            relation: Some(relation),
            leaf: None,
            what: format!("{} against row security", command((*plan).commandType)),
            fingerprint: fingerprint.to_string(),
            begun: None,
        });
        if notes.is_empty() && write.is_none() {
            return;
        }
        register_callbacks();
        let subtransaction = pg_sys::GetCurrentSubTransactionId();
        OPEN.with_borrow_mut(|open| {
            // What did not end where it should leaves its address to the next one.
            open.retain(|known| known.query != query);
            open.push(Open {
                query,
                notes,
                write,
                rows: 0,
                subtransaction,
            });
        });
        ANY_OPEN.set(true);
    }
}

/// Counts the rows of the last run of a statement that is about to be run again.
///
/// # Safety
/// The query must be one that PostgreSQL has started.
pub(super) unsafe fn run(query: *mut pg_sys::QueryDesc) {
    OPEN.with_borrow_mut(|open| {
        if let Some(open) = open.iter_mut().rev().find(|open| open.query == query) {
            // SAFETY: the caller vouches for the query.
            open.rows += unsafe { processed(query) };
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

/// Notes a read that has no executor: COPY TO of a relation by somebody whom row security does not
/// concern. The rights are what PostgreSQL has just granted.
pub(crate) fn granted(rights: *mut pg_sys::List, raise: bool) {
    // Once: the next list may stand where this one stood.
    let of_executor = CHECKED.replace(ptr::null_mut()) == rights;
    if !may_concern() || !raise || of_executor || is_internal() {
        return;
    }
    let Some(known) = known() else {
        return;
    };
    // SAFETY: PostgreSQL passes a list of what a statement asks, or null.
    let entries: Vec<&Rights> = unsafe { versions::entries(rights) }.collect();
    let [entry] = entries.as_slice() else {
        return;
    };
    let asked = pg_sys::AclMode::from(pg_sys::ACL_SELECT);
    if !versions::is_of_relation(entry) || entry.requiredPerms != asked {
        return;
    }
    let Some(named) = known.get(&entry.relid) else {
        return;
    };
    // Where row security holds, COPY runs a query.
    // SAFETY: a catalog look-up for a relation that the statement has locked.
    let row_security = unsafe { pg_sys::check_enable_rls(entry.relid, pg_sys::Oid::INVALID, true) };
    if row_security == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32 {
        return;
    }
    let record = record(Act::Export, named, "COPY", &fingerprint(client_statement()));
    if let Some(note) = note(record) {
        close(&note, None);
    }
}

/// The record of a row that the statement which runs innermost may not write. Touches nothing that could
/// fail.
pub(super) fn innermost_write() -> Option<Record> {
    OPEN.with(|open| {
        let open = open.try_borrow().ok()?;
        open.iter().rev().find_map(|open| open.write.clone())
    })
}

/// Whether what runs is part of something else: a parallel worker's share, or a check of a foreign
/// key, which alone reads past forced row security.
fn is_internal() -> bool {
    // SAFETY: read backend-local variables.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 || pg_sys::InNoForceRLSOperation() }
}

/// The audited relations of which a statement reads rows. One that it writes counts where it returns
/// rows of it: the change itself is captured as one.
///
/// # Safety
/// The statement must be one that PostgreSQL planned.
unsafe fn reads_of(
    plan: *mut pg_sys::PlannedStmt,
    known: &HashMap<pg_sys::Oid, Named>,
) -> Vec<&Named> {
    let select = pg_sys::AclMode::from(pg_sys::ACL_SELECT);
    let mut found: Vec<&Named> = Vec::new();
    // SAFETY: the caller vouches for the statement.
    unsafe {
        let returns = (*plan).hasReturning || (*plan).hasModifyingCTE;
        for (number, entry) in versions::entries(versions::rights_of_plan(plan)).enumerate() {
            if !versions::is_of_relation(entry) || entry.requiredPerms & select == 0 {
                continue;
            }
            let Some(named) = known.get(&entry.relid) else {
                continue;
            };
            let twice = found.iter().any(|other| ptr::eq(*other, named));
            if !twice && (returns || !versions::is_target(plan, number)) {
                found.push(named);
            }
        }
    }
    found
}

/// The name of the relation that a statement writes.
///
/// # Safety
/// As of [`reads_of`].
unsafe fn target_of(
    plan: *mut pg_sys::PlannedStmt,
    known: &HashMap<pg_sys::Oid, Named>,
) -> Option<String> {
    // SAFETY: the caller vouches for the statement; the first target is the one it names.
    let relation = unsafe {
        let targets = pgrx::PgList::<i32>::from_pg((*plan).resultRelations);
        let first = targets.get_int(0)?;
        let entry = pg_sys::list_nth((*plan).rtable, first - 1).cast::<pg_sys::RangeTblEntry>();
        (*entry).relid
    };
    Some(match known.get(&relation) {
        Some(named) => named.root.to_string(),
        None => qualified_name(relation),
    })
}

fn record(act: Act, named: &Named, what: &str, fingerprint: &str) -> Rc<Record> {
    Rc::new(Record {
        who: (*persons::present()).clone(),
        act,
        relation: Some(named.root.to_string()),
        leaf: named.leaf.as_ref().map(ToString::to_string),
        what: what.to_owned(),
        fingerprint: fingerprint.to_owned(),
        begun: None,
    })
}

/// Puts a record into the buffer, or counts it once more where the transaction has the same one there.
fn note(record: Rc<Record>) -> Option<Note> {
    // SAFETY: reads the state of the server.
    if unsafe { pg_sys::RecoveryInProgress() } {
        standby::log(&record);
        return None;
    }
    let Some(buffer) = Buffer::ensure() else {
        if let Some(entry) = start::own_entry() {
            entry.unbuffered.fetch_add(1, SeqCst);
        }
        return None;
    };
    let content = record.encode();
    let made_at = buffer.made_at();
    let known = FOLDED.with_borrow_mut(|folded| {
        let transaction = versions::local_transaction();
        if folded.transaction != transaction || folded.places.len() >= MOST_FOLDED {
            folded.places.clear();
            folded.transaction = transaction;
        }
        let known = folded.places.get(&content);
        known
            .filter(|(at, _)| *at == made_at)
            .map(|(_, place)| *place)
    });
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let (place, crowded) = buffer.with(|mut rings| {
        let place = match known.filter(|place| rings.reads.again(*place, now)) {
            Some(place) => Some(place),
            None => rings.reads.add(&content, now),
        };
        (place, rings.reads.used() > rings.reads.capacity() / 4)
    });
    start::announce_reads(crowded);
    let place = place?;
    FOLDED.with_borrow_mut(|folded| folded.places.insert(content, (made_at, place)));
    Some(Note {
        record,
        place,
        made_at,
    })
}

/// Notes the end of what a record is about. Where its beginning is in the log or on its way there, the
/// end is a record of its own. Raises nothing.
fn close(note: &Note, rows: Option<u64>) {
    let Some(buffer) = Buffer::mapped().filter(|buffer| buffer.made_at() == note.made_at) else {
        return;
    };
    let large = rows.is_some_and(|rows| rows > settings::EXPORT_ROWS.get().max(0) as u64);
    if buffer.with(|mut rings| rings.reads.end(note.place, rows, large)) {
        return;
    }
    let ended = Record {
        act: Act::End,
        begun: Some(super::name(note.made_at, note.place.number())),
        ..(*note.record).clone()
    };
    let content = ended.encode();
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    buffer.with(|mut rings| {
        if let Some(place) = rings.reads.add(&content, now) {
            rings.reads.end(place, rows, large);
        }
    });
    start::announce_reads(false);
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

fn register_callbacks() {
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
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if matches!(
        event,
        XACT_EVENT_ABORT | XACT_EVENT_COMMIT | XACT_EVENT_PREPARE
    ) {
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
fn part(text: &[u8], location: i32, length: i32) -> &[u8] {
    let start = usize::try_from(location).unwrap_or(0).min(text.len());
    let rest = &text[start..];
    match usize::try_from(length) {
        Ok(length) if length > 0 => &rest[..length.min(rest.len())],
        _ => rest,
    }
}

/// The statement that the client sent and that runs now.
fn client_statement() -> &'static [u8] {
    // SAFETY: the portal that runs, if there is one, and its statements and text live as long as the
    // statement; the result is used before it ends.
    unsafe {
        let Some(portal) = pg_sys::ActivePortal.as_ref() else {
            return &[];
        };
        if portal.sourceText.is_null() {
            return &[];
        }
        let text = CStr::from_ptr(portal.sourceText).to_bytes();
        let statements = pgrx::PgList::<pg_sys::PlannedStmt>::from_pg(portal.stmts);
        match statements.get_ptr(0) {
            Some(first) => part(text, (*first).stmt_location, (*first).stmt_len),
            None => text,
        }
    }
}
