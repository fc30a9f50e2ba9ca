//! What policies, applications and triggers read of the bound identity.
//!
//! All follow `tenant_guard.on_missing_identity`. None runs SQL, so none needs a search_path.

use pgrx::prelude::*;
use serde_json::value::RawValue;
use tenant_guard_core::assurance;

use super::binding;
use crate::error::{Error, OrRaise};
use crate::raw::{raw_function, return_null};

raw_function! {
    /// `account_id() returns uuid`.
    tenant_guard_account_id, pg_finfo_tenant_guard_account_id, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`.
        binding::account_uuid().unwrap_or_else(|| unsafe { return_null(fcinfo) })
    }
}

raw_function! {
    /// `account_id_text() returns text`.
    tenant_guard_account_id_text, pg_finfo_tenant_guard_account_id_text, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`.
        binding::account_text().unwrap_or_else(|| unsafe { return_null(fcinfo) })
    }
}

raw_function! {
    /// `account_id_bigint() returns bigint`.
    tenant_guard_account_id_bigint, pg_finfo_tenant_guard_account_id_bigint, |fcinfo| {
        match binding::account_bigint() {
            Some(account) => pg_sys::Datum::from(account),
            // SAFETY: PostgreSQL passed `fcinfo`.
            None => unsafe { return_null(fcinfo) },
        }
    }
}

/// Whether a valid identity is bound. Never raises.
#[pg_extern(sql = false)]
fn is_authenticated() -> bool {
    binding::is_bound()
}

/// The person or service the token speaks for (`sub`, RFC 7519 4.1.2).
#[pg_extern(sql = false)]
fn subject() -> Option<String> {
    binding::with_current(|identity| identity.subject.map(str::to_owned)).flatten()
}

/// The subject as a uuid; 22P02 where it is of another shape.
#[pg_extern(sql = false)]
fn user_id() -> Option<pgrx::Uuid> {
    let subject = subject()?;
    let uuid = uuid::Uuid::try_parse(&subject).map_err(|_| Error::Shape("subject", "uuid"));
    Some(pgrx::Uuid::from_bytes(uuid.or_raise().into_bytes()))
}

/// The roles of the product that the token grants, in its order.
#[pg_extern(sql = false)]
fn roles() -> Option<Vec<String>> {
    binding::with_current(|identity| identity.roles.map(str::to_owned).collect())
}

/// Whether the token grants this role of the product.
#[pg_extern(sql = false)]
fn has_role(role: &str) -> Option<bool> {
    binding::with_current(|identity| { identity.roles }.any(|granted| granted == role))
}

/// Whether the token states this level of assurance or a higher one.
#[pg_extern(sql = false)]
fn has_assurance(level: &str) -> Option<bool> {
    binding::with_current(|identity| {
        identity
            .assurance
            .is_some_and(|stated| assurance::meets(stated, level))
    })
}

/// The condition of assurance policies: refuses with a hint instead of showing no rows, which a
/// user could not tell from there being none.
#[pg_extern(sql = false)]
fn assured(level: &str) -> Option<bool> {
    let has = has_assurance(level)?;
    if !has {
        Error::Assurance(level.to_owned()).raise();
    }
    Some(has)
}

/// The identity provider's session, where the token names one.
#[pg_extern(sql = false)]
fn session_id() -> Option<String> {
    binding::with_current(|identity| identity.session.map(str::to_owned)).flatten()
}

raw_function! {
    /// `claims() returns jsonb`: the payload as it was signed.
    tenant_guard_claims, pg_finfo_tenant_guard_claims, |fcinfo| {
        match binding::with_current(|identity| jsonb(identity.claims)) {
            Some(claims) => claims,
            // SAFETY: PostgreSQL passed `fcinfo`.
            None => unsafe { return_null(fcinfo) },
        }
    }
}

/// One claim as text, by the names of the members that lead to it; NULL where there is none.
#[pg_extern(sql = false)]
fn claim(path: VariadicArray<&str>) -> Option<String> {
    binding::with_current(|identity| claim_at(identity.claims, path.iter())).flatten()
}

fn claim_at<'a>(claims: &str, path: impl Iterator<Item = Option<&'a str>>) -> Option<String> {
    let mut value: Box<RawValue> = serde_json::from_str(claims).ok()?;
    for name in path {
        let mut members: std::collections::HashMap<String, Box<RawValue>> =
            serde_json::from_str(value.get()).ok()?;
        value = members.remove(name?)?;
    }
    match value.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        text => Some(text.to_owned()),
    }
}

/// JSON text as a jsonb value, numbers kept to their last digit.
pub(super) fn jsonb(text: &str) -> pg_sys::Datum {
    let text = std::ffi::CString::new(text).expect("verified claims hold no NUL");
    // SAFETY: jsonb_in takes one C string; errors unwind as pgrx panics.
    unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text.as_ptr().into())]) }
        .expect("jsonb_in returns a value for any JSON text")
}
