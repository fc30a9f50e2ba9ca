//! The identity bound to the transaction.
//!
//! It lives in the setting `tenant_guard.identity`, so PostgreSQL itself ends it with the
//! transaction, rolls it back with a savepoint and carries it to parallel workers. Its parsed form
//! is the setting's `extra`, which travels with the value: a reader follows one pointer.
//!
//! The account a transaction was bound to is remembered apart from the setting, in backend memory,
//! so that neither RESET ALL nor ROLLBACK TO lets a second account in.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::rc::Rc;

use pgrx::pg_sys::panic::ErrorReportWithLevel;
use pgrx::prelude::*;
use pgrx::spi::SpiError;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::identity::{Identity, IdentityView};

use super::revocation;
use crate::clock::statement_start_us;
use crate::error::Error;
use crate::settings::{ON_MISSING_IDENTITY, OnMissingIdentity};
use crate::subtransaction::undone;
use crate::versions::{self, local_transaction};

/// Parsed form of the setting: this header, then the bytes of the value itself.
#[repr(C)]
struct Extra {
    /// First moment at which the identity is no longer valid, Unix microseconds.
    valid_until_us: i64,
    bigint: i64,
    uuid: [u8; 16],
    has_uuid: bool,
    has_bigint: bool,
    length: usize,
}

/// The account and subject last bound in this session, in the forms readers return.
///
/// Readers hand out pointers into it, so it is never changed, and released only when the client
/// statement that replaced it is over: the arguments of a CALL outlive a COMMIT inside it.
#[derive(Default)]
struct Last {
    account: String,
    account_text: Varlena,
    account_uuid: [u8; 16],
    subject: Option<Subject>,
}

struct Subject {
    text: String,
    value: Varlena,
    uuid: Option<[u8; 16]>,
    bigint: Option<i64>,
}

/// A text as a PostgreSQL value: 4-byte header and bytes, aligned by the element type.
#[derive(Default)]
struct Varlena(Vec<u32>);

thread_local! {
    static CURRENT: Cell<*const Extra> = const { Cell::new(ptr::null()) };
    static GENERATION: Cell<u64> = const { Cell::new(0) };
    static WRITING: Cell<bool> = const { Cell::new(false) };
    /// Local id of the transaction that was bound to the account of `LAST`.
    static BOUND_TRANSACTION: Cell<u32> = const { Cell::new(0) };
    static LAST: RefCell<Rc<Last>> = RefCell::default();
    /// What was replaced in the client statement that began at this time.
    static REPLACED: RefCell<(i64, Vec<Rc<Last>>)> = const { RefCell::new((0, Vec::new())) };
}

impl Last {
    fn new(extra: &Extra) -> Self {
        let view = extra.view();
        Self {
            account: view.account.to_owned(),
            account_text: Varlena::new(view.account),
            account_uuid: extra.uuid,
            subject: view.subject.map(Subject::new),
        }
    }

    fn is_of(&self, view: &IdentityView<'_>) -> bool {
        let subject = self.subject.as_ref().map(|subject| subject.text.as_str());
        self.account == view.account && subject == view.subject
    }
}

impl Subject {
    fn new(text: &str) -> Self {
        let number = AccountId::from_text(text).ok();
        Self {
            text: text.to_owned(),
            value: Varlena::new(text),
            uuid: uuid::Uuid::try_parse(text).ok().map(uuid::Uuid::into_bytes),
            bigint: number.as_ref().and_then(AccountId::as_bigint),
        }
    }
}

impl Varlena {
    fn new(text: &str) -> Self {
        let length = size_of::<u32>() + text.len();
        let mut varlena = vec![0; length.div_ceil(size_of::<u32>())];
        // SAFETY: the buffer has room for header and bytes; the header is written as SET_VARSIZE
        // does for a 4-byte header.
        unsafe {
            let start: *mut u32 = varlena.as_mut_ptr();
            pgrx::set_varsize_4b(start.cast(), length as i32);
            ptr::copy_nonoverlapping(text.as_ptr(), start.add(1).cast(), text.len());
        }
        Self(varlena)
    }

    /// Valid as long as the [`Last`] it is kept in.
    fn datum(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.0.as_ptr())
    }
}

impl Extra {
    fn view(&self) -> IdentityView<'_> {
        // SAFETY: `allocate_extra` put `length` bytes of UTF-8 behind every header.
        let text = unsafe {
            let bytes = ptr::from_ref(self).add(1).cast::<u8>();
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(bytes, self.length))
        };
        Identity::parse(text).expect("the check hook accepts only values that parse")
    }
}

/// The bound identity, checked against the start of the client's statement.
///
/// `Ok(None)` only where `tenant_guard.on_missing_identity` is `empty`.
fn current() -> Result<Option<&'static Extra>, Error> {
    // SAFETY: guc.c keeps `extra` alive as long as the value is in force, and the assign hook
    // replaces CURRENT before it goes.
    let found = match unsafe { CURRENT.get().as_ref() } {
        None => Error::NoIdentity,
        Some(extra) if extra.valid_until_us <= statement_start_us() => Error::Expired,
        Some(extra) if revocation::is_revoked(|| extra.view()) => Error::Revoked,
        Some(extra) => return Ok(Some(extra)),
    };
    match ON_MISSING_IDENTITY.get() {
        OnMissingIdentity::Error => Err(found),
        OnMissingIdentity::Empty => Ok(None),
    }
}

/// Calls `read` with the valid identity; `None` where there is none and readers return NULL.
pub(crate) fn with_current<T>(read: impl FnOnce(&IdentityView<'_>) -> T) -> Option<T> {
    match current() {
        Ok(extra) => extra.map(|extra| read(&extra.view())),
        Err(error) => error.raise(),
    }
}

/// What stands against the identity that is bound; `None` where it is valid.
pub(crate) fn problem() -> Option<Error> {
    // SAFETY: as in `current`.
    match unsafe { CURRENT.get().as_ref() } {
        None => Some(Error::NoIdentity),
        Some(extra) if extra.valid_until_us <= statement_start_us() => Some(Error::Expired),
        Some(extra) if revocation::is_revoked(|| extra.view()) => Some(Error::Revoked),
        Some(_) => None,
    }
}

/// Calls `read` with the bound identity whether or not it has expired: for capture, which records
/// who acted, also at COMMIT.
pub(crate) fn with_unchecked<T>(read: impl FnOnce(Option<&IdentityView<'_>>) -> T) -> T {
    // SAFETY: as in `current`.
    match unsafe { CURRENT.get().as_ref() } {
        None => read(None),
        Some(extra) => read(Some(&extra.view())),
    }
}

/// Counts how often the bound identity was replaced in this backend: the same number, the same
/// identity.
pub(crate) fn generation() -> u64 {
    GENERATION.get()
}

/// Whether an identity is bound, valid or not.
pub(crate) fn is_set() -> bool {
    !CURRENT.get().is_null()
}

/// Whether a valid identity is bound. Never raises.
pub(crate) fn is_bound() -> bool {
    // SAFETY: as in `current`.
    unsafe { CURRENT.get().as_ref() }.is_some_and(|extra| {
        extra.valid_until_us > statement_start_us() && !revocation::is_revoked(|| extra.view())
    })
}

/// The account as a uuid value that stays valid for the rest of the client's statement.
pub(crate) fn account_uuid() -> Option<pg_sys::Datum> {
    let extra = current().unwrap_or_else(|error| error.raise())?;
    if !extra.has_uuid {
        Error::Shape("account", "uuid").raise();
    }
    Some(LAST.with_borrow(|last| pg_sys::Datum::from(last.account_uuid.as_ptr())))
}

/// The account as a text value that stays valid for the rest of the client's statement.
pub(crate) fn account_text() -> Option<pg_sys::Datum> {
    current().unwrap_or_else(|error| error.raise())?;
    Some(LAST.with_borrow(|last| last.account_text.datum()))
}

/// The account as a bigint.
pub(crate) fn account_bigint() -> Option<i64> {
    let extra = current().unwrap_or_else(|error| error.raise())?;
    if !extra.has_bigint {
        Error::Shape("account", "bigint").raise();
    }
    Some(extra.bigint)
}

/// The subject as a text value that stays valid for the rest of the client's statement.
pub(crate) fn subject_text() -> Option<pg_sys::Datum> {
    with_subject(|subject| subject.value.datum())
}

/// The subject as a uuid value that stays valid for the rest of the client's statement.
pub(crate) fn subject_uuid() -> Option<pg_sys::Datum> {
    let uuid = with_subject(|subject| {
        let uuid = subject.uuid.as_ref();
        uuid.map(|uuid| pg_sys::Datum::from(uuid.as_ptr()))
    })?;
    Some(uuid.unwrap_or_else(|| Error::Shape("subject", "uuid").raise()))
}

/// The subject as a bigint.
pub(crate) fn subject_bigint() -> Option<i64> {
    let number = with_subject(|subject| subject.bigint)?;
    Some(number.unwrap_or_else(|| Error::Shape("subject", "bigint").raise()))
}

/// Calls `read` with the subject of the valid identity; `None` where a token has none, too.
fn with_subject<T>(read: impl FnOnce(&Subject) -> T) -> Option<T> {
    current().unwrap_or_else(|error| error.raise())?;
    LAST.with_borrow(|last| last.subject.as_ref().map(read))
}

/// Whether `test` holds of the valid identity; `None` where there is none and readers return NULL.
/// `known` is an earlier answer with the [`generation`] it was given in.
pub(crate) fn test(
    known: Option<(u64, bool)>,
    test: impl FnOnce(&IdentityView<'_>) -> bool,
) -> Option<bool> {
    let extra = current().unwrap_or_else(|error| error.raise())?;
    match known {
        Some((at, answer)) if at == generation() => Some(answer),
        _ => Some(test(&extra.view())),
    }
}

/// Refuses a second account in one transaction, and another account than the session's last one
/// while a holdable cursor may still carry that one's rows.
pub(crate) fn admit(account: &AccountId) -> Result<(), Error> {
    let same = LAST.with_borrow(|last| last.account.is_empty() || last.account == account.as_str());
    if same {
        return Ok(());
    }
    // A session identity is in force from outside the transaction, so it counts as bound here.
    if BOUND_TRANSACTION.get() == local_transaction() || !CURRENT.get().is_null() {
        return Err(Error::SecondAccount);
    }
    if holdable_cursor_is_open() {
        return Err(Error::HeldCursor);
    }
    Ok(())
}

/// Binds `identity` to the transaction, or to the session when `is_local` is false.
pub(crate) fn bind(identity: &Identity, is_local: bool) {
    set(&identity.encode(), is_local);
}

/// Runs `work` under `identity` in a subtransaction that is always undone, and puts back what was
/// bound before.
///
/// The one way in which a transaction meets a second account. It is no way for anybody else: what
/// `work` saw or wrote ends with the subtransaction, and the account of the transaction is the one it
/// was, so that nobody can be bound to another afterwards.
pub(crate) fn borrow<T>(
    identity: &Identity,
    work: impl FnOnce() -> T,
) -> Result<T, Box<ErrorReportWithLevel>> {
    struct Restore(Rc<Last>, u32);
    impl Drop for Restore {
        fn drop(&mut self) {
            let before = Rc::clone(&self.0);
            release_later(LAST.with_borrow_mut(|last| std::mem::replace(last, before)));
            BOUND_TRANSACTION.set(self.1);
        }
    }

    // Dropped when the rollback has put back the setting.
    let _restore = Restore(LAST.with_borrow(Rc::clone), BOUND_TRANSACTION.get());
    undone(|| {
        bind(identity, true);
        work()
    })
}

/// Binds another identity, or none, within [`borrow`].
pub(crate) fn switch(identity: Option<&Identity>) {
    set(&identity.map(Identity::encode).unwrap_or_default(), true);
}

/// Ends the identity of the transaction and of the session.
pub(crate) fn unbind() {
    set("", false);
}

fn set(value: &str, is_local: bool) {
    struct Writing;
    impl Drop for Writing {
        fn drop(&mut self) {
            WRITING.set(false);
        }
    }

    let value = CString::new(value).expect("an encoded identity holds no NUL");
    let action = if is_local {
        pg_sys::GucAction::GUC_ACTION_LOCAL
    } else {
        pg_sys::GucAction::GUC_ACTION_SET
    };
    WRITING.set(true);
    let _writing = Writing;
    // SAFETY: both strings live through the call, which copies them.
    unsafe {
        pg_sys::set_config_option(
            c"tenant_guard.identity".as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

/// Check hook of `tenant_guard.identity`: a non-empty value passes only while our own code writes
/// it, or while a parallel worker restores its leader's settings.
#[pg_guard]
pub(crate) unsafe extern "C-unwind" fn check_identity(
    new_value: *mut *mut c_char,
    extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c passes a pointer to the proposed value, null or a C string.
    let Some(value) = (unsafe { (*new_value).as_ref() }) else {
        return true;
    };
    // SAFETY: as above.
    let value = unsafe { CStr::from_ptr(value) };
    if value.is_empty() {
        return true;
    }
    // SAFETY: a backend-local flag of the server.
    if !WRITING.get() && !unsafe { pg_sys::InitializingParallelWorker } {
        // SAFETY: guc.c reads these after the hook returns false; the strings are static.
        unsafe {
            pg_sys::GUC_check_errcode(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32);
            pg_sys::GUC_check_errmsg_string = c"parameter \"tenant_guard.identity\" cannot be set"
                .as_ptr()
                .cast_mut();
            pg_sys::GUC_check_errhint_string = c"Call tenant_guard.authenticate(token)."
                .as_ptr()
                .cast_mut();
        }
        return false;
    }
    let Some(text) = value.to_str().ok() else {
        return false;
    };
    let Some(view) = Identity::parse(text) else {
        return false;
    };
    // SAFETY: guc.c takes ownership of `extra` and releases it with free().
    unsafe { *extra = allocate_extra(text, &view) };
    // SAFETY: just set.
    !unsafe { *extra }.is_null()
}

/// Allocates the parsed form the way guc.c releases it: with malloc before PostgreSQL 16.
unsafe fn allocate_extra(text: &str, view: &IdentityView<'_>) -> *mut c_void {
    let account = AccountId::from_text(view.account).ok();
    let uuid = account.as_ref().and_then(AccountId::as_uuid);
    let bigint = account.as_ref().and_then(AccountId::as_bigint);
    let size = size_of::<Extra>() + text.len();
    // SAFETY: the block has room for the header and the text behind it, and is aligned for both.
    unsafe {
        let block = versions::allocate_setting(size).cast::<Extra>();
        if !block.is_null() {
            block.write(Extra {
                valid_until_us: view.valid_until_us,
                bigint: bigint.unwrap_or_default(),
                uuid: uuid.unwrap_or_default(),
                has_uuid: uuid.is_some(),
                has_bigint: bigint.is_some(),
                length: text.len(),
            });
            ptr::copy_nonoverlapping(text.as_ptr(), block.add(1).cast(), text.len());
        }
        block.cast()
    }
}

/// Assign hook of `tenant_guard.identity`. Also called when a transaction or savepoint ends.
#[pg_guard]
pub(crate) unsafe extern "C-unwind" fn assign_identity(
    _new_value: *const c_char,
    extra: *mut c_void,
) {
    if !CURRENT.get().is_null() {
        // The identity that goes was in force in this transaction.
        BOUND_TRANSACTION.set(local_transaction());
    }
    CURRENT.set(extra.cast());
    GENERATION.set(GENERATION.get() + 1);
    // SAFETY: `extra` is what the check hook allocated for this value, or null.
    if let Some(extra) = unsafe { extra.cast::<Extra>().as_ref() } {
        BOUND_TRANSACTION.set(local_transaction());
        remember(extra);
    }
}

fn remember(extra: &Extra) {
    LAST.with_borrow_mut(|last| {
        if !last.is_of(&extra.view()) {
            release_later(std::mem::replace(last, Rc::new(Last::new(extra))));
        }
    });
}

fn release_later(last: Rc<Last>) {
    let now = statement_start_us();
    REPLACED.with_borrow_mut(|(statement, replaced)| {
        if *statement != now {
            replaced.clear();
            *statement = now;
        }
        replaced.push(last);
    });
}

/// Whether a cursor is open that outlives, or has outlived, its transaction: one WITH HOLD, or one
/// that PostgreSQL kept when a procedure committed in the middle of a loop over it, which
/// `pg_cursors` does not tell.
fn holdable_cursor_is_open() -> bool {
    let names = Spi::connect(|client| {
        client
            .select("SELECT c.name FROM pg_catalog.pg_cursor() AS c", None, &[])?
            .map(|row| row.get::<String>(1))
            .collect::<Result<Vec<_>, SpiError>>()
    });
    let names = names.unwrap_or_else(|error| pgrx::error!("cursors cannot be listed: {error}"));
    names.into_iter().flatten().any(|name| {
        let name = CString::new(name).expect("a PostgreSQL text holds no NUL");
        // SAFETY: a lookup by name; the portal, if it is there, is not kept.
        let portal = unsafe { pg_sys::GetPortalByName(name.as_ptr()).as_ref() };
        portal.is_some_and(|portal| {
            portal.autoHeld || portal.cursorOptions & pg_sys::CURSOR_OPT_HOLD as i32 != 0
        })
    })
}
