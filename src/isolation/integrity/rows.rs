//! Rows of tables as they stand in the heap: past every policy, and without a query that would
//! evaluate what a table's owner wrote.

mod pages;

use std::cell::Cell;

use pgrx::prelude::*;

use crate::versions;

/// A snapshot that rows are read under.
pub(super) struct Snapshot(pg_sys::Snapshot);

impl Snapshot {
    /// What is committed now, and what this transaction did.
    pub(super) fn now() -> Self {
        // SAFETY: registered with the current resource owner, which releases it on ERROR.
        Self(unsafe { pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot()) })
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // While an error unwinds, the abort releases it.
        if !std::thread::panicking() {
            // SAFETY: registered by `now`, once, by the same resource owner.
            unsafe { pg_sys::UnregisterSnapshot(self.0) };
        }
    }
}

/// Values of one row, by the number of the column.
pub(super) struct Row {
    /// What takes rows apart where a place does not do.
    slot: *mut pg_sys::TupleTableSlot,
    tuple: pg_sys::HeapTuple,
    /// The buffer of a row that is not in the slot; 0 where it is.
    outside: Cell<pg_sys::Buffer>,
    /// Of each column up to the widest that is asked for.
    places: Vec<Option<Place>>,
}

/// Where a column stands in every row with no nulls before it: behind columns of fixed length only. To
/// read it there spares a call into the server a row.
#[derive(Clone, Copy)]
struct Place {
    offset: usize,
    length: i16,
    by_value: bool,
}

impl Row {
    fn new(slot: *mut pg_sys::TupleTableSlot, widest: i16) -> Self {
        Self {
            slot,
            tuple: std::ptr::null_mut(),
            outside: Cell::new(0),
            // SAFETY: the slot of a scan has the descriptor of its table.
            places: places(unsafe { (*slot).tts_tupleDescriptor }, widest),
        }
    }

    /// The value of a column; none for null.
    #[inline]
    pub(super) fn get(&self, number: i16) -> Option<pg_sys::Datum> {
        let at = number as usize - 1;
        // SAFETY: the tuple lives until the next one is fetched: the slot or the scan holds its buffer. A
        // row that was stored before a column was added has fewer columns than the table.
        unsafe {
            let header = (*self.tuple).t_data;
            let stored = u32::from((*header).t_infomask2) & pg_sys::HEAP_NATTS_MASK;
            if let Some(place) = self.places[at]
                && stored as usize > at
            {
                let nulls = u32::from((*header).t_infomask) & pg_sys::HEAP_HASNULL != 0;
                let present = (*header).t_bits.as_ptr();
                let is_present = |at: usize| *present.add(at / 8) >> (at % 8) & 1 == 1;
                if nulls && !is_present(at) {
                    return None;
                }
                if !nulls || (0..at).all(is_present) {
                    let offset = usize::from((*header).t_hoff) + place.offset;
                    return Some(place.value(header.cast::<u8>().add(offset)));
                }
            }
            self.taken_apart(at)
        }
    }

    /// # Safety
    /// As of [`get`](Self::get).
    #[cold]
    unsafe fn taken_apart(&self, at: usize) -> Option<pg_sys::Datum> {
        // SAFETY: the tuple stands in the buffer, which the scan holds; the slot is for such tuples.
        unsafe {
            let outside = self.outside.replace(0);
            if outside != 0 {
                pg_sys::ExecStoreBufferHeapTuple(self.tuple, self.slot, outside);
            }
            if usize::from((*self.slot).tts_nvalid as u16) < self.places.len() {
                pg_sys::slot_getsomeattrs_int(self.slot, self.places.len() as i32);
            }
            (!*(*self.slot).tts_isnull.add(at)).then(|| *(*self.slot).tts_values.add(at))
        }
    }

    /// Where the row stands: block and number in it.
    pub(super) fn place(&self) -> (u32, u16) {
        // SAFETY: the tuple is a row of a table.
        unsafe {
            let place = (*self.tuple).t_self;
            let block = u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo);
            (block, place.ip_posid)
        }
    }
}

impl Place {
    /// # Safety
    /// A value of the column must stand there.
    unsafe fn value(self, at: *const u8) -> pg_sys::Datum {
        // SAFETY: the caller vouches; values by value are aligned.
        unsafe {
            match (self.by_value, self.length) {
                (false, _) => pg_sys::Datum::from(at.cast_mut()),
                (true, 1) => pg_sys::Datum::from(*at.cast::<i8>()),
                (true, 2) => pg_sys::Datum::from(*at.cast::<i16>()),
                (true, 4) => pg_sys::Datum::from(*at.cast::<i32>()),
                (true, _) => pg_sys::Datum::from(*at.cast::<i64>()),
            }
        }
    }
}

/// The places of the first columns of a table.
fn places(descriptor: pg_sys::TupleDesc, widest: i16) -> Vec<Option<Place>> {
    let mut offset = Some(0_usize);
    // SAFETY: the descriptor of an open table.
    let attributes = unsafe { crate::versions::attributes(descriptor) };
    let place = |attribute: &pg_sys::FormData_pg_attribute| {
        let start = offset?;
        let aligned = match attribute.attalign as u8 {
            b'c' => start,
            b's' => start.next_multiple_of(2),
            b'i' => start.next_multiple_of(4),
            _ => start.next_multiple_of(8),
        };
        offset = usize::try_from(attribute.attlen)
            .ok()
            .map(|length| aligned + length);
        // A value of varying length may start before it is aligned.
        (attribute.attlen > 0 || attribute.attlen == -1 && aligned == start).then_some(Place {
            offset: aligned,
            length: attribute.attlen,
            by_value: attribute.attbyval,
        })
    };
    attributes[..widest.max(0) as usize]
        .iter()
        .map(place)
        .collect()
}

/// How many blocks a table has; what is not read by blocks is one.
pub(super) fn blocks(table: pg_sys::Oid) -> u32 {
    // SAFETY: opened and closed here; the lock stays to the end of the transaction.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
        let blocks = match is_heap(relation) {
            true => pg_sys::RelationGetNumberOfBlocksInFork(relation, fork),
            false => 1,
        };
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        blocks
    }
}

/// Whether rows stand in PostgreSQL's own heap, which is read by blocks.
fn is_heap(relation: pg_sys::Relation) -> bool {
    // SAFETY: the relation is open.
    unsafe { (*(*relation).rd_rel).relam == pg_sys::HEAP_TABLE_AM_OID }
}

/// Hands over each row of a table, or those of `blocks` (first and number), to be read up to the column
/// `widest`. Without a snapshot, of what is committed now.
pub(super) fn for_each(
    table: pg_sys::Oid,
    blocks: Option<(u32, u32)>,
    widest: i16,
    snapshot: Option<&Snapshot>,
    mut each: impl FnMut(&Row),
) {
    let now;
    let snapshot = match snapshot {
        Some(snapshot) => snapshot,
        None => {
            now = Snapshot::now();
            &now
        }
    };
    // SAFETY: the relation is a table with storage. On ERROR the resource owner ends it.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        if is_heap(relation) && reads_pages() {
            pages::for_each(relation, blocks, widest, snapshot, &mut each);
        } else {
            scan(relation, blocks, widest, snapshot, &mut each);
        }
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
}

/// Whether pages may be read past the table's access method: not where each read of a row has to be
/// told to whoever watches over serializable transactions, nor where snapshots grow too old.
fn reads_pages() -> bool {
    // SAFETY: settings, read by their own thread.
    let isolation = unsafe { pg_sys::XactIsoLevel };
    isolation != pg_sys::XACT_SERIALIZABLE as i32 && !versions::snapshots_grow_old()
}

/// Rows of any table, as its access method hands them over.
///
/// # Safety
/// The relation must be open, a table with storage.
unsafe fn scan(
    relation: pg_sys::Relation,
    blocks: Option<(u32, u32)>,
    widest: i16,
    snapshot: &Snapshot,
    each: &mut impl FnMut(&Row),
) {
    // SAFETY: the caller vouches. Each row is used before the next one is fetched. On ERROR the resource
    // owner ends the scan.
    unsafe {
        let none = pg_sys::Oid::INVALID;
        let scan =
            pg_sys::systable_beginscan(relation, none, false, snapshot.0, 0, std::ptr::null_mut());
        if let Some((first, number)) = blocks.filter(|_| is_heap(relation)) {
            pg_sys::heap_setscanlimits((*scan).scan, first, number);
        }
        let mut row = Row::new((*scan).slot, widest);
        loop {
            pgrx::check_for_interrupts!();
            row.tuple = pg_sys::systable_getnext(scan);
            if row.tuple.is_null() {
                break;
            }
            each(&row);
        }
        pg_sys::systable_endscan(scan);
    }
}

/// The tables that hold the rows of a relation: of a partitioned one its leaves, of any other the
/// relation without inheritance children, which no foreign key is over. They are held against changes of
/// their columns from here on: of what type a value is, the catalog says only so long.
pub(in crate::isolation) fn tables_of(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut tables = named_tables_of(relation);
    tables.retain(|table| hold(*table));
    tables
}

/// Locks a table; whether it is there. Waiting for the lock may be waiting for its end.
fn hold(table: pg_sys::Oid) -> bool {
    // SAFETY: a lock on an oid; of a relation that is gone it is a lock on nothing. Then a catalog
    // look-up, which sees what was committed before the lock was given.
    unsafe {
        pg_sys::LockRelationOid(table, pg_sys::AccessShareLock as i32);
        pg_sys::get_rel_relkind(table) as u8 == pg_sys::RELKIND_RELATION
    }
}

/// Whether none of the tables of a relation has a row, committed or of this transaction's. Looks no
/// further than to the first one.
pub(in crate::isolation) fn is_empty(relation: pg_sys::Oid) -> bool {
    let has_row = |table: &pg_sys::Oid| {
        (0..blocks(*table)).any(|block| {
            let mut found = false;
            for_each(*table, Some((block, 1)), 0, None, |_| found = true);
            found
        })
    };
    !tables_of(relation).iter().any(has_row)
}

fn named_tables_of(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    super::super::registry::read_often(
        "SELECT c.oid FROM pg_class AS r \
         CROSS JOIN LATERAL (SELECT r.oid AS relid WHERE r.relkind = 'r' UNION ALL \
             SELECT t.relid::oid FROM pg_partition_tree(r.oid) AS t \
             WHERE r.relkind = 'p' AND t.isleaf) AS t \
         JOIN pg_class AS c ON c.oid = t.relid AND c.relkind = 'r' \
         WHERE r.oid = $1 ORDER BY c.oid",
        &[relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}
