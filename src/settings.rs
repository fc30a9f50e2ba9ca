//! Every setting of the extension, with who may set it and what an attacker would gain.

use std::ffi::CString;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::{PostgresGucEnum, pg_sys};

use crate::identity::binding;

/// What the readers do where no valid identity is bound.
#[derive(Copy, Clone, PartialEq, Eq, PostgresGucEnum)]
pub(crate) enum OnMissingIdentity {
    /// Raise 28000, so that a forgotten `authenticate` is noticed.
    #[name = c"error"]
    Error,
    /// Return NULL, so that policies show no row.
    #[name = c"empty"]
    Empty,
}

/// `tenant_guard.on_missing_identity`. Superuser only: an application that could set it to
/// `empty` would hide its own missing `authenticate`. It never opens a row either way.
pub(crate) static ON_MISSING_IDENTITY: GucSetting<OnMissingIdentity> =
    GucSetting::<OnMissingIdentity>::new(OnMissingIdentity::Error);

/// `tenant_guard.allow_session_identity`. Superuser only: behind a transaction pooler an identity
/// that outlives its transaction serves the next client of the same server connection.
pub(crate) static ALLOW_SESSION_IDENTITY: GucSetting<bool> = GucSetting::<bool>::new(false);

/// `tenant_guard.guards`. Superuser only: whoever switches the guards off can drop what they keep,
/// if it is theirs to drop.
pub(crate) static GUARDS: GucSetting<bool> = GucSetting::<bool>::new(true);

/// `tenant_guard.identity`. Written by `authenticate` alone: the check hook refuses every other
/// non-empty value, whoever sets it and wherever, since who chooses it chooses the account.
static IDENTITY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// Registers the settings and reserves the prefix `tenant_guard` for them.
pub(crate) fn define() {
    GucRegistry::define_enum_guc(
        c"tenant_guard.on_missing_identity",
        c"What identity readers do when no valid identity is bound: error or empty.",
        c"With empty they return NULL and protected tables show no rows.",
        &ON_MISSING_IDENTITY,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"tenant_guard.allow_session_identity",
        c"Allows authenticate(is_local => false).",
        c"Unsafe behind a transaction pooler, which hands the session to other clients.",
        &ALLOW_SESSION_IDENTITY,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"tenant_guard.guards",
        c"Refuses commands that would take protection or the ledger apart.",
        c"With off they are done and leave an event in the audit log.",
        &GUARDS,
        GucContext::Suset,
        GucFlags::default(),
    );
    // SAFETY: both hooks are guarded against panics and follow the contract of GUC hooks: the
    // check hook allocates `extra` the way guc.c frees it, the assign hook does not fail.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"tenant_guard.identity",
            c"The identity bound by tenant_guard.authenticate().",
            c"Cannot be set in any other way.",
            &IDENTITY,
            GucContext::Suset,
            GucFlags::NO_SHOW_ALL | GucFlags::SUPERUSER_ONLY | GucFlags::DISALLOW_IN_FILE,
            Some(binding::check_identity),
            Some(binding::assign_identity),
            None,
        );
        pg_sys::MarkGUCPrefixReserved(c"tenant_guard".as_ptr());
    }
}
