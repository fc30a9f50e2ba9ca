//! Further ways in: a request that PostgREST passes on, a job that acts for somebody, and an
//! administrator's look at a token.

use std::ffi::CStr;
use std::fmt;

use pgrx::prelude::*;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::identity::Identity;
use tenant_guard_core::issuer::Explanation;
use tenant_guard_core::token::{MAX_TOKEN_BYTES, Refusal};

use super::{authenticate, binding, issuers, membership, readers, revocation};
use crate::audit::record::record_system;
use crate::clock::statement_start_us;
use crate::error::{Error, OrRaise};
use crate::raw::{raw_function, text_argument, text_length};
use crate::secrecy::hide_statement;

/// `iss` of an identity that nobody signed.
const ACT_AS: &str = "tenant_guard.act_as";

/// Longest `request.headers` in bytes that is looked at; web servers accept far less.
const MAX_HEADERS_BYTES: usize = 1024 * 1024;

/// Binds the transaction to the bearer token in `request.headers`, where PostgREST puts the
/// headers of a request before it calls its `db-pre-request` function.
///
/// A request without an Authorization header stays without identity. What PostgREST itself took
/// from the token (`request.jwt.claims`) is never looked at: any SQL user can set it.
#[pg_extern(sql = false)]
fn authenticate_request() {
    let _hidden = hide_statement();
    if let Some(token) = bearer_token().or_raise() {
        authenticate::authenticate(&token, None, true).or_raise();
    }
}

/// The token of a Bearer Authorization header (RFC 6750 section 2.1).
fn bearer_token() -> Result<Option<String>, Error> {
    // SAFETY: with missing_ok the function returns null for a setting that does not exist, else a
    // string that lives until the setting changes.
    let headers = unsafe {
        let value = pg_sys::GetConfigOption(c"request.headers".as_ptr(), true, false);
        if value.is_null() {
            return Ok(None);
        }
        CStr::from_ptr(value)
    };
    if headers.is_empty() {
        return Ok(None);
    }
    let unfit = || Error::UnfitHeaders;
    // Any SQL user can set them; PostgreSQL survives a lack of memory, Rust does not.
    if headers.count_bytes() > MAX_HEADERS_BYTES {
        return Err(unfit());
    }
    let Authorization(value) = serde_json::from_slice(headers.to_bytes()).map_err(|_| unfit())?;
    let Some(value) = value else {
        return Ok(None);
    };
    let (scheme, token) = value.split_once(' ').ok_or_else(unfit)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unfit());
    }
    Ok(Some(token.trim_matches(' ').to_owned()))
}

/// The one Authorization header among the members of a JSON object; two are an error.
struct Authorization(Option<String>);

impl<'de> Deserialize<'de> for Authorization {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Headers;
        impl<'de> Visitor<'de> for Headers {
            type Value = Authorization;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of headers")
            }

            fn visit_map<M: MapAccess<'de>>(
                self,
                mut headers: M,
            ) -> Result<Authorization, M::Error> {
                let mut found = None;
                while let Some(name) = headers.next_key::<String>()? {
                    if !name.eq_ignore_ascii_case("authorization") {
                        headers.next_value::<IgnoredAny>()?;
                    } else if found.replace(headers.next_value()?).is_some() {
                        return Err(M::Error::duplicate_field("authorization"));
                    }
                }
                Ok(Authorization(found))
            }
        }
        deserializer.deserialize_map(Headers)
    }
}

/// Binds the transaction to an account without a token, for jobs and migrations. Always an event.
#[pg_extern(sql = false)]
fn act_as(
    account: Option<&str>,
    subject: Option<&str>,
    roles: Option<Array<'_, &str>>,
    reason: Option<&str>,
) {
    authenticate::refuse_bypassing_caller().or_raise();
    let account = account.ok_or(Error::NullArgument("account")).or_raise();
    let account = AccountId::from_text(account)
        .map_err(|_| Error::UnfitAccount)
        .or_raise();
    let subject = subject.ok_or(Error::NullArgument("subject")).or_raise();
    let roles = roles.ok_or(Error::NullArgument("roles")).or_raise();
    let roles: Vec<String> = roles
        .iter()
        .map(|role| {
            role.map(str::to_owned)
                .ok_or(Error::NullArgument("an element of roles"))
        })
        .collect::<Result<_, _>>()
        .or_raise();
    let reason = reason
        .filter(|reason| !reason.trim().is_empty())
        .ok_or(Error::NoReason);
    let reason = reason.or_raise();

    let claims = json!({ "iss": ACT_AS, "sub": subject, "account_id": account.as_str(),
        "roles": roles, "reason": reason });
    let acting = unsigned(account, subject, roles, &claims);
    authenticate::bind(&acting, true).or_raise();
    record_acting(&acting);
}

/// Binds the transaction of a data migration to an account, as `act_as` does.
pub(crate) fn migrate_as(
    account: &AccountId,
    subject: &str,
    roles: &[String],
    reason: &str,
    run: &str,
) -> Result<(), Error> {
    let claims = json!({ "iss": ACT_AS, "sub": subject, "account_id": account.as_str(),
        "roles": roles, "reason": reason, "run": run });
    let acting = unsigned(account.clone(), subject, roles.to_vec(), &claims);
    binding::admit(account)?;
    binding::bind(&acting, true);
    record_acting(&acting);
    Ok(())
}

/// The identity that a token with these claims, JSON text, would give. Nobody signed it: for an
/// administrator's question, never to be bound beyond it.
pub(crate) fn imagined(claims: &str) -> Result<Identity, Error> {
    let (_, issuers) = issuers::current();
    let accepted = issuers.unsigned(claims, statement_start_us())?;
    let identity = membership::identity(&accepted, None)?;
    revocation::refuse_revoked(&identity)?;
    Ok(identity)
}

/// An identity that nobody signed.
fn unsigned(
    account: AccountId,
    subject: &str,
    roles: Vec<String>,
    claims: &serde_json::Value,
) -> Identity {
    Identity {
        issuer: ACT_AS.to_owned(),
        account,
        subject: Some(subject.to_owned()),
        roles,
        session: None,
        assurance: None,
        token_id: None,
        issued_at_us: None,
        valid_until_us: i64::MAX,
        claims: claims.to_string(),
    }
}

fn record_acting(acting: &Identity) {
    let account = acting.account.as_str();
    record_system("act_as", None, account, Some(&acting.claims));
}

raw_function! {
    /// `verify_token(token text) returns jsonb`: what a token says and whether it would be
    /// accepted, binding nothing.
    tenant_guard_verify_token, pg_finfo_tenant_guard_verify_token, |fcinfo| {
        let _hidden = hide_statement();
        // SAFETY: PostgreSQL passed `fcinfo`; the function is declared STRICT with one text.
        let token = unsafe {
            if text_length(fcinfo, 0) > MAX_TOKEN_BYTES {
                Error::Refused(Refusal::TooLarge).raise();
            }
            text_argument(fcinfo, 0).unwrap_or_default()
        };
        let (_, issuers) = issuers::current();
        readers::jsonb(&described(issuers.explain(&token, statement_start_us())))
    }
}

/// An explanation as JSON text. Claims are embedded as they were signed where jsonb can hold them.
fn described(explanation: Explanation) -> String {
    let Explanation {
        issuer,
        key_id,
        algorithm,
        claims,
        accepted,
        refusal,
    } = explanation;
    let claims = claims.and_then(|claims| RawValue::from_string(claims).ok());
    let accounts = accepted
        .as_ref()
        .and_then(|accepted| accepted.accounts.as_ref());
    let accounts = accounts.map(|all| all.iter().map(AccountId::as_str).collect::<Vec<_>>());
    #[derive(serde::Serialize)]
    struct Described<'a> {
        accepted: bool,
        reason: Option<&'static str>,
        message: Option<String>,
        issuer: Option<String>,
        key_id: Option<String>,
        algorithm: Option<String>,
        subject: Option<&'a str>,
        accounts: Option<Vec<&'a str>>,
        roles: Option<&'a [String]>,
        session: Option<&'a str>,
        assurance: Option<&'a str>,
        claims: Option<Box<RawValue>>,
    }
    let token = accepted.as_ref();
    let described = Described {
        accepted: token.is_some(),
        reason: refusal.as_ref().map(Refusal::code),
        message: refusal.as_ref().map(ToString::to_string),
        issuer,
        key_id,
        algorithm,
        subject: token.and_then(|token| token.subject.as_deref()),
        accounts,
        roles: token.map(|token| token.roles.as_slice()),
        session: token.and_then(|token| token.session.as_deref()),
        assurance: token.and_then(|token| token.assurance.as_deref()),
        claims,
    };
    serde_json::to_string(&described).expect("texts and JSON make JSON")
}
