//! The triggers that hold a foreign key to the account where the key itself cannot.
//!
//! Of two transactions, one that refers to a row and one that gives that row to another account, the
//! second waits for the first: it locks whoever refers against writers, and then looks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::mem::ManuallyDrop;
use std::rc::Rc;

use pgrx::prelude::*;
use tenant_guard_core::reference::{BIND, trigger_name};

use super::path::{Account, Path, account};
use super::triggers::{Unpaired, has, unpaired};
use super::values::column_number;
use crate::audit::text::qualified_name;
use crate::catalog::{as_relation_owner, our_table};
use crate::error::{Error, OrRaise};
use crate::isolation::{lookup, registry};
use crate::ledger::rows::{for_each_row, with_latest_snapshot};
use crate::raw::{after_row, raw_function};
use crate::watch::Watch;

/// What a trigger compares.
enum Held {
    /// Rows of the relation refer by these columns.
    Refers {
        own: Own,
        columns: Vec<i16>,
        parent: Path,
    },
    /// Rows of the relation are referred to, by their values of these columns.
    Referred {
        own: Own,
        references: Vec<(Vec<i16>, pg_sys::Oid, Path)>,
    },
    /// A side that is not protected has no accounts.
    Nothing,
}

/// How the row in hand finds its account.
struct Own {
    columns: Vec<i16>,
    account: Account,
}

pub(super) static WATCH: Watch = Watch::new(c"protection");

thread_local! {
    /// By trigger oid. Never dropped: at exit the server takes its memory back itself.
    static CACHE: ManuallyDrop<RefCell<HashMap<pg_sys::Oid, Rc<Held>>>> =
        ManuallyDrop::new(RefCell::default());
}

/// What a firing trigger compares, worked out once and again after a change.
///
/// # Safety
/// `trigger` must be what PostgreSQL passed to the running trigger function.
unsafe fn held(trigger: &pg_sys::TriggerData, refers: bool) -> Rc<Held> {
    if WATCH.is_stale() {
        CACHE.with(|cache| cache.borrow_mut().clear());
        WATCH.read(|| Ok::<_, Error>(())).or_raise();
        for table in [c"protection_member", c"protection_link"] {
            WATCH.add(our_table(table));
        }
    }
    // SAFETY: a firing trigger has its catalog row in memory, with tgnargs terminated arguments.
    let (oid, relation, key) = unsafe {
        let definition = &*trigger.tg_trigger;
        let key = match definition.tgnargs {
            1 => CStr::from_ptr(*definition.tgargs)
                .to_string_lossy()
                .into_owned(),
            _ => String::new(),
        };
        (definition.tgoid, (*trigger.tg_relation).rd_id, key)
    };
    if let Some(known) = CACHE.with(|cache| cache.borrow().get(&oid).cloned()) {
        return known;
    }
    let held = Rc::new(work_out(relation, &key, refers).or_raise());
    CACHE.with(|cache| cache.borrow_mut().insert(oid, Rc::clone(&held)));
    held
}

fn work_out(relation: pg_sys::Oid, key: &str, refers: bool) -> Result<Held, Error> {
    WATCH.add(relation);
    let mut keys = unpaired(relation);
    keys.retain(|found| found.name == key && found.refers == refers);
    let own = || {
        let (columns, account) = account(registry::root_of(relation)?)?;
        let columns = numbers(relation, &columns)?;
        Some(Own { columns, account })
    };
    if refers {
        // Whoever renamed the key, or dropped it, is to say what holds now.
        let Some(found) = keys.into_iter().next() else {
            return Err(Error::StaleBinding(
                qualified_name(relation),
                key.to_owned(),
            ));
        };
        let path = registry::root_of(found.parent)
            .and_then(|root| Path::to(found.parent, root, &found.parent_columns));
        let held = own().zip(path).zip(numbers(relation, &found.columns));
        return Ok(
            held.map_or(Held::Nothing, |((own, parent), columns)| Held::Refers {
                own,
                columns,
                parent,
            }),
        );
    }
    let Some(own) = own() else {
        return Ok(Held::Nothing);
    };
    let bind = trigger_name(BIND, key);
    let reference = |found: Unpaired| {
        if !has(found.child, &bind) {
            return None;
        }
        let root = registry::root_of(found.child)?;
        let path = Path::to(found.child, root, &found.columns)?;
        Some((numbers(relation, &found.parent_columns)?, found.child, path))
    };
    let references = keys.into_iter().filter_map(reference).collect();
    Ok(Held::Referred { own, references })
}

fn numbers(relation: pg_sys::Oid, columns: &[String]) -> Option<Vec<i16>> {
    columns
        .iter()
        .map(|column| column_number(relation, column))
        .collect()
}

raw_function! {
    /// `check_binding() returns trigger`: a row refers to a row of its own account.
    tenant_guard_check_binding, pg_finfo_tenant_guard_check_binding, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the row lives through the call.
        unsafe {
            let trigger = after_row(fcinfo, "check_binding()");
            let row = Values::of(trigger, new_row(trigger));
            if let Held::Refers { own, columns, parent } = &*held(trigger, true)
                && let Some(key) = row.texts(columns)
            {
                // What the same command wrote is referred to, too.
                pg_sys::CommandCounterIncrement();
                let account = own.account(&row);
                let referred = parent.accounts(&key);
                // The key may be deferred where the trigger is not: whose the row will be that comes
                // before the key is looked at, nobody knows yet.
                let foreign = referred.is_empty() && !is_replica()
                    || { referred.iter().flatten() }
                        .any(|referred| Some(referred) != account.as_ref());
                if foreign && row.still_stands() {
                    let parent = bare_name(parent.relation);
                    Error::ForeignAccount(row.bare_name(), row.key_name(), parent).raise();
                }
            }
        }
        pg_sys::Datum::from(0)
    }
}

raw_function! {
    /// `check_bound() returns trigger`: a row that is referred to stays in its account.
    tenant_guard_check_bound, pg_finfo_tenant_guard_check_bound, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the rows live through the call.
        unsafe {
            let trigger = after_row(fcinfo, "check_bound()");
            let row = Values::of(trigger, new_row(trigger));
            let old = Values::of(trigger, trigger.tg_trigtuple);
            if let Held::Referred { own, references } = &*held(trigger, false)
                && row.all(&own.columns) != old.all(&own.columns)
            {
                pg_sys::CommandCounterIncrement();
                // A row without an account is everybody's.
                if let Some(account) = own.account(&row) {
                    refuse_foreign(&row, &account, references);
                }
            }
        }
        pg_sys::Datum::from(0)
    }
}

/// Refuses a row that rows of another account than its new one refer to.
unsafe fn refuse_foreign(
    row: &Values,
    account: &str,
    references: &[(Vec<i16>, pg_sys::Oid, Path)],
) {
    for (columns, child, path) in references {
        // SAFETY: the row is of the relation whose columns these are.
        let Some(key) = (unsafe { row.texts(columns) }) else {
            continue;
        };
        for table in lookup::tree_of(*child) {
            // Whoever is about to refer to the row has this table locked to write it.
            // SAFETY: a lock on an oid; of a relation that is gone it is a lock on nothing.
            unsafe { pg_sys::LockRelationOid(table, pg_sys::ShareRowExclusiveLock as i32) };
        }
        let foreign = { path.accounts(&key).into_iter() }
            .flatten()
            .any(|referring| referring != account);
        // SAFETY: as above.
        if foreign && unsafe { row.still_stands() } {
            Error::BoundToAccount(row.bare_name(), row.key_name(), bare_name(*child)).raise();
        }
    }
}

/// Whether rows are written as another server wrote them, in whatever order they come.
fn is_replica() -> bool {
    // SAFETY: a setting, read by its own thread.
    unsafe { pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as i32 }
}

/// The name of a relation as PostgreSQL's errors of foreign keys have it.
fn bare_name(relation: pg_sys::Oid) -> String {
    // SAFETY: a catalog look-up by oid: null or a terminated copy.
    unsafe {
        let name = pg_sys::get_rel_name(relation);
        if name.is_null() {
            return relation.to_u32().to_string();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

fn new_row(trigger: &pg_sys::TriggerData) -> pg_sys::HeapTuple {
    match trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
        pg_sys::TRIGGER_EVENT_UPDATE => trigger.tg_newtuple,
        _ => trigger.tg_trigtuple,
    }
}

/// A row that a trigger was fired for.
struct Values<'a> {
    trigger: &'a pg_sys::TriggerData,
    row: pg_sys::HeapTuple,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl<'a> Values<'a> {
    /// # Safety
    /// The row must be one of the firing trigger's.
    unsafe fn of(trigger: &'a pg_sys::TriggerData, row: pg_sys::HeapTuple) -> Self {
        // SAFETY: the relation of a firing trigger is open; the arrays are as long as it is wide.
        unsafe {
            let descriptor = (*trigger.tg_relation).rd_att;
            let width = (*descriptor).natts as usize;
            let mut all = Self {
                trigger,
                row,
                values: vec![pg_sys::Datum::from(0); width],
                nulls: vec![true; width],
            };
            let (values, nulls) = (all.values.as_mut_ptr(), all.nulls.as_mut_ptr());
            pg_sys::heap_deform_tuple(row, descriptor, values, nulls);
            all
        }
    }

    /// The text of a column.
    ///
    /// # Safety
    /// The number must be of a column of the trigger's relation.
    unsafe fn text(&self, number: i16) -> Option<String> {
        let at = number as usize - 1;
        if self.nulls[at] {
            return None;
        }
        // SAFETY: the value is of the column's type, whose output function gives a terminated text.
        unsafe {
            let relation = (*self.trigger.tg_relation).rd_id;
            let kind = pg_sys::getBaseType(pg_sys::get_atttype(relation, number));
            let (mut function, mut varlena) = (pg_sys::Oid::INVALID, false);
            pg_sys::getTypeOutputInfo(kind, &mut function, &mut varlena);
            let text = pg_sys::OidOutputFunctionCall(function, self.values[at]);
            Some(CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    }

    /// The texts of these columns, null ones too.
    ///
    /// # Safety
    /// As of [`text`](Self::text).
    unsafe fn all(&self, numbers: &[i16]) -> Vec<Option<String>> {
        // SAFETY: the caller vouches.
        { numbers.iter() }
            .map(|number| unsafe { self.text(*number) })
            .collect()
    }

    /// The texts of these columns; none where one is null, as a key that is null refers to nothing.
    ///
    /// # Safety
    /// As of [`text`](Self::text).
    unsafe fn texts(&self, numbers: &[i16]) -> Option<Vec<String>> {
        // SAFETY: the caller vouches.
        unsafe { self.all(numbers) }.into_iter().collect()
    }

    /// Whether this version of the row is there. A deferred trigger may be fired for one that was
    /// changed again, and will be fired for that one too.
    ///
    /// # Safety
    /// The row must be stored.
    unsafe fn still_stands(&self) -> bool {
        // SAFETY: the relation is open; the tuple's own place lives as long as the tuple.
        unsafe {
            let relation = (*self.trigger.tg_relation).rd_id;
            let query = format!(
                "SELECT ''::pg_catalog.text FROM ONLY {} AS s WHERE s.ctid OPERATOR(pg_catalog.=) $1",
                qualified_name(relation)
            );
            let query = CString::new(query).expect("names of the catalog hold no NUL");
            let place = pg_sys::Datum::from(&raw mut (*self.row).t_self);
            let mut stands = false;
            as_relation_owner(relation, || {
                with_latest_snapshot(|| {
                    for_each_row(&query, &[(pg_sys::TIDOID, place)], |_| stands = true);
                });
            })
            .or_raise();
            stands
        }
    }

    fn bare_name(&self) -> String {
        // SAFETY: the relation of a firing trigger is open.
        bare_name(unsafe { (*self.trigger.tg_relation).rd_id })
    }

    fn key_name(&self) -> String {
        // SAFETY: `held` has read this very argument.
        unsafe {
            CStr::from_ptr(*(*self.trigger.tg_trigger).tgargs)
                .to_string_lossy()
                .into_owned()
        }
    }
}

impl Own {
    /// The account of a row.
    ///
    /// # Safety
    /// The row must be of the relation that this is of.
    unsafe fn account(&self, row: &Values<'_>) -> Option<String> {
        // SAFETY: the caller vouches.
        self.account.of(&unsafe { row.all(&self.columns) })
    }
}
