//! The relations whose reads are audited, as this backend knows them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ptr;
use std::rc::Rc;

use pgrx::pg_sys;

use crate::audit::text::qualified_name;
use crate::catalog::our_table;
use crate::watch::Watch;

unsafe extern "C-unwind" {
    /// Of `catalog/pg_inherits.h`, which pgrx does not bind.
    fn find_all_inheritors(
        parent: pg_sys::Oid,
        mode: pg_sys::LOCKMODE,
        parents: *mut *mut pg_sys::List,
    ) -> *mut pg_sys::List;
}

static WATCH: Watch = Watch::new(c"read_audit");

/// What a read of one relation is called.
pub(super) struct Named {
    pub(super) root: Rc<str>,
    /// The partition or child itself, if it is one.
    pub(super) leaf: Option<Rc<str>>,
}

pub(super) type Known = HashMap<pg_sys::Oid, Named>;

thread_local! {
    /// None where no relation's reads are audited.
    static KNOWN: RefCell<Option<Rc<Known>>> = const { RefCell::new(None) };
    /// Whether there is one: what a statement looks at where there is none.
    static ANY: Cell<bool> = const { Cell::new(false) };
    static LOADING: Cell<bool> = const { Cell::new(false) };
}

/// The relations; `None` where there are none. Needs a transaction that has not failed.
pub(super) fn known() -> Option<Rc<Known>> {
    if WATCH.is_stale() {
        if LOADING.get() {
            return None;
        }
        load();
    }
    if !ANY.get() {
        return None;
    }
    KNOWN.with_borrow(Option::clone)
}

fn load() {
    struct Loading;
    impl Drop for Loading {
        fn drop(&mut self) {
            LOADING.set(false);
        }
    }

    LOADING.set(true);
    let _loading = Loading;
    ANY.set(false);
    let read: Result<Known, std::convert::Infallible> = WATCH.read(|| Ok(read()));
    let Ok(known) = read;
    ANY.set(!known.is_empty());
    KNOWN.replace((!known.is_empty()).then(|| Rc::new(known)));
}

/// Reads what is committed now, without running SQL: in the middle of somebody's statement, whatever
/// his search path, his snapshot or his rights.
fn read() -> Known {
    let mut known = Known::new();
    let table = our_table(c"read_audit");
    // Nothing is there once the extension is dropped.
    if table == pg_sys::Oid::INVALID {
        return known;
    }
    for root in roots(table) {
        WATCH.add(root);
        // SAFETY: catalog look-ups; 0 for a relation that is gone.
        if unsafe { pg_sys::get_rel_relkind(root) } == 0 {
            continue;
        }
        let name: Rc<str> = qualified_name(root).into();
        // SAFETY: the list of the server's own function, with the relation itself first.
        let tree = unsafe {
            let tree = pg_sys::ffi::pg_guard_ffi_boundary(|| {
                find_all_inheritors(root, pg_sys::NoLock as i32, ptr::null_mut())
            });
            pgrx::PgList::<pg_sys::Oid>::from_pg(tree)
        };
        for relation in tree.iter_oid() {
            WATCH.add(relation);
            // SAFETY: as above: no lock keeps it there.
            if unsafe { pg_sys::get_rel_relkind(relation) } == 0 {
                continue;
            }
            let is_root = relation == root;
            let named = Named {
                root: Rc::clone(&name),
                leaf: (!is_root).then(|| qualified_name(relation).into()),
            };
            // What is audited by itself below another one goes by the upper one's name.
            if is_root {
                known.entry(relation).or_insert(named);
            } else {
                known.insert(relation, named);
            }
        }
    }
    known
}

/// Whether the table names any relation, be it one that is gone.
pub(super) fn are_registered() -> bool {
    let table = our_table(c"read_audit");
    table != pg_sys::Oid::INVALID && !roots(table).is_empty()
}

/// The relations that the table names.
fn roots(table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut found = Vec::new();
    // SAFETY: a table of ours, open and locked during the scan; its first column is a regclass that is
    // not null. On ERROR the resource owner ends scan and relation.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::Oid::INVALID,
            false,
            ptr::null_mut(),
            0,
            ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let mut is_null = false;
            let datum = pg_sys::SPI_getbinval(tuple, (*relation).rd_att, 1, &mut is_null);
            if !is_null {
                found.push(pg_sys::Oid::from(datum.value() as u32));
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
    found
}

/// Whether there may be any: a look at two flags.
pub(super) fn may_be_any() -> bool {
    WATCH.is_stale() || ANY.get()
}

/// Whether there were any when it was last asked.
pub(super) fn were_any() -> bool {
    ANY.get()
}
