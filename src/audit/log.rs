//! Inserts into the log, past the executor: straight into the month's partition and its indexes.
//!
//! No right of the writer's and no trigger is consulted. The primary key alone takes a short cut;
//! whatever else somebody put on the table goes through the executor's own index code.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use pgrx::pg_sys;

use super::routing::{Part, part_of};
use super::transaction;
use crate::catalog::our_table;
use crate::error::Error;
use crate::fault::fault_point;
use crate::versions;
use crate::watch;

/// A table of the log as our code makes it.
pub(super) struct Table {
    slot: usize,
    name: &'static CStr,
    columns: &'static [(&'static CStr, pg_sys::Oid)],
    /// Attribute numbers of each partition's primary key, in its order.
    key: &'static [i16],
    /// The column the table is partitioned by.
    time_column: &'static str,
}

impl Table {
    /// The name of the table.
    pub(super) fn name(&self) -> &'static str {
        self.name.to_str().expect("names of ours are ASCII")
    }

    /// The column the table is partitioned by.
    pub(super) fn time_column(&self) -> &'static str {
        self.time_column
    }

    /// A number of its own, from 0.
    pub(super) fn slot(&self) -> usize {
        self.slot
    }

    /// The partitioned table; invalid where it is not there.
    pub(super) fn find(&self) -> pg_sys::Oid {
        our_table(self.name)
    }

    /// The columns of a partition's primary key.
    pub(super) fn key_columns(&self) -> String {
        let names = self.key.iter().map(|&number| {
            let (name, _) = self.columns[number as usize - 1];
            name.to_str().expect("names of ours are ASCII")
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

/// The events.
pub(super) static AUDIT_LOG: Table = Table {
    slot: 0,
    name: c"audit_log",
    columns: &[
        (c"incarnation", pg_sys::INT8OID),
        (c"xid", pg_sys::INT8OID),
        (c"command_id", pg_sys::INT8OID),
        (c"occurred_at", pg_sys::TIMESTAMPTZOID),
        (c"ordinal", pg_sys::INT4OID),
        (c"context", pg_sys::INT2OID),
        (c"kind", pg_sys::TEXTOID),
        (c"action", pg_sys::TEXTOID),
        (c"account_id", pg_sys::TEXTOID),
        (c"relation", pg_sys::TEXTOID),
        (c"leaf_relation", pg_sys::TEXTOID),
        (c"row_key", pg_sys::TEXTOID),
        (c"target", pg_sys::TEXTOID),
        (c"redacted", pg_sys::TEXTARRAYOID),
        (c"hashed", pg_sys::TEXTARRAYOID),
        (c"data", pg_sys::TEXTOID),
        (c"personal", pg_sys::TEXTOID),
        (c"personal_salt", pg_sys::BYTEAOID),
        (c"personal_commitment", pg_sys::BYTEAOID),
        (c"data_hash", pg_sys::BYTEAOID),
        (c"leaf_hash", pg_sys::BYTEAOID),
    ],
    key: &[1, 2, 5],
    time_column: "occurred_at",
};

/// The context records of transactions.
pub(super) static AUDIT_CONTEXT: Table = Table {
    slot: 1,
    name: c"audit_context",
    columns: &[
        (c"incarnation", pg_sys::INT8OID),
        (c"xid", pg_sys::INT8OID),
        (c"transaction_start", pg_sys::TIMESTAMPTZOID),
        (c"number", pg_sys::INT2OID),
        (c"issuer", pg_sys::TEXTOID),
        (c"token_id", pg_sys::TEXTOID),
        (c"session", pg_sys::TEXTOID),
        (c"subject", pg_sys::TEXTOID),
        (c"role", pg_sys::TEXTARRAYOID),
        (c"session_role", pg_sys::TEXTOID),
        (c"current_role", pg_sys::TEXTOID),
        (c"client_address", pg_sys::TEXTOID),
        (c"application_name", pg_sys::TEXTOID),
        (c"hash", pg_sys::BYTEAOID),
    ],
    key: &[1, 2, 4],
    time_column: "transaction_start",
};

/// What was verified of a partition, valid until its catalog entry changes. That of the partition for
/// what has none changes as well where a partition takes a part of it.
#[derive(Clone, Copy)]
struct Verified {
    part: Part,
    /// The primary key, where it is the only index and as plain as our code makes it: its oid, and
    /// what index code wants to be told of it.
    only_index: Option<(pg_sys::Oid, pg_sys::IndexInfo)>,
}

thread_local! {
    /// Of each table the partition written last.
    static VERIFIED: RefCell<[Option<Verified>; 2]> = const { RefCell::new([None; 2]) };
    /// Counts the changes of the catalog this backend was told of.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    static BUFFER: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Largest buffer that is kept from one row to the next, in words.
const KEPT_WORDS: usize = 128 * 1024;

/// Most bytes of all values of a row together, as COPY writes them. A tuple, before it is compressed,
/// cannot be larger than 1 GB, nor a line of COPY: an event beyond it could not be dumped, ever. A line
/// of a bundle, in which escapes make at most two bytes of one, is not larger than 2 GB then.
pub(super) const MAX_VALUE: usize = 768 << 20;

/// Columns of the widest table.
const WIDTH: usize = 21;

/// A row in the making: one call for each column, in the table's order.
pub(super) struct Row {
    table: &'static Table,
    /// Decides on the partition.
    time: pg_sys::TimestampTz,
    values: [Value; WIDTH],
    filled: usize,
    /// Variable-length values one behind the other. Words, because values must be aligned.
    buffer: Vec<u64>,
}

#[derive(Clone, Copy)]
enum Value {
    Null,
    Datum(pg_sys::Datum),
    /// Index of a word in the buffer, which may move while it grows.
    Buffered(usize),
}

impl Row {
    /// `time` is the value of the column that the table is partitioned by.
    pub(super) fn new(table: &'static Table, time: pg_sys::TimestampTz) -> Self {
        let mut buffer = BUFFER.take();
        buffer.clear();
        Self {
            table,
            time,
            values: [Value::Null; WIDTH],
            filled: 0,
            buffer,
        }
    }

    fn push(&mut self, value: Value) {
        self.values[self.filled] = value;
        self.filled += 1;
    }

    pub(super) fn int2(&mut self, value: i16) {
        self.push(Value::Datum(value.into()));
    }

    pub(super) fn int4(&mut self, value: i32) {
        self.push(Value::Datum(value.into()));
    }

    pub(super) fn int8(&mut self, value: i64) {
        self.push(Value::Datum(value.into()));
    }

    pub(super) fn null(&mut self) {
        self.push(Value::Null);
    }

    pub(super) fn text(&mut self, value: Option<&str>) {
        match value {
            Some(text) => self.bytes(text.as_bytes()),
            None => self.null(),
        }
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        let start = self.buffer.len();
        if self.is_too_large(value) {
            Error::EventTooLarge.raise();
        }
        if self.buffer.try_reserve(value.len() / 8 + 1).is_err() {
            Error::OutOfMemory.raise();
        }
        self.buffer.resize(start + (value.len() + 4).div_ceil(8), 0);
        let target = bytes_of(&mut self.buffer[start..]);
        target[..4].copy_from_slice(&varlena_header(value.len()));
        target[4..4 + value.len()].copy_from_slice(value);
        self.push(Value::Buffered(start));
    }

    /// Whether the row would be with one more value.
    fn is_too_large(&self, value: &[u8]) -> bool {
        let size = size_of_val(&*self.buffer) + value.len();
        if size <= MAX_VALUE / 2 {
            return false;
        }
        // These COPY writes in two bytes.
        let is_escaped = |byte: &&u8| matches!(**byte, b'\\' | 0x08..=0x0d);
        let escapes = |bytes: &[u8]| bytes.iter().filter(is_escaped).count();
        let buffered = self.buffer.iter().map(|word| escapes(&word.to_ne_bytes()));
        size + escapes(value) + buffered.sum::<usize>() > MAX_VALUE
    }

    /// A one-dimensional array of texts, as the server lays it out.
    pub(super) fn texts(&mut self, values: Option<&[&str]>) {
        let Some(values) = values else {
            return self.null();
        };
        // Number of dimensions, offset of the data (0: no nulls), type of the elements; then for
        // each dimension its length and lower bound.
        let mut content = Vec::new();
        let mut header = vec![u32::from(!values.is_empty()), 0, pg_sys::TEXTOID.to_u32()];
        if !values.is_empty() {
            header.extend([values.len() as u32, 1]);
        }
        content.extend(header.into_iter().flat_map(u32::to_ne_bytes));
        for value in values {
            let text = value.as_bytes();
            content.resize(content.len().next_multiple_of(4), 0);
            content.extend_from_slice(&varlena_header(text.len()));
            content.extend_from_slice(text);
        }
        self.bytes(&content);
    }

    /// Inserts the row. Raises 55000 where the table is missing or not as our code made it.
    pub(super) fn insert(self) {
        debug_assert_eq!(self.filled, self.table.columns.len());
        let mut values = [pg_sys::Datum::from(0); WIDTH];
        let mut nulls = [false; WIDTH];
        for (i, value) in self.values.iter().enumerate() {
            match value {
                Value::Null => nulls[i] = true,
                Value::Datum(datum) => values[i] = *datum,
                Value::Buffered(word) => values[i] = self.buffer[*word..].as_ptr().into(),
            }
        }
        // SAFETY: values and nulls cover every column of the verified table with values of its
        // type; the buffer outlives the call, which copies them into a tuple.
        unsafe {
            let (relation, verified) = open(self.table, self.time);
            let tuple = pg_sys::heap_form_tuple(
                (*relation).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            pg_sys::heap_insert(
                relation,
                tuple,
                pg_sys::GetCurrentCommandId(true),
                0,
                std::ptr::null_mut(),
            );
            fault_point!("capture.heap_written");
            match verified.only_index {
                Some((index, info)) => {
                    insert_key(self.table, relation, index, info, tuple, &values);
                }
                None => insert_into_indexes(relation, tuple),
            }
            pg_sys::heap_freetuple(tuple);
            transaction::note_locks(self.table.slot, verified.part.relation);
            // The locks stay until the transaction ends, as after any INSERT.
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
        }
        if self.buffer.capacity() <= KEPT_WORDS {
            BUFFER.set(self.buffer);
        }
    }
}

fn bytes_of(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: any bytes make words and the other way round; the length is that of the slice.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// The 4-byte header of a varlena with `length` bytes behind it, as SET_VARSIZE writes it.
fn varlena_header(length: usize) -> [u8; 4] {
    let size = (length + 4) as u32;
    if cfg!(target_endian = "big") {
        size.to_ne_bytes()
    } else {
        (size << 2).to_ne_bytes()
    }
}

/// Whether the table is there.
pub(super) fn exists(table: &Table) -> bool {
    verified(table).is_some() || table.find() != pg_sys::Oid::INVALID
}

/// The lock to ask for: none where this transaction holds it already, which saves two searches of
/// the lock table a row.
fn lock_mode(table: &Table, partition: pg_sys::Oid) -> i32 {
    if transaction::holds_locks(table.slot, partition) {
        pg_sys::NoLock as i32
    } else {
        pg_sys::RowExclusiveLock as i32
    }
}

fn verified(table: &Table) -> Option<Verified> {
    VERIFIED.with_borrow(|all| all[table.slot])
}

/// Whether the table is there and can be written now.
pub(super) fn is_as_made(table: &Table) -> bool {
    // SAFETY: reads the clock. try_table_open takes any oid and returns null for one that is gone; what
    // it opened is closed, the lock kept.
    unsafe {
        let now = pg_sys::GetCurrentTimestamp();
        if verified(table).is_some_and(|known| known.part.holds(now)) {
            return true;
        }
        let oid = table.find();
        if oid == pg_sys::Oid::INVALID {
            return false;
        }
        let parent = pg_sys::try_table_open(oid, pg_sys::AccessShareLock as i32);
        if parent.is_null() {
            return false;
        }
        let part = is_partitioned(table, parent).then(|| part_of(parent, now));
        pg_sys::table_close(parent, pg_sys::NoLock as i32);
        let Some(part) = part.flatten() else {
            return false;
        };
        let relation = pg_sys::try_table_open(part.relation, pg_sys::AccessShareLock as i32);
        if relation.is_null() {
            return false;
        }
        let sound = has_columns(table, relation) && indexes_at_once(relation);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        sound
    }
}

/// Opens the partition for writing and verifies it unless that was done since its last change.
unsafe fn open(table: &Table, time: pg_sys::TimestampTz) -> (pg_sys::Relation, Verified) {
    register_callback();
    let fitting = || verified(table).filter(|known| known.part.holds(time));
    if let Some(known) = fitting() {
        let oid = known.part.relation;
        // SAFETY: locked by this transaction, so it is there, or opened by any oid.
        let relation = unsafe {
            if transaction::holds_locks(table.slot, oid) {
                return (pg_sys::table_open(oid, pg_sys::NoLock as i32), known);
            }
            pg_sys::try_table_open(oid, pg_sys::RowExclusiveLock as i32)
        };
        if !relation.is_null() {
            // Taking the lock made pending changes known, which may have emptied the entry.
            if let Some(known) = fitting().filter(|known| known.part.relation == oid) {
                return (relation, known);
            }
            // SAFETY: opened above.
            unsafe { pg_sys::table_close(relation, pg_sys::NoLock as i32) };
        }
    }
    // SAFETY: no lock or entry of before is relied on.
    let (relation, part) = unsafe { look_up(table, time) };
    // SAFETY: just opened.
    let found = unsafe { verify(table, relation, part) };
    VERIFIED.with_borrow_mut(|all| all[table.slot] = Some(found));
    (relation, found)
}

/// Finds the partition by the table's bounds, and opens it for writing.
unsafe fn look_up(table: &Table, time: pg_sys::TimestampTz) -> (pg_sys::Relation, Part) {
    let oid = table.find();
    if oid == pg_sys::Oid::INVALID {
        Error::LedgerMissing.raise();
    }
    // SAFETY: try_table_open takes any oid and returns null for one that is gone. The lock stays, so no
    // partition is taken away meanwhile.
    unsafe {
        let parent = pg_sys::try_table_open(oid, pg_sys::AccessShareLock as i32);
        if parent.is_null() {
            Error::LedgerMissing.raise();
        }
        let altered = || Error::LedgerAltered(super::text::relation_name(parent));
        if !is_partitioned(table, parent) {
            altered().raise();
        }
        loop {
            let changes = CHANGES.get();
            let part = part_of(parent, time).unwrap_or_else(|| altered().raise());
            let relation = pg_sys::table_open(part.relation, pg_sys::RowExclusiveLock as i32);
            // A partition for this time may have come while the lock was waited for.
            if CHANGES.get() == changes {
                pg_sys::table_close(parent, pg_sys::NoLock as i32);
                return (relation, part);
            }
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
        }
    }
}

/// Whether an open relation is the partitioned table our code made.
unsafe fn is_partitioned(table: &Table, relation: pg_sys::Relation) -> bool {
    // SAFETY: the relation is open, and PostgreSQL's function takes any oid.
    unsafe {
        if (*(*relation).rd_rel).relkind != pg_sys::RELKIND_PARTITIONED_TABLE as i8 {
            return false;
        }
        let oid = Some(pg_sys::Datum::from((*relation).rd_id));
        let by = pgrx::direct_function_call::<String>(pg_sys::pg_get_partkeydef, &[oid]);
        // Quoted where a setting of the session says so.
        by.is_some_and(|by| by.replace('"', "") == format!("RANGE ({})", table.time_column))
    }
}

/// Whether an open relation is an ordinary table with the columns our code gave it.
unsafe fn has_columns(table: &Table, relation: pg_sys::Relation) -> bool {
    // SAFETY: the relation is open; its descriptor holds natts attributes.
    unsafe {
        let class = &*(*relation).rd_rel;
        let attributes = versions::attributes((*relation).rd_att);
        class.relkind == pg_sys::RELKIND_RELATION as i8
            && class.relam == pg_sys::HEAP_TABLE_AM_OID
            && attributes.len() == table.columns.len()
            && attributes
                .iter()
                .zip(table.columns)
                .all(|(attribute, (name, type_id))| {
                    !attribute.attisdropped
                        && CStr::from_ptr(attribute.attname.data.as_ptr()) == *name
                        && attribute.atttypid == *type_id
                })
    }
}

/// Whether no index of an open relation is checked at the end of the statement or the transaction,
/// which is the business of a trigger we do not fire.
unsafe fn indexes_at_once(relation: pg_sys::Relation) -> bool {
    // SAFETY: the relation is open; each index is closed again, its lock kept.
    unsafe {
        let indexes = pgrx::PgList::<pg_sys::Oid>::from_pg(pg_sys::RelationGetIndexList(relation));
        indexes.iter_oid().all(|oid| {
            let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as i32);
            let at_once = (*(*index).rd_index).indimmediate;
            pg_sys::index_close(index, pg_sys::NoLock as i32);
            at_once
        })
    }
}

unsafe fn verify(table: &Table, relation: pg_sys::Relation, part: Part) -> Verified {
    // SAFETY: the relation is open.
    unsafe {
        if !has_columns(table, relation) || !indexes_at_once(relation) {
            Error::LedgerAltered(super::text::relation_name(relation)).raise();
        }
        let indexes = pgrx::PgList::<pg_sys::Oid>::from_pg(pg_sys::RelationGetIndexList(relation));
        let mut plain = None;
        for oid in indexes.iter_oid() {
            let index = pg_sys::index_open(oid, pg_sys::RowExclusiveLock as i32);
            let definition = &*(*index).rd_index;
            let numbers = definition
                .indkey
                .values
                .as_slice(definition.indnatts as usize);
            if definition.indisprimary
                && definition.indisvalid
                && definition.indisready
                && (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
                && numbers == table.key
                && definition.indnkeyatts == definition.indnatts
            {
                plain = Some((oid, *pg_sys::BuildIndexInfo(index)));
            }
            pg_sys::index_close(index, pg_sys::NoLock as i32);
        }
        Verified {
            part,
            only_index: plain.filter(|_| indexes.len() == 1),
        }
    }
}

/// Adds the entry of the primary key, the table's only index.
unsafe fn insert_key(
    table: &Table,
    relation: pg_sys::Relation,
    index: pg_sys::Oid,
    mut info: pg_sys::IndexInfo,
    tuple: pg_sys::HeapTuple,
    values: &[pg_sys::Datum; WIDTH],
) {
    let mut nulls = [false; 3];
    let mut key = [pg_sys::Datum::from(0); 3];
    for (key, &number) in key.iter_mut().zip(table.key) {
        *key = values[number as usize - 1];
    }
    // SAFETY: `open` verified that the index is a plain btree over these three columns, so its
    // description points to nothing that could be gone.
    unsafe {
        let index = pg_sys::index_open(index, lock_mode(table, (*relation).rd_id));
        pg_sys::index_insert(
            index,
            key.as_mut_ptr(),
            nulls.as_mut_ptr(),
            &mut (*tuple).t_self,
            relation,
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES,
            false,
            &mut info,
        );
        pg_sys::index_close(index, pg_sys::NoLock as i32);
    }
}

/// Adds the entries of all indexes, expressions and predicates evaluated, as an INSERT would.
unsafe fn insert_into_indexes(relation: pg_sys::Relation, tuple: pg_sys::HeapTuple) {
    // SAFETY: the calls of the server's own COPY for a table without partitions: everything made
    // here is released here, or with the transaction after an error.
    unsafe {
        let state = pg_sys::CreateExecutorState();
        let result =
            pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
        (*result).type_ = pg_sys::NodeTag::T_ResultRelInfo;
        pg_sys::InitResultRelInfo(result, relation, 0, std::ptr::null_mut(), 0);
        pg_sys::ExecOpenIndices(result, false);
        let slot = pg_sys::MakeSingleTupleTableSlot(
            (*relation).rd_att,
            &raw const pg_sys::TTSOpsHeapTuple,
        );
        pg_sys::ExecStoreHeapTuple(tuple, slot, false);
        let recheck = versions::insert_index_tuples(result, slot, state);
        debug_assert!(
            recheck.is_null(),
            "only deferrable indexes ask for a second check"
        );
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::ExecCloseIndices(result);
        pg_sys::pfree(result.cast());
        pg_sys::FreeExecutorState(state);
    }
}

fn register_callback() {
    if REGISTERED.replace(true) {
        return;
    }
    watch::listen(changed);
}

fn changed(relation: pg_sys::Oid) {
    CHANGES.set(CHANGES.get().wrapping_add(1));
    VERIFIED.with_borrow_mut(|all| {
        for known in all {
            *known = known.filter(|known| {
                relation != pg_sys::Oid::INVALID && known.part.relation != relation
            });
        }
    });
}
