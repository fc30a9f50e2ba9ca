//! Statements that are planned once and run many times: queries made from names of the product, always
//! under the active snapshot ([`KeptPlan`]), and constant statements of ours ([`execute`]).
//!
//! SPI of pgrx decides by itself under which snapshot a query runs: under the transaction's own as soon
//! as that has an id. Under REPEATABLE READ this is an old one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::spi::SpiError;

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

/// A statement of ours that was planned, and the types of its parameters.
struct Own {
    plan: pg_sys::SPIPlanPtr,
    types: Vec<pg_sys::Oid>,
}

thread_local! {
    /// By where the text stands in our library: a session has as many as we have statements.
    static OWN: RefCell<HashMap<(usize, usize), Own>> = RefCell::new(HashMap::new());
}

/// Runs a statement of our own in the open connection of SPI, planned when it first runs: one that looks
/// a few rows up by indexes. The plan is one for whatever arguments.
///
/// # Safety
/// The caller has connected, and chosen role and search path as each time before.
pub(crate) unsafe fn execute(
    statement: &'static str,
    arguments: &[DatumWithOid<'_>],
    read_only: bool,
) -> Result<(), SpiError> {
    let _planner = LookUps::pin();
    let plan = own(statement, arguments);
    let (mut values, nulls) = values(arguments);
    // SAFETY: a kept plan, which nobody frees; as many values and marks as it has parameters, of
    // their types.
    let status = unsafe {
        pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), read_only, 0)
    };
    Spi::check_status(status).map(drop)
}

/// Settings of the planner under which a plan looks up what it needs, joins in the order they are written
/// in. What it guesses of arguments it does not know, and of tables that were empty when it planned, would
/// have it read catalogs as a whole for each of ten thousand relations.
struct LookUps {
    seqscan: bool,
    hashjoin: bool,
    mergejoin: bool,
    jit: bool,
    join_collapse_limit: i32,
}

impl LookUps {
    /// Until the returned value is dropped, which an error does too.
    fn pin() -> Self {
        // SAFETY: backend-local variables behind settings, each given a value that its setting could
        // have; a plan may be made whenever it runs.
        unsafe {
            let saved = Self {
                seqscan: pg_sys::enable_seqscan,
                hashjoin: pg_sys::enable_hashjoin,
                mergejoin: pg_sys::enable_mergejoin,
                jit: pg_sys::jit_enabled,
                join_collapse_limit: pg_sys::join_collapse_limit,
            };
            pg_sys::enable_seqscan = false;
            pg_sys::enable_hashjoin = false;
            pg_sys::enable_mergejoin = false;
            pg_sys::jit_enabled = false;
            pg_sys::join_collapse_limit = 1;
            saved
        }
    }
}

impl Drop for LookUps {
    fn drop(&mut self) {
        // SAFETY: puts back what was read; nothing else writes them meanwhile.
        unsafe {
            pg_sys::enable_seqscan = self.seqscan;
            pg_sys::enable_hashjoin = self.hashjoin;
            pg_sys::enable_mergejoin = self.mergejoin;
            pg_sys::jit_enabled = self.jit;
            pg_sys::join_collapse_limit = self.join_collapse_limit;
        }
    }
}

fn own(statement: &'static str, arguments: &[DatumWithOid<'_>]) -> pg_sys::SPIPlanPtr {
    let place = (statement.as_ptr().addr(), statement.len());
    let types = arguments.iter().map(DatumWithOid::oid);
    let known = OWN.with_borrow(|own| {
        own.get(&place).map(|own| {
            let same = own.types.iter().copied().eq(types.clone());
            assert!(same, "a statement is run with arguments of other types");
            own.plan
        })
    });
    if let Some(plan) = known {
        return plan;
    }
    let text = CString::new(statement).expect("a statement holds no NUL");
    let mut types: Vec<_> = types.collect();
    let (count, options) = (types.len() as i32, pg_sys::CURSOR_OPT_GENERIC_PLAN as i32);
    // SAFETY: the types are as many as announced and copied. It raises where the statement cannot be
    // analyzed; what is kept lives as long as the process.
    let plan = unsafe {
        let plan = pg_sys::SPI_prepare_cursor(text.as_ptr(), count, types.as_mut_ptr(), options);
        assert!(!plan.is_null(), "SPI refuses a statement");
        pg_sys::SPI_keepplan(plan);
        plan
    };
    OWN.with_borrow_mut(|own| own.insert(place, Own { plan, types }));
    plan
}

/// The values of arguments, and the marks of those that are null.
pub(crate) fn values(arguments: &[DatumWithOid<'_>]) -> (Vec<pg_sys::Datum>, Vec<c_char>) {
    let value = |argument: &DatumWithOid<'_>| match argument.datum() {
        Some(datum) => (datum.sans_lifetime(), b' ' as c_char),
        None => (pg_sys::Datum::from(0), b'n' as c_char),
    };
    arguments.iter().map(value).unzip()
}
