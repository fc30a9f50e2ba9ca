//! What policies, applications and triggers read of the bound identity.
//!
//! All follow `tenant_guard.on_missing_identity`. None runs SQL, so none needs a search_path.

use pgrx::prelude::*;
use serde_json::value::RawValue;
use tenant_guard_core::assurance;
use tenant_guard_core::identity::IdentityView;

use super::binding;
use crate::error::Error;
use crate::raw::{raw_function, return_null, text_argument};

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

raw_function! {
    /// `subject() returns text`: the person or service the token speaks for (`sub`, RFC 7519 4.1.2).
    tenant_guard_subject, pg_finfo_tenant_guard_subject, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`.
        binding::subject_text().unwrap_or_else(|| unsafe { return_null(fcinfo) })
    }
}

raw_function! {
    /// `user_id() returns uuid`: the subject as a uuid; 22P02 where it is of another shape.
    tenant_guard_user_id, pg_finfo_tenant_guard_user_id, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`.
        binding::subject_uuid().unwrap_or_else(|| unsafe { return_null(fcinfo) })
    }
}

raw_function! {
    /// `user_id_bigint() returns bigint`: the subject as a bigint; 22P02 where it is of another shape.
    tenant_guard_user_id_bigint, pg_finfo_tenant_guard_user_id_bigint, |fcinfo| {
        match binding::subject_bigint() {
            Some(subject) => pg_sys::Datum::from(subject),
            // SAFETY: PostgreSQL passed `fcinfo`.
            None => unsafe { return_null(fcinfo) },
        }
    }
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

raw_function! {
    /// `has_any_role(roles text[]) returns boolean`: whether the token grants one of these roles of
    /// the product.
    tenant_guard_has_any_role, pg_finfo_tenant_guard_has_any_role, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the one argument is a text[], and the function STRICT.
        unsafe {
            answer(fcinfo, |identity| {
                let wanted = pgrx::fcinfo::pg_getarg::<Vec<Option<String>>>(fcinfo, 0);
                let wanted: Vec<_> = wanted.into_iter().flatten().flatten().collect();
                { identity.roles }.any(|granted| wanted.iter().any(|role| role == granted))
            })
        }
    }
}

raw_function! {
    /// `has_assurance(level text) returns boolean`: whether the token states this level of assurance
    /// or a higher one.
    tenant_guard_has_assurance, pg_finfo_tenant_guard_has_assurance, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the one argument is a text, and the function STRICT.
        unsafe { has_assurance(fcinfo) }
    }
}

/// # Safety
/// `fcinfo` must be the one PostgreSQL passed to the running function, whose one argument is a text.
unsafe fn has_assurance(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the caller vouches.
    unsafe {
        answer(fcinfo, |identity| {
            let level = text_argument(fcinfo, 0);
            let stated = identity.assurance.zip(level);
            stated.is_some_and(|(stated, level)| assurance::meets(stated, &level))
        })
    }
}

/// An answer of a test that a plan asks for each row, kept with the place it is asked at.
#[derive(Clone, Copy)]
struct Kept {
    generation: u64,
    answer: bool,
}

/// Answers a test of the identity whose one argument says what is tested. Where that is a constant, as
/// in policies, it is read again only after the identity was replaced.
///
/// # Safety
/// `fcinfo` must be the one PostgreSQL passed to the running function.
unsafe fn answer(
    fcinfo: pg_sys::FunctionCallInfo,
    test: impl FnOnce(&IdentityView<'_>) -> bool,
) -> pg_sys::Datum {
    // SAFETY: the caller vouches for the frame; `fn_extra` is this function's own and holds what is
    // written below, in the memory context that lives as long as it.
    unsafe {
        let call = (*fcinfo).flinfo;
        let place = if call.is_null() {
            std::ptr::null_mut()
        } else {
            (*call).fn_extra
        };
        let kept = place.cast::<Kept>().as_ref().copied();
        let known = kept.map(|kept| (kept.generation, kept.answer));
        let Some(answer) = binding::test(known, test) else {
            return return_null(fcinfo);
        };
        let now = Kept {
            generation: binding::generation(),
            answer,
        };
        if let Some(kept) = place.cast::<Kept>().as_mut() {
            *kept = now;
        } else if !call.is_null() && asks_of_constant(call) {
            let place = pg_sys::MemoryContextAlloc((*call).fn_mcxt, size_of::<Kept>());
            place.cast::<Kept>().write(now);
            (*call).fn_extra = place;
        }
        pg_sys::Datum::from(answer)
    }
}

/// Whether the first argument is written as a constant, so that it is the same in every call made
/// with this `call`. A parameter is not: functions in PL/pgSQL keep the call and change the value.
///
/// # Safety
/// `call` must be the lookup information of the running function.
unsafe fn asks_of_constant(call: *const pg_sys::FmgrInfo) -> bool {
    // SAFETY: `fn_expr` is null or the expression node of the call, whose list of arguments holds
    // nodes.
    unsafe {
        let expression = (*call).fn_expr;
        if expression.is_null() || (*expression).type_ != pg_sys::NodeTag::T_FuncExpr {
            return false;
        }
        let arguments = (*expression.cast::<pg_sys::FuncExpr>()).args;
        let first = pg_sys::list_nth(arguments, 0).cast::<pg_sys::Node>();
        (*first).type_ == pg_sys::NodeTag::T_Const
    }
}

raw_function! {
    /// `assured(level text) returns boolean`: the condition of assurance policies. It refuses with a
    /// hint instead of showing no rows, which a user could not tell from there being none.
    tenant_guard_assured, pg_finfo_tenant_guard_assured, |fcinfo| {
        // SAFETY: as of has_assurance; the answer is a boolean, or null as the frame says.
        unsafe {
            let has = has_assurance(fcinfo);
            if has.value() == 0 && !(*fcinfo).isnull {
                Error::Assurance(text_argument(fcinfo, 0).unwrap_or_default()).raise();
            }
            has
        }
    }
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
