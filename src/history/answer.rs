//! Results of any number of rows: what does not fit into work_mem the server keeps in a file.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::versions::{self, SetRows};

/// The result of the running function.
pub(crate) struct Answer {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
}

impl Answer {
    /// Begins the result.
    ///
    /// # Safety
    /// `fcinfo` must be what PostgreSQL passed to the running function, which returns a set.
    pub(crate) unsafe fn begin(fcinfo: pg_sys::FunctionCallInfo) -> Self {
        // SAFETY: the caller vouches; the caller's resources own what is set up here. The rows are those
        // the query expects, since a set of single values has no row type of its own.
        unsafe {
            let (store, descriptor) = versions::begin_set(fcinfo, SetRows::Expected);
            Self { store, descriptor }
        }
    }

    /// Adds a row, of values of the declared types in their order.
    pub(crate) fn put<const N: usize>(&self, row: [Option<pg_sys::Datum>; N]) {
        let mut values = row.map(|value| value.unwrap_or(pg_sys::Datum::from(0)));
        let mut nulls = row.map(|value| value.is_none());
        // SAFETY: the store was made for rows of the declared columns, which the callers fill, and
        // copies them.
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.descriptor,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
    }

    /// The same of texts, and of what is written like them.
    pub(crate) fn put_texts<const N: usize>(&self, row: [Option<&str>; N]) {
        let values = row.map(text);
        self.put(values);
        for value in values.into_iter().flatten() {
            // SAFETY: a varlena allocated by `text`, which the store has copied.
            unsafe { pg_sys::pfree(value.cast_mut_ptr()) };
        }
    }
}

/// A text as a value, in the current memory context.
pub(crate) fn text(text: Option<&str>) -> Option<pg_sys::Datum> {
    text.and_then(IntoDatum::into_datum)
}
