//! Reading rows in bulk: through a cursor, columns borrowed from the tuple.
//!
//! Sealing and verification visit every event once; fetching a column through pgrx's SPI wrapper
//! costs more than hashing it.

use std::ffi::CStr;
use std::ptr;

use pgrx::pg_sys;

use super::spans;
use crate::error::Error;

/// Rows fetched at a time: so few that their memory is used again and stays in the cache.
const BATCH: i64 = 128;

/// One row of a result, columns counted from 0.
pub(crate) struct Row<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
    descriptor: pg_sys::TupleDesc,
    types: &'a [pg_sys::Oid],
    memory: pg_sys::MemoryContext,
}

impl<'a> Row<'a> {
    /// The value of a column, or `None` for NULL. Raises 55000 where the column is of another
    /// type than its reader expects, which somebody must have given it.
    #[inline]
    fn datum(&self, column: usize, types: &[pg_sys::Oid]) -> Option<pg_sys::Datum> {
        if !types.contains(&self.types[column]) {
            self.refuse_type(column);
        }
        (!self.nulls[column]).then_some(self.values[column])
    }

    #[cold]
    fn refuse_type(&self, column: usize) -> ! {
        // SAFETY: the descriptor has this column; the name is a terminated string.
        let name = unsafe {
            let name = pg_sys::SPI_fname(self.descriptor, column as i32 + 1);
            CStr::from_ptr(name).to_string_lossy().into_owned()
        };
        Error::ColumnAltered(name).raise()
    }

    /// Runs `work` with the row's own memory context as the current one.
    ///
    /// # Safety
    /// `work` must not raise after it has changed anything that needs undoing.
    unsafe fn in_memory<T>(&self, work: impl FnOnce() -> T) -> T {
        // SAFETY: the context lives as long as the cursor; after an ERROR the abort sets another.
        unsafe {
            let caller = pg_sys::MemoryContextSwitchTo(self.memory);
            let result = work();
            pg_sys::MemoryContextSwitchTo(caller);
            result
        }
    }

    /// A varlena value as it stands in the row where it is whole there, which spares most of them
    /// a call into the server.
    ///
    /// # Safety
    /// `datum` must be a varlena value of this row.
    unsafe fn inline_or_detoasted(&self, datum: pg_sys::Datum) -> pg_sys::Datum {
        use pgrx::varlena::{varatt_is_1b, varatt_is_1b_e, varatt_is_4b_u};
        // SAFETY: the caller vouches; the header's bits say how the value is stored. A detoasted
        // copy lives in the row's memory context.
        unsafe {
            let value = datum.cast_mut_ptr();
            if varatt_is_4b_u(value) || (varatt_is_1b(value) && !varatt_is_1b_e(value)) {
                return datum;
            }
            self.in_memory(|| pg_sys::pg_detoast_datum_packed(value).into())
        }
    }

    /// A bigint of a column that is declared NOT NULL. Where damage left NULL, a number that no
    /// such column holds, so that the row does not pass for a sound one.
    pub(crate) fn bigint(&self, column: usize) -> i64 {
        self.optional_bigint(column).unwrap_or(i64::MIN)
    }

    /// A bigint or NULL. A time is one too: microseconds since PostgreSQL's epoch.
    pub(crate) fn optional_bigint(&self, column: usize) -> Option<i64> {
        self.datum(column, &[pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID])
            .map(|datum| datum.value() as i64)
    }

    /// An integer of a column that is declared NOT NULL. NULL becomes the largest: rows that are read
    /// in the order of such a column stay in it, as NULL is last.
    pub(crate) fn integer(&self, column: usize) -> i32 {
        self.datum(column, &[pg_sys::INT4OID])
            .map_or(i32::MAX, |datum| datum.value() as i32)
    }

    /// A smallint of a column that is declared NOT NULL, as of [`bigint`](Self::bigint).
    pub(super) fn smallint(&self, column: usize) -> i16 {
        self.optional_smallint(column).unwrap_or(i16::MIN)
    }

    /// A smallint or NULL.
    pub(crate) fn optional_smallint(&self, column: usize) -> Option<i16> {
        self.datum(column, &[pg_sys::INT2OID])
            .map(|datum| datum.value() as i16)
    }

    /// A text of a column that is declared NOT NULL; for NULL one that no column can hold.
    pub(crate) fn text(&self, column: usize) -> &'a str {
        self.optional_text(column).unwrap_or(NO_TEXT)
    }

    /// A text or NULL.
    pub(crate) fn optional_text(&self, column: usize) -> Option<&'a str> {
        // SAFETY: the type was checked, and nobody can keep what is borrowed beyond its row.
        self.datum(column, &[pg_sys::TEXTOID])
            .map(|datum| unsafe { text_of(self.inline_or_detoasted(datum)) })
    }

    /// A bytea; empty for NULL.
    pub(super) fn bytes(&self, column: usize) -> &'a [u8] {
        self.optional_bytes(column).unwrap_or_default()
    }

    /// A bytea or NULL.
    pub(crate) fn optional_bytes(&self, column: usize) -> Option<&'a [u8]> {
        // SAFETY: the type was checked, and nobody can keep what is borrowed beyond its row.
        self.datum(column, &[pg_sys::BYTEAOID])
            .map(|datum| unsafe { bytes_of(self.inline_or_detoasted(datum)) })
    }

    /// The elements of a text[], or NULL. An array as our code never writes one, with a NULL in
    /// it, more than one dimension or another lower bound, gives what no such array holds.
    pub(crate) fn texts(&self, column: usize) -> Option<Vec<&'a str>> {
        let datum = self.datum(column, &[pg_sys::TEXTARRAYOID])?;
        let (mut elements, mut nulls, mut count) = (ptr::null_mut(), ptr::null_mut(), 0);
        // SAFETY: the type was checked. Array and element list live in the row's memory context,
        // which outlives the row that borrows from them.
        // An array's header is followed by its dimensions and then by their lower bounds.
        unsafe {
            self.in_memory(|| {
                let array =
                    pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
                let lower_bound = array.add(1).cast::<i32>().add(1);
                match (*array).ndim {
                    0 => return Some(Vec::new()),
                    1 if *lower_bound == 1 => {}
                    _ => return Some(vec![NO_TEXT]),
                }
                pg_sys::deconstruct_array(
                    array,
                    pg_sys::TEXTOID,
                    -1,
                    false,
                    pg_sys::TYPALIGN_INT as std::ffi::c_char,
                    &mut elements,
                    &mut nulls,
                    &mut count,
                );
                let texts = (0..count as usize).map(|n| match *nulls.add(n) {
                    true => NO_TEXT,
                    false => text_of(*elements.add(n)),
                });
                Some(texts.collect())
            })
        }
    }
}

/// Stands for a text that cannot be genuine: PostgreSQL stores none with this character.
pub(super) const NO_TEXT: &str = "\0";

/// The bytes of a varlena value that stands in memory whole.
///
/// # Safety
/// `datum` must be such a value and outlive the result.
unsafe fn bytes_of<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: the caller vouches for type and lifetime.
    unsafe { pgrx::varlena_to_byte_slice(datum.cast_mut_ptr()) }
}

/// The same as text. The extension is installed in UTF-8 databases only (sql/bootstrap.sql);
/// bytes that are no text, which only damage leaves here, read as none.
///
/// # Safety
/// As of [`bytes_of`].
unsafe fn text_of<'a>(datum: pg_sys::Datum) -> &'a str {
    // SAFETY: the caller vouches.
    std::str::from_utf8(unsafe { bytes_of(datum) }).unwrap_or(NO_TEXT)
}

/// Arguments of a query: type and value, none of them NULL.
pub(crate) type Arguments<'a> = &'a [(pg_sys::Oid, pg_sys::Datum)];

/// A query that is read row by row, under the snapshot that was active when it was opened.
pub(super) struct Cursor {
    portal: pg_sys::Portal,
    batch: *mut pg_sys::SPITupleTable,
    fetched: usize,
    next: usize,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    types: Vec<pg_sys::Oid>,
    /// Detoasted values of the row in hand.
    row_context: pg_sys::MemoryContext,
}

impl Cursor {
    /// Opens a query. Only inside [`with_cursors`].
    fn open(query: &CStr, arguments: Arguments<'_>) -> Self {
        let mut types: Vec<pg_sys::Oid> = arguments.iter().map(|(oid, _)| *oid).collect();
        let mut values: Vec<pg_sys::Datum> = arguments.iter().map(|(_, value)| *value).collect();
        // SAFETY: SPI is connected; the arrays are as long as announced and copied by the call.
        // What an ERROR leaves behind the (sub)transaction's abort releases.
        unsafe {
            let portal = pg_sys::SPI_cursor_open_with_args(
                ptr::null(),
                query.as_ptr(),
                arguments.len() as i32,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                ptr::null(),
                true,
                0,
            );
            let row_context = pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"tenant_guard row".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            Self {
                portal,
                batch: ptr::null_mut(),
                fetched: 0,
                next: 0,
                values: Vec::new(),
                nulls: Vec::new(),
                types: Vec::new(),
                row_context,
            }
        }
    }

    /// The next row, until there is none.
    pub(super) fn next(&mut self) -> Option<Row<'_>> {
        if self.next == self.fetched {
            self.fetch();
        }
        if self.fetched == 0 {
            return None;
        }
        // SAFETY: `next` is below the number of tuples of the batch; both arrays are as long as
        // its descriptor is wide. Columns of the row before are gone with the borrow of `self`.
        unsafe {
            if !(*self.row_context).isReset {
                pg_sys::MemoryContextReset(self.row_context);
            }
            let tuple = *(*self.batch).vals.add(self.next);
            pg_sys::heap_deform_tuple(
                tuple,
                (*self.batch).tupdesc,
                self.values.as_mut_ptr(),
                self.nulls.as_mut_ptr(),
            );
        }
        self.next += 1;
        Some(Row {
            values: &self.values,
            nulls: &self.nulls,
            // SAFETY: the row is of this batch.
            descriptor: unsafe { (*self.batch).tupdesc },
            types: &self.types,
            memory: self.row_context,
        })
    }

    fn fetch(&mut self) {
        pgrx::check_for_interrupts!();
        // SAFETY: the portal is open; the batch before is no longer borrowed from.
        unsafe {
            if !self.batch.is_null() {
                pg_sys::SPI_freetuptable(self.batch);
            }
            pg_sys::SPI_cursor_fetch(self.portal, true, BATCH);
            self.batch = pg_sys::SPI_tuptable;
            self.fetched = pg_sys::SPI_processed as usize;
            self.next = 0;
            let descriptor = (*self.batch).tupdesc;
            let width = (*descriptor).natts;
            self.values.resize(width as usize, pg_sys::Datum::from(0));
            self.nulls.resize(width as usize, false);
            self.types.clear();
            let types = (1..=width).map(|column| pg_sys::SPI_gettypeid(descriptor, column));
            self.types.extend(types);
        }
    }
}

/// Opens each query and calls `work` with their cursors.
pub(super) fn with_cursors<const N: usize, T>(
    queries: [(&CStr, Arguments<'_>); N],
    work: impl FnOnce([Cursor; N]) -> T,
) -> T {
    // SAFETY: SPI's protocol; on ERROR the (sub)transaction's abort disconnects, and
    // SPI_finish frees cursors' batches and memory together with the connection.
    unsafe {
        let connected = pg_sys::SPI_connect();
        assert_eq!(
            connected,
            pg_sys::SPI_OK_CONNECT as i32,
            "SPI refuses a connection"
        );
        let cursors = queries.map(|(query, arguments)| Cursor::open(query, arguments));
        let portals = cursors.each_ref().map(|cursor| cursor.portal);
        let result = work(cursors);
        for portal in portals {
            pg_sys::SPI_cursor_close(portal);
        }
        pg_sys::SPI_finish();
        result
    }
}

/// Runs `query` under the active snapshot and hands each row to `each`.
pub(crate) fn for_each_row(query: &CStr, arguments: Arguments<'_>, mut each: impl FnMut(&Row<'_>)) {
    with_cursors([(query, arguments)], |[mut cursor]| {
        while let Some(row) = cursor.next() {
            each(&row);
        }
    });
}

/// Runs `work` under a snapshot taken now, which sees what is committed and what this transaction
/// did, however old the caller's own snapshot is.
pub(crate) fn with_latest_snapshot<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: a static snapshot, valid until the next is taken.
    unsafe { with_snapshot(pg_sys::GetLatestSnapshot(), work) }
}

/// The same under a snapshot as catalog look-ups take it, which may be taken in parallel mode too.
pub(crate) fn with_catalog_snapshot<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: without a relation the snapshot is a cached one, so that is thrown away first; it is
    // static and valid until it is thrown away again.
    unsafe {
        pg_sys::InvalidateCatalogSnapshot();
        with_snapshot(pg_sys::GetCatalogSnapshot(pg_sys::Oid::INVALID), work)
    }
}

/// Makes a snapshot the active one while `work` runs.
///
/// # Safety
/// `snapshot` must be valid at the time of the call.
unsafe fn with_snapshot<T>(snapshot: pg_sys::Snapshot, work: impl FnOnce() -> T) -> T {
    // SAFETY: PushActiveSnapshot copies a static snapshot; on ERROR the (sub)transaction's abort
    // pops it.
    unsafe { pg_sys::PushActiveSnapshot(snapshot) };
    let result = spans::under_one_snapshot(work);
    // SAFETY: pops what was pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}
