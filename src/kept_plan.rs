//! Queries that are planned once and run many times, always under the active snapshot.
//!
//! SPI of pgrx decides by itself under which snapshot a query runs: under the transaction's own as soon
//! as that has an id. Under REPEATABLE READ this is an old one.

use std::ffi::CStr;

use pgrx::pg_sys;

/// A kept plan of a query.
pub(crate) struct KeptPlan {
    statement: pg_sys::SPIPlanPtr,
    parameters: usize,
    columns: usize,
}

impl KeptPlan {
    /// Prepares a query of as many parameters as there are types, and of `columns` columns.
    pub(crate) fn of(query: &CStr, types: &[pg_sys::Oid], columns: usize) -> Self {
        let mut types = types.to_vec();
        // SAFETY: SPI's protocol; the types are as many as announced and copied. A plan that is kept
        // lives until `drop` frees it.
        let statement = unsafe {
            connect();
            let statement =
                pg_sys::SPI_prepare(query.as_ptr(), types.len() as i32, types.as_mut_ptr());
            assert!(!statement.is_null(), "SPI refuses a query");
            pg_sys::SPI_keepplan(statement);
            pg_sys::SPI_finish();
            statement
        };
        Self {
            statement,
            parameters: types.len(),
            columns,
        }
    }

    /// Runs it under the active snapshot and gives all columns of its rows as text. The arguments are of
    /// the types it was prepared with; none is null.
    pub(crate) fn rows(&self, mut arguments: Vec<pg_sys::Datum>) -> Vec<Vec<Option<String>>> {
        assert_eq!(arguments.len(), self.parameters, "an argument is missing");
        // SAFETY: as above; there is a value, none null, for each parameter. Rows are copied before
        // the connection takes them away.
        unsafe {
            connect();
            let values = arguments.as_mut_ptr();
            pg_sys::SPI_execute_plan(self.statement, values, std::ptr::null(), true, 0);
            let (table, count) = (pg_sys::SPI_tuptable, pg_sys::SPI_processed as usize);
            let text = |row: usize, column: usize| {
                let tuple = *(*table).vals.add(row);
                let text = pg_sys::SPI_getvalue(tuple, (*table).tupdesc, column as i32);
                (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            };
            let row = |row| (1..=self.columns).map(|column| text(row, column)).collect();
            let rows = (0..count).map(row).collect();
            pg_sys::SPI_finish();
            rows
        }
    }
}

impl Drop for KeptPlan {
    fn drop(&mut self) {
        // SAFETY: kept by `of`, and freed once.
        unsafe { pg_sys::SPI_freeplan(self.statement) };
    }
}

/// Opens a connection of SPI, which the abort closes after an ERROR.
fn connect() {
    // SAFETY: runs in a transaction.
    let connected = unsafe { pg_sys::SPI_connect() };
    assert_eq!(
        connected,
        pg_sys::SPI_OK_CONNECT as i32,
        "SPI refuses a connection"
    );
}
