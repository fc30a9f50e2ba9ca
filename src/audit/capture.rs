//! The triggers that turn a changed row into an event. No SQL runs here.

use std::cell::Cell;

use pgrx::pg_sys;
use tenant_guard_core::event::Kind;

use super::events::Event;
use super::pinned;
use super::relation::{self, Column, Relation};
use super::text::checked;
use super::values::same_image;
use crate::error::Error;
use crate::raw::raw_function;

raw_function! {
    /// `capture() returns trigger`: AFTER INSERT OR UPDATE OR DELETE, FOR EACH ROW.
    tenant_guard_capture, pg_finfo_tenant_guard_capture, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`.
        unsafe {
            let trigger = trigger_data(fcinfo, "capture()");
            let event = trigger.tg_event;
            if event & pg_sys::TRIGGER_EVENT_ROW == 0
                || event & pg_sys::TRIGGER_EVENT_TIMINGMASK != pg_sys::TRIGGER_EVENT_AFTER
            {
                Error::NotATrigger("capture()").raise();
            }
            capture_row(trigger);
        }
        pg_sys::Datum::from(0)
    }
}

raw_function! {
    /// `capture_truncate() returns trigger`: AFTER TRUNCATE, FOR EACH STATEMENT.
    tenant_guard_capture_truncate, pg_finfo_tenant_guard_capture_truncate, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`.
        unsafe {
            let trigger = trigger_data(fcinfo, "capture_truncate()");
            if trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK != pg_sys::TRIGGER_EVENT_TRUNCATE {
                Error::NotATrigger("capture_truncate()").raise();
            }
            let table = relation::of(trigger);
            write(&table, "truncate", &Image::default());
        }
        pg_sys::Datum::from(0)
    }
}

/// The trigger call behind `fcinfo`; raises 39P01 when `function` was called otherwise.
///
/// # Safety
/// `fcinfo` must be what PostgreSQL passed to the running function.
pub(super) unsafe fn trigger_data<'a>(
    fcinfo: pg_sys::FunctionCallInfo,
    function: &'static str,
) -> &'a pg_sys::TriggerData {
    // SAFETY: the context of a call is a node or null; its tag says TriggerData, which lives
    // through the call.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            Error::NotATrigger(function).raise();
        }
        &*context.cast::<pg_sys::TriggerData>()
    }
}

/// Texts of an event, gathered in buffers that serve row after row.
#[derive(Default)]
struct Image {
    account: Vec<u8>,
    row_key: Vec<u8>,
    data: Vec<u8>,
    /// Of an UPDATE, the changed columns as they are after it, until they join `data`.
    new: Vec<u8>,
    /// Positions of the redacted columns concerned.
    redacted: Vec<usize>,
}

/// Values of one row by position.
#[derive(Default)]
struct Row {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

#[derive(Default)]
struct Work {
    image: Image,
    old: Row,
    new: Row,
}

thread_local! {
    /// Taken while in use: an output function of a user's type may change rows itself.
    static WORK: Cell<Option<Box<Work>>> = const { Cell::new(None) };
}

/// Largest buffer that is kept from one row to the next, in bytes.
const KEPT_BYTES: usize = 1 << 20;

unsafe fn capture_row(trigger: &pg_sys::TriggerData) {
    let mut work = WORK.take().unwrap_or_default();
    let Work { image, old, new } = &mut *work;
    // SAFETY: a row trigger has its row, for UPDATE the old and the new one, in the format of its
    // open relation.
    unsafe {
        let table = relation::of(trigger);
        let descriptor = (*trigger.tg_relation).rd_att;
        image.clear();
        match trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_UPDATE => {
                old.read(trigger.tg_trigtuple, descriptor);
                new.read(trigger.tg_newtuple, descriptor);
                pinned(&table, || image.of_update(&table, old, new));
                table.account_of(
                    old.values[table.account],
                    old.nulls[table.account],
                    &mut image.account,
                );
                write(&table, "update", image);
                // A row that moves to another account is an event in both.
                let before = std::mem::take(&mut image.account);
                table.account_of(
                    new.values[table.account],
                    new.nulls[table.account],
                    &mut image.account,
                );
                if image.account != before {
                    write(&table, "update", image);
                }
            }
            operation => {
                let is_insert = operation == pg_sys::TRIGGER_EVENT_INSERT;
                old.read(trigger.tg_trigtuple, descriptor);
                pinned(&table, || image.of_row(&table, old, is_insert));
                table.account_of(
                    old.values[table.account],
                    old.nulls[table.account],
                    &mut image.account,
                );
                write(&table, if is_insert { "insert" } else { "delete" }, image);
            }
        }
    }
    if image.data.capacity().max(image.new.capacity()) <= KEPT_BYTES {
        WORK.set(Some(work));
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

fn write(table: &Relation, action: &str, image: &Image) {
    let redacted: Vec<&str> = image
        .redacted
        .iter()
        .filter_map(|&i| table.columns[i].as_ref().map(|column| column.name.as_str()))
        .collect();
    Event {
        kind: Kind::Row,
        action,
        account: checked(&image.account),
        relation: Some(&table.name),
        leaf_relation: table.leaf_name.as_deref(),
        row_key: present(&image.row_key),
        target: None,
        data: present(&image.data),
        redacted: &redacted,
    }
    .write();
}

fn present(text: &[u8]) -> Option<&str> {
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

    /// Appends one column as a member of a JSON object that began at `start`.
    unsafe fn push_member(&self, out: &mut Vec<u8>, start: usize, i: usize, column: &Column) {
        if out.len() > start + 1 {
            out.push(b',');
        }
        out.extend_from_slice(&column.member);
        if self.nulls[i] {
            out.extend_from_slice(b"null");
        } else {
            // SAFETY: the row was read with the descriptor that the column's form was made for.
            unsafe { column.form.push(out, self.values[i]) }
        }
    }

    /// Appends a JSON object of the columns at these positions.
    unsafe fn push_object<'a>(
        &self,
        out: &mut Vec<u8>,
        columns: impl Iterator<Item = (usize, &'a Column)>,
    ) {
        let start = out.len();
        out.push(b'{');
        for (i, column) in columns {
            // SAFETY: as of `push_member`.
            unsafe { self.push_member(out, start, i, column) }
        }
        out.push(b'}');
    }
}

impl Image {
    fn clear(&mut self) {
        self.account.clear();
        self.row_key.clear();
        self.data.clear();
        self.new.clear();
        self.redacted.clear();
    }

    /// The image of an inserted or deleted row.
    unsafe fn of_row(&mut self, table: &Relation, row: &Row, is_insert: bool) {
        // SAFETY: `row` is one of `table`.
        unsafe {
            row.push_object(
                &mut self.data,
                table.live_columns().filter(|(_, c)| !c.redacted),
            );
            self.redacted.extend(
                table
                    .live_columns()
                    .filter(|(_, c)| c.redacted)
                    .map(|(i, _)| i),
            );
            if !table.key.is_empty() {
                self.key_of(table, row);
            } else if !is_insert {
                self.row_key.extend_from_slice(&self.data);
            }
        }
    }

    /// The image of an UPDATE: what changed, before and after. The key is the old row's, so that
    /// events of one row can be followed where the key itself changes.
    unsafe fn of_update(&mut self, table: &Relation, old: &Row, new: &Row) {
        self.data.extend_from_slice(b"{\"old\":{");
        self.new.extend_from_slice(b"},\"new\":{");
        let (old_start, new_start) = (self.data.len() - 1, self.new.len() - 1);
        // SAFETY: both rows are of `table`.
        unsafe {
            for (i, column) in table.live_columns() {
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
                if column.redacted {
                    self.redacted.push(i);
                    continue;
                }
                old.push_member(&mut self.data, old_start, i, column);
                new.push_member(&mut self.new, new_start, i, column);
            }
            self.data.extend_from_slice(&self.new);
            self.data.extend_from_slice(b"}}");
            if table.key.is_empty() {
                let shown = table.live_columns().filter(|(_, c)| !c.redacted);
                old.push_object(&mut self.row_key, shown);
            } else {
                self.key_of(table, old);
            }
        }
    }

    unsafe fn key_of(&mut self, table: &Relation, row: &Row) {
        let key = table
            .key
            .iter()
            .filter_map(|&i| table.columns[i].as_ref().map(|c| (i, c)));
        // SAFETY: the caller passes a row of `table`.
        unsafe { row.push_object(&mut self.row_key, key) }
    }
}
