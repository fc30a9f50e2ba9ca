//! `authenticate` and `sign_out`: the only ways an identity is bound or ended by a client.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ptr;
use std::rc::Rc;

use pgrx::prelude::*;
use tenant_guard_core::identity::Identity;
use tenant_guard_core::token::{Accepted, MAX_TOKEN_BYTES, Refusal, Speaker};

use super::{binding, idle, issuers, membership, readers, revocation};
use crate::audit::reads::refusals;
use crate::catalog;
use crate::clock::statement_start_us;
use crate::error::{Error, OrRaise};
use crate::fault::fault_point;
use crate::raw::{raw_function, text_argument, text_length};
use crate::secrecy::hide_statement;
use crate::settings::ALLOW_SESSION_IDENTITY;

/// Most tokens one backend remembers, and the longest it does. With what they say, together a few
/// MiB at most.
const REMEMBERED_TOKENS: usize = 256;
const REMEMBERED_TOKEN_BYTES: usize = 4096;

raw_function! {
    /// `authenticate(token text, account text, is_local boolean) returns jsonb`.
    tenant_guard_authenticate, pg_finfo_tenant_guard_authenticate, |fcinfo| {
        let _hidden = hide_statement();
        // SAFETY: PostgreSQL passed `fcinfo`; the declaration in sql/identity.sql gives the
        // arguments these types.
        let (token, account, is_local) = unsafe {
            // Before anything is copied: PostgreSQL survives a lack of memory, Rust does not.
            if text_length(fcinfo, 0) > MAX_TOKEN_BYTES {
                let refusal = Error::Refused(Refusal::TooLarge);
                refusals::token(&refusal, Speaker::default);
                refusal.raise();
            }
            if text_length(fcinfo, 1) > MAX_TOKEN_BYTES {
                Error::Refused(Refusal::AccountNotAllowed).raise();
            }
            (
                text_argument(fcinfo, 0),
                text_argument(fcinfo, 1),
                pgrx::fcinfo::pg_getarg::<bool>(fcinfo, 2),
            )
        };
        fault_point!("authenticate.token_read");
        let token = token.ok_or(Error::NullArgument("token")).or_raise();
        let is_local = is_local.ok_or(Error::NullArgument("is_local")).or_raise();
        authenticate(&token, account.as_deref(), is_local).or_raise().claims()
    }
}

/// A token whose signature was verified.
pub(super) struct Verified {
    accepted: Accepted,
    /// The claims as a jsonb value: reading their text took more than half of the time of an
    /// `authenticate` with a token that was met before.
    claims: OnceCell<Box<[u8]>>,
}

impl Verified {
    /// The claims as a jsonb value of the current memory context.
    fn claims(&self) -> pg_sys::Datum {
        let claims = self.claims.get_or_init(|| {
            let value = readers::jsonb(&self.accepted.claims).cast_mut_ptr::<pg_sys::varlena>();
            // SAFETY: jsonb_in returns a value with a 4-byte header that is neither compressed
            // nor stored elsewhere.
            unsafe {
                std::slice::from_raw_parts(value.cast::<u8>(), pgrx::varsize_4b(value)).into()
            }
        });
        fault_point!("authenticate.claims_made");
        // SAFETY: palloc returns as many bytes as asked for, aligned for any type, or raises.
        unsafe {
            let copy = pg_sys::palloc(claims.len()).cast::<u8>();
            ptr::copy_nonoverlapping(claims.as_ptr(), copy, claims.len());
            copy.into()
        }
    }
}

pub(super) fn authenticate(
    token: &str,
    account: Option<&str>,
    is_local: bool,
) -> Result<Rc<Verified>, Error> {
    let outcome = admit(token, account, is_local);
    outcome.inspect_err(|error| refusals::token(error, || issuers::current().1.speaker(token)))
}

fn admit(token: &str, account: Option<&str>, is_local: bool) -> Result<Rc<Verified>, Error> {
    refuse_bypassing_caller()?;
    if !is_local {
        if !ALLOW_SESSION_IDENTITY.get() {
            return Err(Error::SessionIdentityOff);
        }
        if in_transaction_block() {
            return Err(Error::SessionIdentityInBlock);
        }
    }
    let verified = verify(token)?;
    fault_point!("authenticate.verified");
    let identity = membership::identity(&verified.accepted, account)?;
    revocation::refuse_revoked(&identity)?;
    idle::use_session(&identity)?;
    fault_point!("authenticate.session_used");
    bind(&identity, is_local)?;
    fault_point!("authenticate.bound");
    Ok(verified)
}

/// Binds an identity that was verified or is vouched for.
pub(super) fn bind(identity: &Identity, is_local: bool) -> Result<(), Error> {
    binding::admit(&identity.account)?;
    if is_local && !in_transaction_block() {
        ereport!(
            WARNING,
            PgSqlErrorCode::ERRCODE_NO_ACTIVE_SQL_TRANSACTION,
            "authenticate with is_local can only be used in transaction blocks"
        );
    }
    binding::bind(identity, is_local);
    Ok(())
}

fn in_transaction_block() -> bool {
    // SAFETY: reads backend-local transaction state.
    unsafe { pg_sys::IsTransactionBlock() }
}

/// Refuses a caller whom policies do not hold, superusers among them.
pub(crate) fn refuse_unbound_caller() -> Result<(), Error> {
    // SAFETY: catalog look-ups by the id of the current role.
    unsafe {
        let role = pg_sys::GetUserId();
        match pg_sys::has_bypassrls_privilege(role) {
            true => Err(Error::BypassesRowSecurity(catalog::role_name(role))),
            false => Ok(()),
        }
    }
}

/// Refuses a caller whom policies do not hold, except a superuser, for whom nothing can.
pub(super) fn refuse_bypassing_caller() -> Result<(), Error> {
    // SAFETY: catalog lookups by the id of the current role.
    unsafe {
        let role = pg_sys::GetUserId();
        if pg_sys::has_bypassrls_privilege(role) && !pg_sys::superuser_arg(role) {
            return Err(Error::BypassesRowSecurity(catalog::role_name(role)));
        }
    }
    Ok(())
}

/// Verifies a token, or finds it among those this backend has verified with the present keys.
fn verify(token: &str) -> Result<Rc<Verified>, Error> {
    thread_local! {
        static REMEMBERED: RefCell<(u64, HashMap<String, Rc<Verified>>)> = RefCell::default();
    }

    let now_us = statement_start_us();
    let (generation, issuers) = issuers::current();
    REMEMBERED.with_borrow_mut(|(remembered_generation, remembered)| {
        if *remembered_generation != generation {
            remembered.clear();
            *remembered_generation = generation;
        }
        if let Some(known) = remembered.get(token)
            && (known.accepted.valid_from_us..known.accepted.valid_until_us).contains(&now_us)
        {
            return Ok(Rc::clone(known));
        }
        let verified = Rc::new(Verified {
            accepted: issuers.accept(token, now_us)?,
            claims: OnceCell::new(),
        });
        fault_point!("authenticate.signature_checked");
        if token.len() <= REMEMBERED_TOKEN_BYTES {
            if remembered.len() >= REMEMBERED_TOKENS {
                remembered.clear();
            }
            remembered.insert(token.to_owned(), Rc::clone(&verified));
        }
        Ok(verified)
    })
}

/// Ends the identity. Never raises.
#[pg_extern(sql = false)]
fn sign_out() {
    binding::unbind();
}
