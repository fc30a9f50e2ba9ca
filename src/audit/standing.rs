//! Rows as they stand in a captured table, in the form in which events have them: read from the heap,
//! past every policy, and without a query that would evaluate what the table's owner wrote.

use std::ffi::CStr;
use std::rc::Rc;

use pgrx::pg_sys;
use tenant_guard_core::trigger::CAPTURE;

use super::capture::{WORK, present, write};
use super::relation::{self, Relation};
use super::text::{checked, qualified_name};
use crate::catalog::our_schema;
use crate::error::{Error, Obstacle};
use crate::isolation::leaves_of;

/// One row.
pub(crate) struct Standing<'a> {
    pub(crate) account: &'a str,
    /// None without a primary key: the row is its own.
    pub(crate) row_key: Option<&'a str>,
    pub(crate) data: &'a str,
    pub(crate) personal: Option<&'a str>,
}

/// The tables that hold the rows of a relation: of a partitioned one its leaves.
pub(crate) fn tables_of(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    leaves_of(relation)
}

/// Raises 55000 where changes of a relation are not captured.
pub(crate) fn refuse_uncaptured(relation: pg_sys::Oid) {
    // SAFETY: opened and closed here; the lock stays to the end of the transaction.
    unsafe {
        let opened = pg_sys::table_open(relation, pg_sys::AccessShareLock as i32);
        let captured = capture_trigger(opened).is_some();
        pg_sys::table_close(opened, pg_sys::NoLock as i32);
        if !captured {
            Error::from(Obstacle::NotAudited(qualified_name(relation))).raise();
        }
    }
}

/// Writes an event of each row; how many.
pub(crate) fn record(table: pg_sys::Oid) -> i64 {
    let mut count = 0;
    // SAFETY: a snapshot registered and released here; on ERROR the resource owner does that.
    unsafe {
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        each_image(table, snapshot, |captured, image| {
            write(captured, "baseline", image, None);
            count += 1;
        });
        pg_sys::UnregisterSnapshot(snapshot);
    }
    count
}

/// Hands over each row that the active snapshot sees.
pub(crate) fn for_each(table: pg_sys::Oid, mut each: impl FnMut(&Standing<'_>)) {
    // SAFETY: the active snapshot stays while rows are read.
    unsafe {
        each_image(table, pg_sys::GetActiveSnapshot(), |_, image| {
            each(&Standing {
                account: checked(&image.account),
                row_key: present(&image.row_key),
                data: checked(&image.data),
                personal: present(&image.personal),
            });
        });
    }
}

/// # Safety
/// The snapshot must be registered or active.
unsafe fn each_image(
    table: pg_sys::Oid,
    snapshot: pg_sys::Snapshot,
    mut each: impl FnMut(&Relation, &super::capture::Image),
) {
    let mut work = WORK.take().unwrap_or_default();
    let mut captured: Option<Rc<Relation>> = None;
    // SAFETY: the caller vouches for the snapshot; each tuple is of the open relation.
    unsafe {
        scan(table, snapshot, |opened, tuple| {
            let captured = captured.get_or_insert_with(|| described(opened));
            work.image_of(captured, tuple, (*opened).rd_att);
            each(captured, &work.image);
        });
    }
    work.keep();
}

/// How an open table is captured. Raises where it is not.
///
/// # Safety
/// The relation must be open and locked.
unsafe fn described(opened: pg_sys::Relation) -> Rc<Relation> {
    // SAFETY: the caller vouches; the trigger lives as long as the relation is open, and its description
    // is made of nothing else.
    unsafe {
        let Some(trigger) = capture_trigger(opened) else {
            let name = qualified_name((*opened).rd_id);
            Error::from(Obstacle::NotAudited(name)).raise()
        };
        let data = pg_sys::TriggerData {
            tg_relation: opened,
            tg_trigger: trigger,
            ..Default::default()
        };
        relation::of(&data)
    }
}

/// # Safety
/// The relation must be open.
unsafe fn capture_trigger(opened: pg_sys::Relation) -> Option<*mut pg_sys::Trigger> {
    // SAFETY: the caller vouches; the triggers of an open relation are in memory, names are terminated.
    unsafe {
        let triggers = (*opened).trigdesc.as_ref()?;
        let is_ours = |trigger: &*mut pg_sys::Trigger| {
            let trigger = &**trigger;
            CStr::from_ptr(trigger.tgname).to_bytes() == CAPTURE.as_bytes()
                && pg_sys::get_func_namespace(trigger.tgfoid) == our_schema()
        };
        (0..triggers.numtriggers as usize)
            .map(|n| triggers.triggers.add(n))
            .find(is_ours)
    }
}

/// Hands each row of a table to `each`.
///
/// # Safety
/// The snapshot must be registered or active.
unsafe fn scan(
    table: pg_sys::Oid,
    snapshot: pg_sys::Snapshot,
    mut each: impl FnMut(pg_sys::Relation, pg_sys::HeapTuple),
) {
    // SAFETY: the caller vouches for the snapshot. Each tuple is read before the next one is fetched; on
    // ERROR the resource owner ends scan and relation. The lock stays to the end of the transaction.
    unsafe {
        let opened = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let none = pg_sys::Oid::INVALID;
        let scan =
            pg_sys::systable_beginscan(opened, none, false, snapshot, 0, std::ptr::null_mut());
        loop {
            pgrx::check_for_interrupts!();
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            each(opened, tuple);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(opened, pg_sys::NoLock as i32);
    }
}
