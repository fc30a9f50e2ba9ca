//! The triggers that turn a changed row into an event. No SQL runs here.

use std::cell::Cell;

use pgrx::pg_sys;
use tenant_guard_core::event::Kind;

use super::events::Event;
use super::pinned;
use super::relation::{self, Column, Relation, Shown};
use super::text::checked;
use super::values::{grow, same_image};
use crate::error::Error;
use crate::fault::fault_point;
use crate::raw::{after_row, raw_function, trigger_data};

raw_function! {
    /// `capture() returns trigger`: AFTER INSERT OR UPDATE OR DELETE, FOR EACH ROW.
    tenant_guard_capture, pg_finfo_tenant_guard_capture, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`.
        unsafe {
            capture_row(after_row(fcinfo, "capture()"));
        }
        pg_sys::Datum::from(0)
    }
}

raw_function! {
    /// `capture_truncate() returns trigger`: BEFORE or AFTER TRUNCATE, FOR EACH STATEMENT.
    tenant_guard_capture_truncate, pg_finfo_tenant_guard_capture_truncate, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`.
        unsafe {
            let trigger = trigger_data(fcinfo, "capture_truncate()");
            if trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK != pg_sys::TRIGGER_EVENT_TRUNCATE {
                Error::NotATrigger("capture_truncate()").raise();
            }
            let table = relation::of(trigger);
            let before = trigger.tg_event & pg_sys::TRIGGER_EVENT_TIMINGMASK
                == pg_sys::TRIGGER_EVENT_BEFORE;
            if table.truncate_rows != before {
                Error::NotATrigger("capture_truncate()").raise();
            }
            if before {
                truncated_rows(trigger, &table);
            }
            write(&table, "truncate", &Image::default(), None);
        }
        pg_sys::Datum::from(0)
    }
}

/// Texts of an event, gathered in buffers that serve row after row.
#[derive(Default)]
pub(super) struct Image {
    pub(super) account: Vec<u8>,
    /// Of an UPDATE, the account the row is in after it.
    account_after: Vec<u8>,
    pub(super) row_key: Vec<u8>,
    pub(super) data: Vec<u8>,
    /// Of an UPDATE, the changed columns as they are after it, until they join `data`.
    new: Vec<u8>,
    /// The same of personal columns.
    pub(super) personal: Vec<u8>,
    personal_new: Vec<u8>,
    /// Positions of the redacted columns concerned.
    redacted: Vec<usize>,
    /// Positions of the hashed columns concerned.
    hashed: Vec<usize>,
    /// JSON of a value that is to be hashed.
    value: Vec<u8>,
}

/// Values of one row by position.
#[derive(Default)]
struct Row {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

#[derive(Default)]
pub(super) struct Work {
    pub(super) image: Image,
    old: Row,
    new: Row,
}

thread_local! {
    /// Taken while in use: an output function of a user's type may change rows itself.
    pub(super) static WORK: Cell<Option<Box<Work>>> = const { Cell::new(None) };
}

/// Largest buffer that is kept from one row to the next, in bytes.
const KEPT_BYTES: usize = 1 << 20;

unsafe fn capture_row(trigger: &pg_sys::TriggerData) {
    let mut work = WORK.take().unwrap_or_default();
    // SAFETY: a row trigger has its row, for UPDATE the old and the new one, in the format of its
    // open relation; the headers were written by the running transaction.
    unsafe {
        let table = relation::of(trigger);
        let descriptor = (*trigger.tg_relation).rd_att;
        work.image.clear();
        work.old.read(trigger.tg_trigtuple, descriptor);
        fault_point!("capture.row_read");
        match trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_UPDATE => {
                work.new.read(trigger.tg_newtuple, descriptor);
                let command_id = pg_sys::HeapTupleHeaderGetCmin((*trigger.tg_newtuple).t_data);
                work.update(&table, command_id);
            }
            pg_sys::TRIGGER_EVENT_INSERT => {
                let command_id = pg_sys::HeapTupleHeaderGetCmin((*trigger.tg_trigtuple).t_data);
                work.row(&table, "insert", command_id);
            }
            _ => {
                let command_id = pg_sys::HeapTupleHeaderGetCmax((*trigger.tg_trigtuple).t_data);
                work.row(&table, "delete", command_id);
            }
        }
    }
    work.keep();
}

/// Writes an event for each row that TRUNCATE is about to remove. Reads the heap itself, under a
/// snapshot of now: no policy hides a row, and whatever stands there goes.
unsafe fn truncated_rows(trigger: &pg_sys::TriggerData, table: &Relation) {
    let mut work = WORK.take().unwrap_or_default();
    // SAFETY: TRUNCATE holds the relation open and locked against everybody. A partitioned table has
    // no rows of its own. Each tuple is read before the next one is fetched; on ERROR the resource
    // owner ends the scan and releases the snapshot.
    unsafe {
        let relation = trigger.tg_relation;
        if (*(*relation).rd_rel).relkind != pg_sys::RELKIND_RELATION as i8 {
            return;
        }
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::Oid::INVALID,
            false,
            snapshot,
            0,
            std::ptr::null_mut(),
        );
        loop {
            pgrx::check_for_interrupts!();
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            work.image.clear();
            work.old.read(tuple, (*relation).rd_att);
            work.row(table, "truncate", pg_sys::GetCurrentCommandId(true));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
    }
    work.keep();
}

impl Work {
    /// Keeps the buffers for the next row, unless they have grown large.
    pub(super) fn keep(self: Box<Self>) {
        let Image {
            data,
            new,
            personal,
            personal_new,
            ..
        } = &self.image;
        let texts = [data, new, personal, personal_new];
        if texts.iter().all(|text| text.capacity() <= KEPT_BYTES) {
            WORK.set(Some(self));
        }
    }

    /// Writes the event of an inserted or removed row, which is in `old`.
    unsafe fn row(&mut self, table: &Relation, action: &str, command_id: pg_sys::CommandId) {
        let Self { image, old, .. } = self;
        // SAFETY: the row was read from `table`.
        unsafe {
            pinned(table, || image.of_row(table, old, action == "insert"));
            old.account(table, &mut image.account);
        }
        write(table, action, image, Some(command_id));
    }

    /// Makes the image of a row that stands.
    ///
    /// # Safety
    /// The tuple must be one of `table`, which has this descriptor.
    pub(super) unsafe fn image_of(
        &mut self,
        table: &Relation,
        tuple: pg_sys::HeapTuple,
        descriptor: pg_sys::TupleDesc,
    ) {
        let Self { image, old, .. } = self;
        image.clear();
        // SAFETY: the caller vouches.
        unsafe {
            old.read(tuple, descriptor);
            pinned(table, || image.of_row(table, old, true));
            old.account(table, &mut image.account);
        }
    }

    /// Writes the event of an UPDATE; of a row that moves to another account, one in each.
    unsafe fn update(&mut self, table: &Relation, command_id: pg_sys::CommandId) {
        let Self { image, old, new } = self;
        // SAFETY: both rows were read from `table`.
        unsafe {
            let mut changed = false;
            pinned(table, || changed = image.of_update(table, old, new));
            old.account(table, &mut image.account);
            new.account(table, &mut image.account_after);
            let moves = image.account_after != image.account;
            if table.skip_unchanged && !changed && !moves {
                return;
            }
            write(table, "update", image, Some(command_id));
            if moves {
                std::mem::swap(&mut image.account_after, &mut image.account);
                write(table, "update", image, Some(command_id));
            }
        }
    }
}

/// Runs `write` under pinned settings.
fn pinned(table: &Relation, write: impl FnOnce()) {
    if table.follows_settings {
        let _settings = pinned::Settings::pin();
        write();
    } else {
        let _variables = pinned::Variables::pin();
        write();
    }
}

pub(super) fn write(
    table: &Relation,
    action: &str,
    image: &Image,
    command_id: Option<pg_sys::CommandId>,
) {
    fault_point!("capture.image_made");
    let named = |positions: &[usize]| -> Vec<&str> {
        let columns = positions.iter().filter_map(|&i| table.columns[i].as_ref());
        columns.map(|column| column.name.as_str()).collect()
    };
    Event {
        kind: Kind::Row,
        action,
        account: checked(&image.account),
        relation: Some(&table.name),
        leaf_relation: table.leaf_name.as_deref(),
        row_key: present(&image.row_key),
        target: None,
        data: present(&image.data),
        personal: present(&image.personal),
        redacted: &named(&image.redacted),
        hashed: &named(&image.hashed),
        command_id,
    }
    .write();
}

pub(super) fn present(text: &[u8]) -> Option<&str> {
    (!text.is_empty()).then(|| checked(text))
}

impl Row {
    unsafe fn read(&mut self, tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) {
        // SAFETY: the caller passes a tuple of this descriptor; both arrays have room for all its
        // attributes.
        unsafe {
            let width = (*descriptor).natts as usize;
            self.values.resize(width, pg_sys::Datum::from(0));
            self.nulls.resize(width, true);
            pg_sys::heap_deform_tuple(
                tuple,
                descriptor,
                self.values.as_mut_ptr(),
                self.nulls.as_mut_ptr(),
            );
        }
    }

    /// Replaces the content of `out` by the row's account.
    unsafe fn account(&self, table: &Relation, out: &mut Vec<u8>) {
        // SAFETY: the caller passes the table the row was read from.
        unsafe { table.account_of(&self.values, &self.nulls, out) }
    }

    /// Appends one column as a member of a JSON object that began at `start`. `value` is scratch
    /// space.
    unsafe fn push_member(
        &self,
        out: &mut Vec<u8>,
        start: usize,
        (i, column): (usize, &Column),
        table: &Relation,
        value: &mut Vec<u8>,
    ) {
        if out.len() > start + 1 {
            out.push(b',');
        }
        out.extend_from_slice(&column.member);
        // SAFETY: the row was read with the descriptor that the column's form was made for.
        unsafe {
            match &table.keyed_hash {
                _ if self.nulls[i] => out.extend_from_slice(b"null"),
                Some(keyed_hash) if column.shown == Shown::Hashed => {
                    value.clear();
                    column.form.push(value, self.values[i]);
                    keyed_hash.push(out, (&table.name, &column.name), value);
                }
                _ => column.form.push(out, self.values[i]),
            }
        }
    }
}

/// What an UPDATE's values begin with, those before it and those after it.
const OLD: &[u8] = b"{\"old\":{";
const NEW: &[u8] = b"},\"new\":{";

/// Puts the values before and after an UPDATE together.
fn join(old: &mut Vec<u8>, new: &[u8]) {
    grow(old, new.len() + 2);
    old.extend_from_slice(new);
    old.extend_from_slice(b"}}");
}

impl Image {
    fn clear(&mut self) {
        self.account.clear();
        self.row_key.clear();
        self.data.clear();
        self.new.clear();
        self.personal.clear();
        self.personal_new.clear();
        self.redacted.clear();
        self.hashed.clear();
    }

    /// Appends the row's shown columns, as a JSON object, to `data`, and the personal ones to
    /// `personal`.
    unsafe fn push_row(&mut self, table: &Relation, row: &Row) {
        let start = self.data.len();
        self.data.push(b'{');
        for (i, column) in table.live_columns() {
            match column.shown {
                Shown::Personal => {
                    let member = (i, column);
                    // The brace begins the text, which holds no other object's members.
                    if self.personal.is_empty() {
                        self.personal.push(b'{');
                    }
                    // SAFETY: the caller passes a row of `table`.
                    unsafe {
                        row.push_member(&mut self.personal, 0, member, table, &mut self.value);
                    }
                    continue;
                }
                Shown::Not => continue,
                Shown::Redacted => {
                    self.redacted.push(i);
                    continue;
                }
                Shown::Hashed => self.hashed.push(i),
                Shown::Plain => {}
            }
            // SAFETY: the caller passes a row of `table`.
            unsafe { row.push_member(&mut self.data, start, (i, column), table, &mut self.value) }
        }
        self.data.push(b'}');
        if !self.personal.is_empty() {
            self.personal.push(b'}');
        }
    }

    /// The image of an inserted or deleted row.
    unsafe fn of_row(&mut self, table: &Relation, row: &Row, is_insert: bool) {
        // SAFETY: `row` is one of `table`.
        unsafe {
            self.push_row(table, row);
            if !table.key.is_empty() {
                self.key_of(table, row);
            } else if !is_insert {
                grow(&mut self.row_key, self.data.len());
                self.row_key.extend_from_slice(&self.data);
            }
        }
    }

    /// The image of an UPDATE: what changed, before and after. The key is the old row's, so that
    /// events of one row can be followed where the key itself changes. Returns whether anything
    /// changed that is captured.
    unsafe fn of_update(&mut self, table: &Relation, old: &Row, new: &Row) -> bool {
        let mut changed = false;
        self.data.extend_from_slice(OLD);
        self.new.extend_from_slice(NEW);
        let (old_start, new_start) = (OLD.len() - 1, NEW.len() - 1);
        // SAFETY: both rows are of `table`.
        unsafe {
            for (i, column) in table.live_columns() {
                if column.shown == Shown::Not {
                    continue;
                }
                let same = match (old.nulls[i], new.nulls[i]) {
                    (true, true) => true,
                    (false, false) => {
                        same_image(old.values[i], new.values[i], column.by_value, column.length)
                    }
                    _ => false,
                };
                if same {
                    continue;
                }
                changed = true;
                match column.shown {
                    Shown::Redacted => {
                        self.redacted.push(i);
                        continue;
                    }
                    Shown::Hashed => self.hashed.push(i),
                    _ => {}
                }
                let (before, after) = if column.shown == Shown::Personal {
                    if self.personal.is_empty() {
                        self.personal.extend_from_slice(OLD);
                        self.personal_new.extend_from_slice(NEW);
                    }
                    (&mut self.personal, &mut self.personal_new)
                } else {
                    (&mut self.data, &mut self.new)
                };
                let member = (i, column);
                old.push_member(before, old_start, member, table, &mut self.value);
                new.push_member(after, new_start, member, table, &mut self.value);
            }
            join(&mut self.data, &self.new);
            if !self.personal.is_empty() {
                join(&mut self.personal, &self.personal_new);
            }
            if table.key.is_empty() {
                self.whole_row_as_key(table, old);
            } else {
                self.key_of(table, old);
            }
        }
        changed
    }

    unsafe fn whole_row_as_key(&mut self, table: &Relation, row: &Row) {
        let start = self.row_key.len();
        self.row_key.push(b'{');
        for (i, column) in table.live_columns() {
            if matches!(column.shown, Shown::Plain | Shown::Hashed) {
                // SAFETY: the caller passes a row of `table`.
                unsafe {
                    let member = (i, column);
                    row.push_member(&mut self.row_key, start, member, table, &mut self.value);
                }
            }
        }
        self.row_key.push(b'}');
    }

    unsafe fn key_of(&mut self, table: &Relation, row: &Row) {
        let start = self.row_key.len();
        self.row_key.push(b'{');
        for &i in &table.key {
            if let Some(column) = &table.columns[i] {
                // SAFETY: the caller passes a row of `table`.
                unsafe {
                    let member = (i, column);
                    row.push_member(&mut self.row_key, start, member, table, &mut self.value);
                }
            }
        }
        self.row_key.push(b'}');
    }
}
