//! The relations whose reads are audited, as this backend knows them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ptr;
use std::rc::Rc;

use pgrx::pg_sys;

use crate::audit::text::qualified_name;
use crate::catalog::our_table;
use crate::versions;
use crate::watch::Watch;

unsafe extern "C-unwind" {
    /// Of `catalog/pg_inherits.h`, which pgrx does not bind.
    fn find_all_inheritors(
        parent: pg_sys::Oid,
        mode: pg_sys::LOCKMODE,
        parents: *mut *mut pg_sys::List,
    ) -> *mut pg_sys::List;
}

/// The catalog pg_inherits, an index and columns of it, which pgrx does not bind.
const INHERITS: u32 = 2611;
const INHERITOR: i16 = 1;
const PARENT: i32 = 2;
const BY_INHERITOR: u32 = 2680;

static WATCH: Watch = Watch::new(c"read_audit");

/// What a read of one relation is called.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) root: Rc<str>,
    /// The partition or child itself, if it is one.
    pub(super) leaf: Option<Rc<str>>,
}

/// What is audited, and what shows its rows under another name.
#[derive(Default)]
pub(super) struct Known {
    named: HashMap<pg_sys::Oid, Named>,
    /// Of relations that are not audited: audited ones below them.
    above: HashMap<pg_sys::Oid, Vec<pg_sys::Oid>>,
}

impl Known {
    /// What a relation is called, if it is audited.
    pub(super) fn of(&self, relation: pg_sys::Oid) -> Option<&Named> {
        self.named.get(&relation)
    }

    /// The audited relations of which a query has rows that names this one; `below` says whether it
    /// reads those below it too.
    pub(super) fn reached(
        &self,
        relation: pg_sys::Oid,
        below: bool,
    ) -> impl Iterator<Item = &Named> {
        let above = self.above.get(&relation).filter(|_| below);
        let below = above.into_iter().flatten();
        let below = below.filter_map(|root| self.named.get(root));
        self.named.get(&relation).into_iter().chain(below)
    }
}

thread_local! {
    /// None where no relation's reads are audited.
    static KNOWN: RefCell<Option<Rc<Known>>> = const { RefCell::new(None) };
    /// Whether there is one: what a statement looks at where there is none.
    static ANY: Cell<bool> = const { Cell::new(false) };
    static LOADING: Cell<bool> = const { Cell::new(false) };
    /// The transaction that has relations here which it has taken from the audited ones itself; or 0.
    static KEPT_IN: Cell<u32> = const { Cell::new(0) };
}

/// The relations; `None` where there are none. Needs a transaction that has not failed.
pub(super) fn known() -> Option<Rc<Known>> {
    if is_stale() {
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
    let Ok(mut known) = read;
    keep(&mut known);
    let any = !known.named.is_empty();
    ANY.set(any);
    KNOWN.replace(any.then(|| Rc::new(known)));
}

fn is_stale() -> bool {
    let kept_in = KEPT_IN.get();
    WATCH.is_stale() || kept_in != 0 && kept_in != versions::local_transaction()
}

/// Adds what this transaction has known and may have switched off itself: nobody knows yet whether it
/// will commit that, and its reads would leave no trace where it does not.
fn keep(known: &mut Known) {
    KEPT_IN.set(0);
    // SAFETY: reads the state of the running transaction.
    let writes = unsafe { pg_sys::GetTopTransactionIdIfAny() } != pg_sys::InvalidTransactionId;
    let Some(before) = KNOWN.with_borrow(Option::clone).filter(|_| writes) else {
        return;
    };
    for (&relation, named) in &before.named {
        known.named.entry(relation).or_insert_with(|| {
            KEPT_IN.set(versions::local_transaction());
            named.clone()
        });
    }
    for (&relation, roots) in &before.above {
        let now = known.above.entry(relation).or_default();
        for root in roots {
            if !now.contains(root) {
                now.push(*root);
                KEPT_IN.set(versions::local_transaction());
            }
        }
    }
}

/// Reads what is committed now, without running SQL: in the middle of somebody's statement, whatever
/// his search path, his snapshot or his rights.
fn read() -> Known {
    let mut known = Known::default();
    let mut inherited = Vec::new();
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
                known.named.entry(relation).or_insert(named);
            } else {
                known.named.insert(relation, named);
            }
            inherited.push((relation, root));
        }
    }
    add_above(&mut known, inherited);
    known
}

/// Adds what stands above audited relations: whoever names it reads their rows. `below` holds relations
/// and the audited ones they belong to.
fn add_above(known: &mut Known, below: Vec<(pg_sys::Oid, pg_sys::Oid)>) {
    let mut next = below;
    while let Some((relation, root)) = next.pop() {
        for parent in parents(relation) {
            if known.named.contains_key(&parent) {
                continue;
            }
            WATCH.add(parent);
            let roots = known.above.entry(parent).or_default();
            if !roots.contains(&root) {
                roots.push(root);
                next.push((parent, root));
            }
        }
    }
}

/// The relations that one inherits from, or is a partition of.
fn parents(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut found = Vec::new();
    // SAFETY: a catalog, open and locked during the scan, and the fixed part of its rows. On ERROR the
    // resource owner ends scan and relation.
    unsafe {
        let catalog = pg_sys::table_open(INHERITS.into(), pg_sys::AccessShareLock as i32);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            INHERITOR,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::F_OIDEQ.into(),
            relation.into(),
        );
        let scan = pg_sys::systable_beginscan(
            catalog,
            BY_INHERITOR.into(),
            true,
            ptr::null_mut(),
            1,
            &mut key,
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let mut is_null = false;
            let row = (*catalog).rd_att;
            let datum = pg_sys::SPI_getbinval(tuple, row, PARENT, &mut is_null);
            found.push(pg_sys::Oid::from(datum.value() as u32));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as i32);
    }
    found
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

/// Whether there may be any: a look at three variables.
pub(super) fn may_be_any() -> bool {
    is_stale() || ANY.get()
}

/// Whether there were any when it was last asked.
pub(super) fn were_any() -> bool {
    ANY.get()
}
