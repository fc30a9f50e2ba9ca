//! Knowing when something this backend keeps in memory has changed in the database.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use pgrx::pg_sys;

use crate::catalog::our_table;
use pgrx::prelude::*;

/// Whom to tell that a relation changed.
#[derive(Clone, Copy)]
enum Listener {
    Watch(&'static Watch),
    Function(fn(pg_sys::Oid)),
}

thread_local! {
    static LISTENERS: RefCell<Vec<Listener>> = const { RefCell::new(Vec::new()) };
}

/// Has `listener` called with the oid of each relation that changes, or with the invalid one when
/// everything may have. It must not raise, nor listen in its turn.
pub(crate) fn listen(listener: fn(pg_sys::Oid)) {
    add_listener(Listener::Function(listener));
}

/// All share one callback of PostgreSQL's: a backend has ten places for all extensions together, and
/// ends when somebody wants one more.
fn add_listener(listener: Listener) {
    let first = LISTENERS.with_borrow_mut(|listeners| {
        listeners.push(listener);
        listeners.len() == 1
    });
    if first {
        let none = pg_sys::Datum::from(0);
        // SAFETY: the callbacks live as long as the process; they do not raise.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), none);
            let schemas = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
            pg_sys::CacheRegisterSyscacheCallback(schemas, Some(schema_changed), none);
        }
    }
}

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
            add_listener(Listener::Watch(self));
        }
        self.relations.replace(vec![our_table(self.table)]);
        self.stale.set(false);
    }

    /// Watches another relation as well, until the next reading.
    pub(crate) fn add(&self, relation: pg_sys::Oid) {
        self.relations.borrow_mut().push(relation);
    }
}

impl Watch {
    fn changed(&self, relation: pg_sys::Oid) {
        let watched = |relations: &Vec<_>| relations.contains(&relation);
        let concerned = self.relations.try_borrow().is_ok_and(|r| watched(&r));
        if relation == pg_sys::Oid::INVALID || concerned {
            self.stale.set(true);
        }
    }
}

/// Relcache callback: a relation changed, or, without a name, everything may have.
#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    LISTENERS.with_borrow(|listeners| {
        for listener in listeners {
            match listener {
                Listener::Watch(watch) => watch.changed(relation),
                Listener::Function(listener) => listener(relation),
            }
        }
    });
}

/// Syscache callback: a schema changed, so relations may have come by other names.
#[pg_guard]
unsafe extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    LISTENERS.with_borrow(|listeners| {
        for listener in listeners {
            if let Listener::Watch(watch) = listener {
                watch.stale.set(true);
            }
        }
    });
}
