//! What all events of one transaction share: its id, who acts, from where, and the next ordinal.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::event::{Context, EventKey};
use tenant_guard_core::merkle::Hash;
use tenant_guard_core::reads::Who;

use super::log;
use super::text::checked;
use crate::error::{Error, OrRaise};
use crate::fault::fault_point;
use crate::identity::binding;
use crate::ledger::sealer::start;

/// Who acts according to the bound identity; all empty where none is bound.
#[derive(Default, PartialEq, Eq)]
struct Actor {
    subject: Option<String>,
    roles: Option<Vec<String>>,
    issuer: Option<String>,
    token_id: Option<String>,
    session: Option<String>,
}

/// A context record this transaction has written.
struct Written {
    number: i16,
    hash: Hash,
    actor: Rc<Actor>,
    session_role: pg_sys::Oid,
    current_role: pg_sys::Oid,
    application_name: Vec<u8>,
    /// The record is gone when this subtransaction or one around it is rolled back.
    subtransaction: pg_sys::SubTransactionId,
}

/// A context record this transaction has written for somebody else.
#[derive(Clone, Copy)]
struct Given {
    number: i16,
    hash: Hash,
    /// As of [`Written`].
    subtransaction: pg_sys::SubTransactionId,
}

#[derive(Default)]
struct State {
    /// Id of the top-level transaction the rest belongs to.
    xid: i64,
    /// Grows over savepoints that are rolled back, too: a key is never used twice.
    next_ordinal: i32,
    actor: Rc<Actor>,
    identity_generation: u64,
    contexts: Vec<Written>,
    given: HashMap<Who, Given>,
    /// For each table of the log the partition written last, with the subtransaction that took its lock
    /// and those of its indexes.
    locked: [Option<(pg_sys::Oid, pg_sys::SubTransactionId)>; 2],
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State::default());
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    static INCARNATION: OnceCell<i64> = const { OnceCell::new() };
    static CLIENT_ADDRESS: OnceCell<Option<String>> = const { OnceCell::new() };
    static ROLE_NAMES: RefCell<HashMap<pg_sys::Oid, Rc<str>>> = RefCell::new(HashMap::new());
}

/// The incarnation of the ledger in this database.
pub(crate) fn incarnation() -> i64 {
    INCARNATION.with(|incarnation| {
        *incarnation.get_or_init(|| {
            // SAFETY: reads shared memory and a backend-local variable that never change.
            let (system, database) =
                unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::MyDatabaseId) };
            tenant_guard_core::event::incarnation(system, database.to_u32())
        })
    })
}

/// The running transaction, where it has an id.
pub(crate) fn running() -> Option<i64> {
    // SAFETY: reads backend-local state.
    let xid = unsafe { pg_sys::GetTopFullTransactionIdIfAny() }.value as i64;
    (xid != 0).then_some(xid)
}

/// Takes the next key of the running transaction, giving it an id if it has none.
pub(super) fn next_key() -> EventKey {
    register_callbacks();
    // SAFETY: capture runs inside a transaction that may write.
    let xid = unsafe { pg_sys::GetTopFullTransactionId() }.value as i64;
    STATE.with_borrow_mut(|state| {
        if state.xid != xid {
            state.xid = xid;
            state.next_ordinal = 0;
            state.contexts.clear();
            state.given.clear();
            state.locked = [None; 2];
            start::note_events();
        }
        let ordinal = state.next_ordinal;
        state.next_ordinal = ordinal
            .checked_add(1)
            .ok_or(Error::TooManyEvents)
            .or_raise();
        EventKey {
            incarnation: incarnation(),
            xid,
            ordinal,
        }
    })
}

/// Whether the running transaction has written events, be it in a savepoint that was rolled back.
pub(crate) fn has_events() -> bool {
    // SAFETY: reads the state of the running transaction; 0 where it has no id.
    let xid = unsafe { pg_sys::GetTopFullTransactionIdIfAny() }.value as i64;
    xid != 0 && STATE.with_borrow(|state| state.xid == xid)
}

/// Whether the transaction that `next_key` was last called in holds the locks of a partition of a
/// table of the log, by its slot.
pub(super) fn holds_locks(slot: usize, partition: pg_sys::Oid) -> bool {
    STATE.with_borrow(|state| state.locked[slot].is_some_and(|(locked, _)| locked == partition))
}

/// Notes that the running subtransaction holds the locks of a partition.
pub(super) fn note_locks(slot: usize, partition: pg_sys::Oid) {
    if holds_locks(slot, partition) {
        return;
    }
    // SAFETY: reads the state of the running transaction.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    STATE.with_borrow_mut(|state| state.locked[slot] = Some((partition, subtransaction)));
}

/// Who acts now.
fn actor() -> Rc<Actor> {
    let generation = binding::generation();
    if let Some(actor) = STATE
        .with_borrow(|state| (state.identity_generation == generation).then(|| state.actor.clone()))
    {
        return actor;
    }
    let actor = Rc::new(binding::with_unchecked(|identity| match identity {
        None => Actor::default(),
        Some(identity) => Actor {
            subject: identity.subject.map(str::to_owned),
            roles: Some(identity.roles.map(str::to_owned).collect()),
            issuer: Some(identity.issuer.to_owned()),
            token_id: identity.token_id.map(str::to_owned),
            session: identity.session.map(str::to_owned),
        },
    }));
    STATE.with_borrow_mut(|state| {
        state.actor = actor.clone();
        state.identity_generation = generation;
    });
    actor
}

/// Number and hash of the context record that fits who acts now, written if the transaction has
/// none yet. `key` is one of this transaction's.
pub(super) fn context(key: EventKey) -> (i16, Hash) {
    let actor = actor();
    // SAFETY: backend-local state, the name a C string that is never null after start-up and
    // replaced only between commands.
    let (session_role, current_role, application_name) = unsafe {
        (
            pg_sys::GetSessionUserId(),
            pg_sys::GetUserId(),
            CStr::from_ptr(pg_sys::application_name).to_bytes(),
        )
    };
    let found = STATE.with_borrow(|state| {
        let fits = |written: &&Written| {
            (written.session_role, written.current_role) == (session_role, current_role)
                && (Rc::ptr_eq(&written.actor, &actor) || written.actor == actor)
                && written.application_name == application_name
        };
        state
            .contexts
            .iter()
            .find(fits)
            .map(|written| (written.number, written.hash))
    });
    if let Some(found) = found {
        return found;
    }
    let number = next_number();
    let hash = write_context(key, number, &who());
    fault_point!("capture.context_written");
    STATE.with_borrow_mut(|state| {
        state.contexts.push(Written {
            number,
            hash,
            actor,
            session_role,
            current_role,
            application_name: application_name.to_vec(),
            // SAFETY: reads the state of the running transaction.
            subtransaction: unsafe { pg_sys::GetCurrentSubTransactionId() },
        });
    });
    (number, hash)
}

/// The number of the next context record.
fn next_number() -> i16 {
    let last = STATE.with_borrow(|state| {
        let written = state.contexts.iter().map(|written| written.number);
        written
            .chain(state.given.values().map(|given| given.number))
            .max()
    });
    last.map_or(Some(0), |last| last.checked_add(1))
        .ok_or(Error::TooManyEvents)
        .or_raise()
}

/// The same of somebody who acted in another transaction, perhaps in another session.
pub(super) fn context_of(key: EventKey, who: &Who) -> (i16, Hash) {
    if let Some(given) = STATE.with_borrow(|state| state.given.get(who).copied()) {
        return (given.number, given.hash);
    }
    let number = next_number();
    let hash = write_context(key, number, who);
    // SAFETY: reads the state of the running transaction.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    let given = Given {
        number,
        hash,
        subtransaction,
    };
    STATE.with_borrow_mut(|state| state.given.insert(who.clone(), given));
    (number, hash)
}

/// Who acts now, for a record that another transaction writes.
pub(super) fn who() -> Who {
    // SAFETY: as in `context`.
    let (session_role, current_role, name) = unsafe {
        let name = CStr::from_ptr(pg_sys::application_name).to_bytes();
        (pg_sys::GetSessionUserId(), pg_sys::GetUserId(), name)
    };
    let name = checked(name);
    let actor = actor();
    Who {
        account: binding::with_unchecked(|identity| {
            identity.map_or_else(String::new, |identity| identity.account.to_owned())
        }),
        issuer: actor.issuer.clone(),
        token_id: actor.token_id.clone(),
        session: actor.session.clone(),
        subject: actor.subject.clone(),
        roles: actor.roles.clone(),
        session_role: role_name(session_role).to_string(),
        current_role: role_name(current_role).to_string(),
        client_address: client_address(),
        application_name: (!name.is_empty()).then(|| name.to_owned()),
    }
}

/// Who acts now, for a record made in the middle of an error: what this process has in memory, and nothing
/// of a catalog. A role it has not met is empty.
pub(super) fn who_in_memory() -> Who {
    // SAFETY: as in `context`.
    let (session_role, current_role, application) = unsafe {
        let name = CStr::from_ptr(pg_sys::application_name).to_bytes();
        (pg_sys::GetSessionUserId(), pg_sys::GetUserId(), name)
    };
    let role = |role| {
        ROLE_NAMES.with(|names| {
            let names = names.try_borrow().ok()?;
            names.get(&role).map(ToString::to_string)
        })
    };
    let mut who = Who {
        session_role: role(session_role).unwrap_or_default(),
        current_role: role(current_role).unwrap_or_default(),
        client_address: CLIENT_ADDRESS.with(|address| address.get().cloned().flatten()),
        application_name: String::from_utf8(application.to_vec()).ok(),
        ..Who::default()
    };
    who.application_name = who.application_name.filter(|name| !name.is_empty());
    binding::with_unchecked(|identity| {
        let Some(identity) = identity else { return };
        who.account = identity.account.to_owned();
        who.subject = identity.subject.map(str::to_owned);
        who.roles = Some(identity.roles.map(str::to_owned).collect());
        who.issuer = Some(identity.issuer.to_owned());
        who.token_id = identity.token_id.map(str::to_owned);
        who.session = identity.session.map(str::to_owned);
    });
    who
}

/// Whether somebody is who acts now, but for his identity.
pub(super) fn is_current(who: &Who, roles: (pg_sys::Oid, pg_sys::Oid)) -> bool {
    // SAFETY: as in `context`.
    let (session_role, current_role, name) = unsafe {
        let name = CStr::from_ptr(pg_sys::application_name).to_bytes();
        (pg_sys::GetSessionUserId(), pg_sys::GetUserId(), name)
    };
    (session_role, current_role) == roles
        && who.application_name.as_deref().unwrap_or("").as_bytes() == name
}

/// Adds a context record to the log; its hash.
fn write_context(key: EventKey, number: i16, who: &Who) -> Hash {
    let roles: Option<Vec<&str>> = who
        .roles
        .as_ref()
        .map(|roles| roles.iter().map(String::as_str).collect());
    // SAFETY: reads the state of the running transaction.
    let start = unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
    let context = Context {
        incarnation: key.incarnation,
        xid: key.xid,
        number,
        issuer: who.issuer.as_deref(),
        token_id: who.token_id.as_deref(),
        session: who.session.as_deref(),
        subject: who.subject.as_deref(),
        roles: roles.as_deref(),
        session_role: &who.session_role,
        current_role: &who.current_role,
        client_address: who.client_address.as_deref(),
        application_name: who.application_name.as_deref(),
        transaction_start: crate::clock::to_unix(start),
    };
    let mut row = log::Row::new(&log::AUDIT_CONTEXT, start);
    row.int8(context.incarnation);
    row.int8(context.xid);
    row.int8(start);
    row.int2(context.number);
    row.text(context.issuer);
    row.text(context.token_id);
    row.text(context.session);
    row.text(context.subject);
    row.texts(context.roles);
    row.text(Some(context.session_role));
    row.text(Some(context.current_role));
    row.text(context.client_address);
    row.text(context.application_name);
    let hash = context.hash();
    row.bytes(&hash);
    row.insert();
    hash
}

/// Address of the client; `None` on a local socket and in background workers.
fn client_address() -> Option<String> {
    CLIENT_ADDRESS.with(|address| {
        address
            .get_or_init(|| {
                // SAFETY: two functions of the server without and with one argument; both results
                // live in the current memory context.
                unsafe {
                    let address =
                        pgrx::direct_function_call_as_datum(pg_sys::inet_client_addr, &[])?;
                    pgrx::direct_function_call::<String>(pg_sys::network_host, &[Some(address)])
                }
            })
            .clone()
    })
}

fn role_name(role: pg_sys::Oid) -> Rc<str> {
    if let Some(known) = ROLE_NAMES.with_borrow(|names| names.get(&role).cloned()) {
        return known;
    }
    // SAFETY: raises for a role that does not exist, else returns a terminated string.
    let name = unsafe { super::text::name(pg_sys::GetUserNameFromId(role, false)) };
    let name: Rc<str> = name.into();
    ROLE_NAMES.with_borrow_mut(|names| names.insert(role, name.clone()));
    name
}

fn register_callbacks() {
    if REGISTERED.replace(true) {
        return;
    }
    // SAFETY: the callbacks live as long as the library and never raise.
    unsafe {
        pg_sys::RegisterSubXactCallback(Some(subtransaction_ended), std::ptr::null_mut());
        pg_sys::CacheRegisterSyscacheCallback(
            pg_sys::SysCacheIdentifier::AUTHOID as i32,
            Some(roles_changed),
            pg_sys::Datum::from(0),
        );
    }
    // Names looked up before the callback stood may be stale.
    ROLE_NAMES.with_borrow_mut(HashMap::clear);
}

/// Forgets the context records and the locks that a rolled-back subtransaction took along. Subtransactions are
/// numbered as they begin, so all that began inside it have higher numbers, and all higher numbers
/// so far began inside it.
#[pg_guard]
unsafe extern "C-unwind" fn subtransaction_ended(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        STATE.with_borrow_mut(|state| {
            state
                .contexts
                .retain(|written| written.subtransaction < subtransaction);
            state
                .given
                .retain(|_, given| given.subtransaction < subtransaction);
            state.locked = state
                .locked
                .map(|locked| locked.filter(|&(_, by)| by < subtransaction));
        });
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn roles_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    ROLE_NAMES.with_borrow_mut(HashMap::clear);
}
