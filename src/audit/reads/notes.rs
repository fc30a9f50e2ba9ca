//! Records of reads, put into the buffer when a statement starts and completed when it ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys;
use tenant_guard_core::buffer::Place;
use tenant_guard_core::reads::{Act, Record};

use super::known::Named;
use super::memory::Buffer;
use super::{persons, standby};
use crate::ledger::sealer::start;
use crate::settings;
use crate::versions;

/// Different reads of one transaction that may become one record each.
const MOST_FOLDED: usize = 1_024;

/// A read whose record stands in the buffer.
pub(super) struct Note {
    pub(super) record: Rc<Record>,
    place: Place,
    /// Of the buffer the place is in.
    made_at: i64,
}

/// Where the records of the running transaction stand, by their [`key`].
#[derive(Default)]
struct Folded {
    transaction: u32,
    places: HashMap<Vec<u8>, (i64, Place)>,
}

thread_local! {
    static FOLDED: RefCell<Folded> = RefCell::default();
    /// Whether the buffer was more than half full when this session looked last.
    static HALF_FULL: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn record(act: Act, named: &Named, what: &str, fingerprint: &str) -> Rc<Record> {
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

/// What two reads have in common that become one record. A session changes its application's name as it
/// likes, and could fill the buffer by that.
fn key(record: &Record) -> Vec<u8> {
    let mut record = record.clone();
    record.who.application_name = None;
    record.encode()
}

/// Puts a record into the buffer, or counts it once more where the transaction has the same one there.
/// Where the buffer is half full, all statements of the session that read a relation are the same.
pub(super) fn note(mut record: Rc<Record>) -> Option<Note> {
    // SAFETY: reads the state of the server.
    if unsafe { pg_sys::RecoveryInProgress() } {
        standby::log(&record);
        return None;
    }
    let Some(buffer) = Buffer::ensure() else {
        start::count_unbuffered();
        return None;
    };
    let half_full = HALF_FULL.get();
    if half_full {
        Rc::make_mut(&mut record).fingerprint.clear();
    }
    let key = key(&record);
    let made_at = buffer.made_at();
    let known = FOLDED.with_borrow_mut(|folded| {
        let transaction = versions::local_transaction();
        let over = folded.transaction != transaction && !half_full;
        if over || folded.places.len() >= MOST_FOLDED {
            folded.places.clear();
            folded.transaction = transaction;
        }
        let known = folded.places.get(&key);
        known
            .filter(|(at, _)| *at == made_at)
            .map(|(_, place)| *place)
    });
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let (place, crowded) = buffer.with(|mut rings| {
        let place = match known.filter(|place| rings.reads.again(*place, now)) {
            Some(place) => Some(place),
            None => rings.reads.add(&record.encode(), now),
        };
        let (used, all) = (rings.reads.used(), rings.reads.capacity());
        HALF_FULL.set(used > all / 2);
        (place, used > all / 4)
    });
    start::announce_reads(crowded);
    let place = place?;
    FOLDED.with_borrow_mut(|folded| folded.places.insert(key, (made_at, place)));
    Some(Note {
        record,
        place,
        made_at,
    })
}

/// Notes the end of what a record is about. Where its beginning is in the log or on its way there, the
/// end is a record of its own. Raises nothing.
pub(super) fn close(note: &Note, rows: Option<u64>) {
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
