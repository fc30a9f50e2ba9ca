//! Knowing when something this backend keeps in memory has changed in the database.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

/// Watches a table of ours: stale until it is read, and again after every change of it that this
/// backend is told of. A statement trigger on the table tells (`tell_backends` in sql/identity.sql).
pub(crate) struct Watch {
    table: &'static CStr,
    stale: Cell<bool>,
    registered: Cell<bool>,
    relations: RefCell<Vec<pg_sys::Oid>>,
}

// SAFETY: a backend has one thread, and what is kept here belongs to the backend.
unsafe impl Sync for Watch {}

impl Watch {
    /// Watches the table of this name in our schema.
    pub(crate) const fn new(table: &'static CStr) -> Self {
        Self {
            table,
            stale: Cell::new(true),
            registered: Cell::new(false),
            relations: RefCell::new(Vec::new()),
        }
    }

    /// Whether what was read is out of date.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.get()
    }

    /// Reads anew. Stale again where that fails, or is told of a change meanwhile.
    pub(crate) fn read<T, E>(&'static self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        struct Reading(&'static Watch, bool);
        impl Drop for Reading {
            fn drop(&mut self) {
                if !self.1 {
                    self.0.stale.set(true);
                }
            }
        }

        self.begin();
        let mut reading = Reading(self, false);
        let result = read();
        reading.1 = result.is_ok();
        result
    }

    fn begin(&'static self) {
        if !self.registered.replace(true) {
            let this = pg_sys::Datum::from(std::ptr::from_ref(self));
            // SAFETY: the callbacks and what they are given live as long as the
            // process; they do not raise.
            unsafe {
                pg_sys::CacheRegisterRelcacheCallback(Some(changed), this);
                let schemas = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
                pg_sys::CacheRegisterSyscacheCallback(schemas, Some(schema_changed), this);
            }
        }
        // SAFETY: catalog look-ups by static names.
        let table = unsafe {
            let schema = pg_sys::get_namespace_oid(c"tenant_guard".as_ptr(), true);
            pg_sys::get_relname_relid(self.table.as_ptr(), schema)
        };
        self.relations.replace(vec![table]);
        self.stale.set(false);
    }

    /// Watches another relation as well, until the next reading.
    pub(crate) fn add(&self, relation: pg_sys::Oid) {
        self.relations.borrow_mut().push(relation);
    }
}

/// Relcache callback: a relation changed, or, without a name, everything may have.
#[pg_guard]
unsafe extern "C-unwind" fn changed(watch: pg_sys::Datum, relation: pg_sys::Oid) {
    // SAFETY: what `begin` registered.
    let watch = unsafe { &*watch.cast_mut_ptr::<Watch>().cast_const() };
    let watched = |relations: &Vec<_>| relations.contains(&relation);
    if relation == pg_sys::Oid::INVALID || watch.relations.try_borrow().is_ok_and(|r| watched(&r)) {
        watch.stale.set(true);
    }
}

/// Syscache callback: a schema changed, so relations may have come by other names.
#[pg_guard]
unsafe extern "C-unwind" fn schema_changed(watch: pg_sys::Datum, _cache: i32, _hash: u32) {
    // SAFETY: what `begin` registered.
    let watch = unsafe { &*watch.cast_mut_ptr::<Watch>().cast_const() };
    watch.stale.set(true);
}
