//! The floor once more, from PostgreSQL's restrictive row-security hook: made from the registry, so
//! that it holds where a policy was dropped or altered.
//!
//! Where the floor policy stands, both are equal, and PostgreSQL evaluates one of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::ptr;
use std::rc::Rc;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::policy::FLOOR;

use super::expression;
use super::registered::{Conditions, Registry};
use crate::catalog::as_relation_owner;
use crate::clock::statement_start_us;
use crate::error::{Error, OrRaise};
use crate::memory::Memory;
use crate::watch;

/// The hook that was there before ours.
static mut PREVIOUS: pg_sys::row_security_policy_hook_type = None;

/// Installs the hook.
pub(crate) fn install() {
    // SAFETY: called once, when the library is loaded, before anything in it can run.
    unsafe {
        PREVIOUS = pg_sys::row_security_policy_hook_restrictive;
        pg_sys::row_security_policy_hook_restrictive = Some(restrictive_policies);
    }
}

/// Runs `work` as in a session that has not loaded the library: held by policies alone. Plans made
/// before are not used in it, nor those made in it afterwards.
pub(super) fn without<T>(work: impl FnOnce() -> T) -> T {
    struct Held(bool);
    impl Drop for Held {
        fn drop(&mut self) {
            SUSPENDED.set(self.0);
            // SAFETY: it marks plans of this backend and does not raise.
            unsafe { pg_sys::ResetPlanCache() };
        }
    }

    // SAFETY: as above.
    unsafe { pg_sys::ResetPlanCache() };
    let _held = Held(SUSPENDED.replace(true));
    work()
}

/// Called for each relation of a statement that row security applies to, once for each kind of
/// access; the result is added to the policies of the relation.
#[pg_guard]
unsafe extern "C-unwind" fn restrictive_policies(
    command: pg_sys::CmdType::Type,
    relation: pg_sys::Relation,
) -> *mut pg_sys::List {
    // SAFETY: PREVIOUS was set before the hook was. PostgreSQL passes an open relation. The list
    // lives in the caller's memory context.
    unsafe {
        let others = match PREVIOUS {
            Some(previous) => pg_sys::ffi::pg_guard_ffi_boundary(|| previous(command, relation)),
            None => ptr::null_mut(),
        };
        if pg_sys::IsBinaryUpgrade || SUSPENDED.get() {
            return others;
        }
        match policy_of((*relation).rd_id, command) {
            Some(policy) => pg_sys::lappend(others, policy.cast()),
            None => others,
        }
    }
}

/// What the hook adds to the policies of one relation.
struct Floor {
    policies: Option<Policies>,
    /// The relations whose changes make it stale.
    depends: Vec<pg_sys::Oid>,
}

/// One for each command, and the memory they stand in.
struct Policies {
    select: *mut pg_sys::RowSecurityPolicy,
    insert: *mut pg_sys::RowSecurityPolicy,
    change: *mut pg_sys::RowSecurityPolicy,
    _memory: Memory,
}

/// What this backend knows of the registry.
#[derive(Clone, Copy)]
enum Known {
    /// Something changed, or it was never looked for.
    Nothing,
    /// The extension is not created in this database.
    Absent,
    Tables(Registry),
}

thread_local! {
    static KNOWN: Cell<Known> = const { Cell::new(Known::Nothing) };
    /// By relation. Never dropped: at exit the server takes its memory back itself.
    static FLOORS: ManuallyDrop<RefCell<HashMap<pg_sys::Oid, Rc<Floor>>>> =
        ManuallyDrop::new(RefCell::new(HashMap::new()));
    /// Floors that went in the client statement that began at this time: PostgreSQL may hold
    /// policies of theirs until it has built its own conditions from them.
    static RETIRED: ManuallyDrop<RefCell<(i64, Vec<Rc<Floor>>)>> =
        const { ManuallyDrop::new(RefCell::new((0, Vec::new()))) };
    /// Counts the changes of the catalog that may concern a floor.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// Whether a probe asks what holds without this hook.
    static SUSPENDED: Cell<bool> = const { Cell::new(false) };
}

/// The policy for a command on a relation; none where the relation is not registered.
fn policy_of(
    relation: pg_sys::Oid,
    command: pg_sys::CmdType::Type,
) -> Option<*mut pg_sys::RowSecurityPolicy> {
    let known = FLOORS.with(|floors| floors.borrow().get(&relation).cloned());
    let floor = match known {
        Some(floor) => floor,
        None => build(relation),
    };
    let policies = floor.policies.as_ref()?;
    Some(match command {
        pg_sys::CmdType::CMD_SELECT => policies.select,
        pg_sys::CmdType::CMD_INSERT => policies.insert,
        _ => policies.change,
    })
}

fn build(relation: pg_sys::Oid) -> Rc<Floor> {
    register_callbacks();
    let before = CHANGES.get();
    let registry = match KNOWN.get() {
        Known::Tables(registry) => Some(registry),
        Known::Absent => None,
        Known::Nothing => {
            let found = Registry::find();
            if before == CHANGES.get() {
                KNOWN.set(found.map_or(Known::Absent, Known::Tables));
            }
            found
        }
    };
    let conditions = registry.and_then(|registry| registry.conditions(relation).or_raise());
    let floor = Rc::new(match conditions {
        Some(conditions) => Floor {
            policies: Some(Policies::compile(relation, &conditions).or_raise()),
            depends: conditions.depends,
        },
        None => Floor {
            policies: None,
            depends: vec![relation],
        },
    });
    // A change that arrived while it was built may have made it stale already.
    if before == CHANGES.get() {
        FLOORS.with(|floors| floors.borrow_mut().insert(relation, Rc::clone(&floor)));
    } else {
        retire([Rc::clone(&floor)]);
    }
    floor
}

impl Policies {
    /// Compiles conditions with the rights of the relation's owner, as the policies once were: to
    /// read a constant of a column's type may run what the owner wrote.
    fn compile(relation: pg_sys::Oid, conditions: &Conditions) -> Result<Self, Error> {
        let (read, write) = as_relation_owner(relation, || {
            let read = expression::compile(relation, &conditions.read);
            let write = match conditions.write == conditions.read {
                true => read,
                false => expression::compile(relation, &conditions.write),
            };
            (read, write)
        })?;
        let memory = Memory::new(c"tenant_guard floor");
        let (select, insert, change) = memory.within(|| {
            // SAFETY: trees of the current memory context are copied into the floor's.
            unsafe {
                let none = ptr::null_mut();
                let read = pg_sys::copyObjectImpl(read.cast());
                let write = pg_sys::copyObjectImpl(write.cast());
                (
                    policy(read.cast(), none),
                    policy(none, write.cast()),
                    policy(write.cast(), write.cast()),
                )
            }
        });
        Ok(Self {
            select,
            insert,
            change,
            _memory: memory,
        })
    }
}

/// A policy for everybody, in the current memory context. It has the floor's name: conditions on
/// written rows are equal only with equal names, and an error names it.
fn policy(qual: *mut pg_sys::Expr, check: *mut pg_sys::Expr) -> *mut pg_sys::RowSecurityPolicy {
    let name = CString::new(FLOOR).expect("the name is ours");
    let mut everybody = pg_sys::Datum::from(0);
    // SAFETY: all of it is allocated in the current context; oids are 4 bytes by value.
    unsafe {
        let policy = pg_sys::palloc0(size_of::<pg_sys::RowSecurityPolicy>())
            .cast::<pg_sys::RowSecurityPolicy>();
        (*policy).policy_name = pg_sys::pstrdup(name.as_ptr());
        (*policy).polcmd = b'*' as std::ffi::c_char;
        (*policy).roles = pg_sys::construct_array(
            &mut everybody,
            1,
            pg_sys::OIDOID,
            4,
            true,
            pg_sys::TYPALIGN_INT as std::ffi::c_char,
        );
        (*policy).permissive = false;
        (*policy).qual = qual;
        (*policy).with_check_qual = check;
        (*policy).hassublinks =
            pg_sys::checkExprHasSubLink(qual.cast()) || pg_sys::checkExprHasSubLink(check.cast());
        policy
    }
}

fn register_callbacks() {
    if REGISTERED.replace(true) {
        return;
    }
    watch::listen(relation_changed);
    // SAFETY: the callback lives as long as the library and never raises.
    unsafe {
        let none = pg_sys::Datum::from(0);
        let schemas = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
        pg_sys::CacheRegisterSyscacheCallback(schemas, Some(schema_changed), none);
    }
}

/// A relation changed, or, without a name, everything may have.
fn relation_changed(relation: pg_sys::Oid) {
    let everything = match KNOWN.get() {
        Known::Tables(registry) => registry.has(relation),
        // The tables of the extension may be coming.
        Known::Nothing | Known::Absent => true,
    };
    if everything || relation == pg_sys::Oid::INVALID {
        KNOWN.set(Known::Nothing);
        forget(|_| true);
    } else {
        forget(|floor| floor.depends.contains(&relation));
    }
}

/// A schema changed: ours may have come or gone.
#[pg_guard]
unsafe extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    KNOWN.set(Known::Nothing);
    forget(|_| true);
}

fn forget(stale: impl Fn(&Floor) -> bool) {
    CHANGES.set(CHANGES.get() + 1);
    // Nothing that can call back into the server runs while the map is borrowed.
    let gone: Vec<_> = FLOORS.with(|floors| {
        let mut floors = floors.borrow_mut();
        let gone = floors.extract_if(|_, floor| stale(floor));
        gone.map(|(_, floor)| floor).collect()
    });
    retire(gone);
}

/// Keeps floors until the next client statement.
fn retire(floors: impl IntoIterator<Item = Rc<Floor>>) {
    let now = statement_start_us();
    let over = RETIRED.with(|retired| {
        let (statement, kept) = &mut *retired.borrow_mut();
        let over = match *statement == now {
            true => Vec::new(),
            false => std::mem::take(kept),
        };
        *statement = now;
        kept.extend(floors);
        over
    });
    drop(over);
}
