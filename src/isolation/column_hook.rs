//! Lists of columns: what a token's roles may read and write of a table beyond its rows.
//!
//! The roles of the product share one role of the database, so its column privileges cannot tell them
//! apart. PostgreSQL calls this hook with every query when it checks privileges. An identity can only
//! be bound where the library is loaded, and without one no row of a protected table is shown.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::pg_sys;
use tenant_guard_core::assurance;
use tenant_guard_core::identity::IdentityView;
use tenant_guard_core::permission::{ColumnLists, Columns, Command, Role, Roles};

use crate::audit::reads;
use crate::catalog::{as_owner, our_table};
use crate::error::{Error, OrRaise};
use crate::identity::binding;
use crate::ledger::rows::{for_each_row, with_catalog_snapshot};
use crate::versions::{self, Rights};
use crate::watch::Watch;

static WATCH: Watch = Watch::new(c"permission");

/// The lists of one relation, and all of its columns.
struct Listed {
    lists: ColumnLists,
    columns: BTreeSet<i16>,
}

type Known = HashMap<pg_sys::Oid, Listed>;

thread_local! {
    static KNOWN: RefCell<Rc<Known>> = RefCell::default();
}

static mut PREVIOUS: versions::RightsHook = None;

versions::rights_hook!(check, PREVIOUS, judge);

/// Puts the hook in front of those that other libraries installed.
pub(crate) fn install() {
    // SAFETY: called once, by _PG_init; a backend has one thread.
    unsafe {
        PREVIOUS = pg_sys::ExecutorCheckPerms_hook;
        pg_sys::ExecutorCheckPerms_hook = Some(check);
    }
}

/// Judges the columns of every table in a query, after what other libraries judge. Who may read a whole
/// relation, and what does not run as a query, is noted here.
fn judge(rights: *mut pg_sys::List, raise: bool, previous: impl Fn() -> bool) -> bool {
    let without_executor = reads::asked_without_executor(rights);
    let grants = grants(rights, raise, previous);
    if grants && without_executor {
        reads::granted(rights, raise);
    }
    grants
}

fn grants(rights: *mut pg_sys::List, raise: bool, previous: impl Fn() -> bool) -> bool {
    if !previous() {
        return false;
    }
    // SAFETY: a variable of the server; a leader has checked for its workers.
    if !binding::is_set() || unsafe { pg_sys::ParallelWorkerNumber } >= 0 {
        return true;
    }
    let known = known();
    if known.is_empty() {
        return true;
    }
    // SAFETY: PostgreSQL passes a list of what the query asks, or null.
    let denied = unsafe { versions::entries(rights) }.find_map(|entry| denied(entry, &known));
    match denied {
        None => true,
        Some(error) if raise => error.raise(),
        Some(_) => false,
    }
}

/// The first column that the entry asks for and the token's roles may not have.
fn denied(entry: &Rights, known: &Known) -> Option<Error> {
    if !versions::is_of_relation(entry) || entry.requiredPerms == 0 {
        return None;
    }
    let listed = known.get(&entry.relid)?;
    // SAFETY: a catalog look-up for a table that the query has locked.
    let row_security = unsafe { pg_sys::check_enable_rls(entry.relid, entry.checkAsUser, true) };
    if row_security != pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32 {
        return None;
    }
    let asked = [
        (pg_sys::ACL_SELECT, Command::Select, entry.selectedCols),
        (pg_sys::ACL_INSERT, Command::Insert, entry.insertedCols),
        (pg_sys::ACL_UPDATE, Command::Update, entry.updatedCols),
    ];
    asked.into_iter().find_map(|(privilege, command, columns)| {
        if entry.requiredPerms & pg_sys::AclMode::from(privilege) == 0 {
            return None;
        }
        // Where a missing identity is no error, no row is shown without one.
        let reached = binding::with_current(|identity| reached(listed, command, identity))?;
        let mut columns = numbers(columns, listed);
        let column = columns.find(|column| *column > 0 && !reached.contains(*column))?;
        Some(column_denied(entry.relid, column))
    })
}

/// The columns that lists leave to the bound identity for a command; `None` where there is no list, or
/// no valid identity.
pub(super) fn reached_columns(relation: pg_sys::Oid, command: Command) -> Option<BTreeSet<i16>> {
    let known = known();
    let listed = known.get(&relation).filter(|_| binding::is_bound())?;
    let reached = binding::with_current(|identity| reached(listed, command, identity))?;
    match reached {
        Columns::All => None,
        Columns::Only(columns) => Some(columns),
    }
}

fn reached(listed: &Listed, command: Command, identity: &IdentityView<'_>) -> Columns {
    let granted = |role: &str| { identity.roles }.any(|granted| granted == role);
    let stated = identity.assurance;
    let meets = |level: &str| stated.is_some_and(|stated| assurance::meets(stated, level));
    listed.lists.reached(command, granted, meets)
}

/// The columns of a set as range table entries hold them; the whole row stands for each.
fn numbers(columns: *mut pg_sys::Bitmapset, listed: &Listed) -> impl Iterator<Item = i16> + '_ {
    let mut last = -1;
    let members = std::iter::from_fn(move || {
        // SAFETY: a set of the range table or null, read only.
        last = unsafe { pg_sys::bms_next_member(columns, last) };
        (last >= 0).then(|| last + pg_sys::FirstLowInvalidHeapAttributeNumber)
    });
    members.flat_map(|number| match i16::try_from(number) {
        Ok(0) => listed.columns.iter().copied().collect::<Vec<_>>(),
        Ok(number) => vec![number],
        Err(_) => Vec::new(),
    })
}

fn column_denied(relation: pg_sys::Oid, column: i16) -> Error {
    // SAFETY: catalog look-ups; null for what is gone.
    let name = |name: *const std::ffi::c_char| unsafe {
        match name.as_ref() {
            Some(name) => CStr::from_ptr(name).to_string_lossy().into_owned(),
            None => String::new(),
        }
    };
    // SAFETY: as above.
    unsafe {
        Error::ColumnDenied(
            name(pg_sys::get_attname(relation, column, true)),
            name(pg_sys::get_rel_name(relation)),
        )
    }
}

fn known() -> Rc<Known> {
    if WATCH.is_stale() {
        let loaded = Rc::new(WATCH.read(load).or_raise());
        KNOWN.replace(loaded);
    }
    KNOWN.with_borrow(Rc::clone)
}

/// Reads what is committed now, whatever snapshot the transaction reads under.
fn load() -> Result<Known, Error> {
    let mut known = Known::new();
    // Nothing is there once the extension is dropped.
    let tables = [c"permission", c"product_role", c"protection_member"].map(our_table);
    if tables.contains(&pg_sys::Oid::INVALID) {
        return Ok(known);
    }
    for table in tables {
        WATCH.add(table);
    }
    let roles = as_owner(|| with_catalog_snapshot(roles))?;
    as_owner(|| {
        with_catalog_snapshot(|| {
            for_each_row(
                c"SELECT m.relation::pg_catalog.oid::pg_catalog.int8, p.role, p.command, \
                      CASE WHEN p.columns IS NOT NULL THEN ARRAY( \
                          SELECT a.attnum::pg_catalog.text FROM pg_catalog.pg_attribute AS a \
                          WHERE a.attrelid OPERATOR(pg_catalog.=) m.relation AND NOT a.attisdropped \
                              AND a.attnum OPERATOR(pg_catalog.>) 0 \
                              AND a.attname OPERATOR(pg_catalog.=) ANY (p.columns)) END, \
                      ARRAY(SELECT a.attnum::pg_catalog.text FROM pg_catalog.pg_attribute AS a \
                          WHERE a.attrelid OPERATOR(pg_catalog.=) m.relation AND NOT a.attisdropped \
                              AND a.attnum OPERATOR(pg_catalog.>) 0) \
                  FROM tenant_guard.permission AS p \
                  JOIN tenant_guard.protection_member AS m \
                      ON m.root OPERATOR(pg_catalog.=) p.relation \
                  WHERE EXISTS (SELECT FROM tenant_guard.permission AS l \
                      WHERE l.relation OPERATOR(pg_catalog.=) p.relation \
                          AND l.columns IS NOT NULL)",
                &[],
                |row| {
                    let relation = u32::try_from(row.bigint(0)).map(pg_sys::Oid::from);
                    // The table admits no other command.
                    let command = Command::from_name(row.text(2));
                    let (Ok(relation), Some(command)) = (relation, command) else {
                        return;
                    };
                    let listed = known.entry(relation).or_insert_with(|| Listed {
                        lists: ColumnLists::default(),
                        columns: attribute_numbers(row.texts(4)),
                    });
                    let columns = match row.texts(3) {
                        None => Columns::All,
                        numbers => Columns::Only(attribute_numbers(numbers)),
                    };
                    listed.lists.add(&roles, row.text(1), command, &columns);
                },
            );
        });
    });
    known.retain(|_, listed| listed.lists.simplify());
    Ok(known)
}

fn roles() -> Result<Roles, Error> {
    let mut roles = Vec::new();
    for_each_row(
        c"SELECT r.name, r.inherits, r.assurance FROM tenant_guard.product_role AS r",
        &[],
        |row| {
            let inherits = row.texts(1).unwrap_or_default();
            roles.push(Role {
                name: row.text(0).to_owned(),
                inherits: inherits.into_iter().map(str::to_owned).collect(),
                assurance: row.optional_text(2).map(str::to_owned),
            });
        },
    );
    Ok(Roles::new(roles)?)
}

fn attribute_numbers(texts: Option<Vec<&str>>) -> BTreeSet<i16> {
    let texts = texts.unwrap_or_default().into_iter();
    texts.filter_map(|number| number.parse().ok()).collect()
}
