//! Copied rows as INSERTs.

use std::ffi::{CStr, CString};

use pgrx::prelude::*;

use super::server;
use super::source::Insertion;
use crate::versions::{self, Rights};

/// What reads rows and inserts them, made ready. Nothing in it has a destructor.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) relation: pg_sys::Relation,
    pub(super) reading: pg_sys::CopyFromState,
    pub(super) context: *mut pg_sys::ExprContext,
    /// COPY's own WHERE, null without one.
    pub(super) filter: *mut pg_sys::ExprState,
    pub(super) slot: *mut pg_sys::TupleTableSlot,
    /// One INSERT for all rows, where there can be one.
    pub(super) insertion: Option<Insertion>,
    /// The INSERT of one row.
    pub(super) plan: pg_sys::SPIPlanPtr,
    /// Positions of the columns that the plan takes, and room for its arguments.
    pub(super) positions: *mut usize,
    pub(super) count: usize,
    pub(super) values: *mut pg_sys::Datum,
    pub(super) nulls: *mut std::ffi::c_char,
}

impl Rows {
    /// Reads and inserts all rows; how many were stored. An error jumps over this frame, in which
    /// nothing has a destructor.
    pub(super) unsafe fn run(self) -> u64 {
        // SAFETY: `Loading::rows` made everything ready, and a connection that ends here.
        unsafe {
            let rows = match self.insertion {
                Some(insertion) => insertion.run(&self),
                None => self.insert_each(),
            };
            server::EndCopyFrom(self.reading);
            server::ExecDropSingleTupleTableSlot(self.slot);
            server::SPI_finish();
            rows
        }
    }

    /// An INSERT for each row.
    unsafe fn insert_each(&self) -> u64 {
        // SAFETY: the stack of callbacks is put back when all is done, and by PostgreSQL after an ERROR.
        unsafe {
            let mut lines = self.line_numbers();
            pg_sys::error_context_stack = &raw mut lines;
            let mut rows = 0;
            while self.read_wanted() {
                rows += self.insert();
            }
            pg_sys::error_context_stack = lines.previous;
            rows
        }
    }

    /// What adds the line that is being read to the context of an error.
    pub(super) fn line_numbers(&self) -> pg_sys::ErrorContextCallback {
        pg_sys::ErrorContextCallback {
            // SAFETY: plain backend-local state.
            previous: unsafe { pg_sys::error_context_stack },
            callback: Some(server::CopyFromErrorCallback),
            arg: self.reading.cast(),
        }
    }

    /// Reads the next row that COPY's own WHERE takes into the slot, in memory that lasts until the row
    /// after it; false at the end.
    pub(super) unsafe fn read_wanted(&self) -> bool {
        // SAFETY: the context has memory of its own for each row, which nothing else uses.
        unsafe {
            let memory = (*self.context).ecxt_per_tuple_memory;
            loop {
                if pg_sys::InterruptPending != 0 {
                    server::ProcessInterrupts();
                }
                server::MemoryContextReset(memory);
                let outer = pg_sys::CurrentMemoryContext;
                pg_sys::CurrentMemoryContext = memory;
                let read = self.read();
                let done = !read || self.is_wanted();
                pg_sys::CurrentMemoryContext = outer;
                if done {
                    return read;
                }
            }
        }
    }

    /// The value for a parameter of the plan, of the row that was read, and whether it is null.
    pub(super) unsafe fn value(&self, parameter: usize) -> (pg_sys::Datum, bool) {
        // SAFETY: the slot holds a value or null for each column.
        unsafe {
            let position = *self.positions.add(parameter);
            let slot = &*self.slot;
            (
                *slot.tts_values.add(position),
                *slot.tts_isnull.add(position),
            )
        }
    }

    /// Reads the next row into the slot; false at the end.
    unsafe fn read(&self) -> bool {
        // SAFETY: the slot is a virtual one of the relation's descriptor.
        unsafe {
            let slot = &mut *self.slot;
            if let Some(clear) = (*slot.tts_ops).clear {
                clear(slot);
            }
            let values = (slot.tts_values, slot.tts_isnull);
            let read = server::NextCopyFrom(self.reading, self.context, values.0, values.1);
            if read {
                server::ExecStoreVirtualTuple(slot);
                (*self.context).ecxt_scantuple = slot;
            }
            read
        }
    }

    /// Whether COPY's own WHERE takes the row in the slot.
    unsafe fn is_wanted(&self) -> bool {
        if self.filter.is_null() {
            return true;
        }
        // SAFETY: a prepared condition, which is never null, over the row in the slot.
        unsafe {
            let mut is_null = false;
            let evaluate = (*self.filter).evalfunc;
            evaluate.is_some_and(|evaluate| {
                evaluate(self.filter, self.context, &mut is_null).value() as u8 != 0
            })
        }
    }

    /// Inserts the row in the slot; how many rows that stored.
    unsafe fn insert(&self) -> u64 {
        // SAFETY: there is room for the arguments that the plan takes.
        unsafe {
            for n in 0..self.count {
                let (value, is_null) = self.value(n);
                *self.values.add(n) = value;
                *self.nulls.add(n) = (if is_null { b'n' } else { b' ' }) as std::ffi::c_char;
            }
            server::SPI_execute_plan(self.plan, self.values, self.nulls, false, 0);
            pg_sys::SPI_processed
        }
    }
}

/// The elements in memory of PostgreSQL's, which needs no destructor.
pub(super) unsafe fn copied<T: Copy>(elements: &[T]) -> *mut T {
    // SAFETY: room for all elements, at least one byte, is allocated before they are copied.
    unsafe {
        let room = pg_sys::palloc(size_of_val(elements).max(1)).cast::<T>();
        std::ptr::copy_nonoverlapping(elements.as_ptr(), room, elements.len());
        room
    }
}

/// The INSERT that each row becomes, the positions of the columns that it takes, and their types.
///
/// A column that was not read takes the default that COPY has found for it. Where the caller may not
/// insert it, the INSERT finds one of its own.
pub(super) unsafe fn insertion(
    relation: pg_sys::Relation,
    rights: *const Rights,
    read: &[i32],
) -> (CString, Vec<usize>, Vec<pg_sys::Oid>) {
    // SAFETY: the relation is open and its descriptor holds natts attributes.
    unsafe {
        let columns = versions::attributes((*relation).rd_att);
        let taken = |column: &pg_sys::FormData_pg_attribute| {
            !column.attisdropped
                && column.attgenerated == 0
                && (read.contains(&column.attnum.into()) || may_insert(rights, column.attnum))
        };
        let positions: Vec<_> = (0..columns.len())
            .filter(|&at| taken(&columns[at]))
            .collect();
        let types = positions.iter().map(|&at| columns[at].atttypid).collect();
        let name = |&at: &usize| quoted(columns[at].attname.data.as_ptr());
        let names: Vec<_> = positions.iter().map(name).collect();
        let values: Vec<_> = (1..=names.len())
            .map(|number| format!("${number}"))
            .collect();
        let statement = format!(
            "INSERT INTO {}.{} ({}) OVERRIDING SYSTEM VALUE VALUES ({})",
            quoted(pg_sys::get_namespace_name(
                (*(*relation).rd_rel).relnamespace
            )),
            quoted((*(*relation).rd_rel).relname.data.as_ptr()),
            names.join(", "),
            values.join(", "),
        );
        let statement = CString::new(statement).expect("names hold no NUL");
        (statement, positions, types)
    }
}

/// Whether the caller may insert this column of the relation that the rights are of, as an INSERT asks:
/// lists of columns decide about it too.
unsafe fn may_insert(rights: *const Rights, column: i16) -> bool {
    // SAFETY: a copy of what PostgreSQL made; nothing keeps it.
    unsafe {
        let member = i32::from(column) - pg_sys::FirstLowInvalidHeapAttributeNumber;
        let mut rights = *rights;
        rights.requiredPerms = pg_sys::ACL_INSERT as pg_sys::AclMode;
        rights.selectedCols = std::ptr::null_mut();
        rights.insertedCols = pg_sys::bms_make_singleton(member);
        versions::has_these_rights(&mut rights)
    }
}

unsafe fn quoted(name: *const std::ffi::c_char) -> String {
    // SAFETY: a terminated name of the catalog.
    unsafe {
        CStr::from_ptr(pg_sys::quote_identifier(name))
            .to_string_lossy()
            .into_owned()
    }
}
