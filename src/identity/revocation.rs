//! Revocation: what was signed is taken back before it expires.
//!
//! The revocations stand in a table. Each backend keeps them in memory and asks once a client
//! statement whether they have changed, so they reach open sessions at their next statement while
//! readers still touch no SQL.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pgrx::prelude::*;
use serde_json::json;
use tenant_guard_core::identity::{Identity, IdentityView};
use tenant_guard_core::revocation::{Kind, Revocations};
use tenant_guard_core::token::Refusal;

use super::binding;
use crate::audit::record::record_system;
use crate::catalog::{as_owner, write};
use crate::clock::{self, statement_start_us, to_unix};
use crate::error::{Error, OrRaise};
use crate::ledger::rows::{for_each_row, with_catalog_snapshot};
use crate::watch::Watch;

static WATCH: Watch = Watch::new(c"revocation");

thread_local! {
    static KNOWN: RefCell<Rc<Revocations>> = RefCell::default();
    /// Statement and identity that were found not revoked.
    static CLEARED: Cell<(i64, u64)> = const { Cell::new((i64::MIN, 0)) };
}

/// Refuses to bind an identity that is revoked.
pub(super) fn refuse_revoked(identity: &Identity) -> Result<(), Error> {
    match known().revoke(identity) {
        true => Err(Refusal::Revoked.into()),
        false => Ok(()),
    }
}

/// Whether the bound identity is revoked as of the start of the running client statement. Looks
/// once a statement.
pub(super) fn is_revoked<'a>(view: impl FnOnce() -> IdentityView<'a>) -> bool {
    let now = (statement_start_us(), binding::generation());
    if CLEARED.get() == now {
        return false;
    }
    // SAFETY: readers run inside a transaction, where any lock would do the same.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    let revoked = known().revoke(&view());
    if !revoked {
        CLEARED.set(now);
    }
    revoked
}

fn known() -> Rc<Revocations> {
    if WATCH.is_stale() {
        let loaded = Rc::new(WATCH.read(load).or_raise());
        KNOWN.replace(loaded);
    }
    KNOWN.with_borrow(Rc::clone)
}

fn load() -> Result<Revocations, Error> {
    let mut revocations = Revocations::default();
    as_owner(|| {
        with_catalog_snapshot(|| {
            for_each_row(
                c"SELECT r.kind, r.name, r.issuer, r.issued_before \
                  FROM tenant_guard.revocation AS r",
                &[],
                |row| {
                    let issuer = Some(row.text(2)).filter(|issuer| !issuer.is_empty());
                    // The table admits no other kind.
                    if let Some(kind) = Kind::from_name(row.text(0)) {
                        let before = row.optional_bigint(3).map(to_unix);
                        revocations.add(kind, row.text(1), issuer, before);
                    }
                },
            );
        });
    });
    Ok(revocations)
}

/// Revokes the token of the caller's own identity.
#[pg_extern(sql = false)]
fn revoke_own_token() {
    let own = own();
    let token_id = own.token_id.ok_or(Error::NothingToRevoke("id")).or_raise();
    let until = (own.valid_until_us != i64::MAX).then(|| clock::timestamp(own.valid_until_us));
    revoke(Kind::Token, &token_id, Some(&own.issuer), None, until);
}

/// Revokes the session of the caller's own token.
#[pg_extern(sql = false)]
fn revoke_own_session() {
    let own = own();
    let session = own
        .session
        .ok_or(Error::NothingToRevoke("session"))
        .or_raise();
    revoke(Kind::Session, &session, Some(&own.issuer), None, None);
}

/// Revokes every token of the caller's own subject that was issued until now.
#[pg_extern(sql = false)]
fn revoke_own_subject() {
    let own = own();
    let subject = own
        .subject
        .ok_or(Error::NothingToRevoke("subject"))
        .or_raise();
    let now = clock::timestamp(statement_start_us());
    revoke(Kind::Subject, &subject, Some(&own.issuer), Some(now), None);
}

/// Revokes a token by its id.
#[pg_extern(sql = false)]
fn revoke_token(token_id: Option<&str>, issuer: Option<&str>) {
    let token_id = token_id.ok_or(Error::NullArgument("token_id")).or_raise();
    revoke(Kind::Token, token_id, issuer, None, None);
}

/// Revokes a session of an issuer.
#[pg_extern(sql = false)]
fn revoke_session(session: Option<&str>, issuer: Option<&str>) {
    let session = session.ok_or(Error::NullArgument("session")).or_raise();
    revoke(Kind::Session, session, issuer, None, None);
}

/// Revokes the tokens of a subject that were issued before a time; now where none is given.
#[pg_extern(sql = false)]
fn revoke_subject(
    subject: Option<&str>,
    before: Option<TimestampWithTimeZone>,
    issuer: Option<&str>,
) {
    let subject = subject.ok_or(Error::NullArgument("subject")).or_raise();
    let before = before.unwrap_or_else(|| clock::timestamp(statement_start_us()));
    revoke(Kind::Subject, subject, issuer, Some(before), None);
}

/// The caller's own identity, by which they may revoke.
fn own() -> Identity {
    binding::with_current(|own| own.to_identity())
        .flatten()
        .unwrap_or_else(|| Error::NoIdentity.raise())
}

fn revoke(
    kind: Kind,
    name: &str,
    issuer: Option<&str>,
    before: Option<TimestampWithTimeZone>,
    expires_at: Option<TimestampWithTimeZone>,
) {
    if name.is_empty() {
        Error::EmptyArgument("what is revoked").raise();
    }
    // A token known only by its id, or issued before a time, lives no longer than the issuer's
    // maximum age says, and may be issued a leeway ahead of our clock; a session may be given new
    // tokens for ever.
    write(
        "INSERT INTO tenant_guard.revocation (kind, name, issuer, issued_before, expires_at) \
         SELECT n.kind, n.name, n.issuer, n.issued_before, n.expires_at FROM ( \
             SELECT $1, $2, COALESCE($3, ''), $4, COALESCE($5, ( \
                 SELECT COALESCE($4, pg_catalog.now()) OPERATOR(pg_catalog.+) i.max_age \
                     OPERATOR(pg_catalog.+) i.leeway OPERATOR(pg_catalog.+) i.leeway \
                 FROM tenant_guard.issuer AS i \
                 WHERE i.issuer OPERATOR(pg_catalog.=) $3 \
                     AND $1 OPERATOR(pg_catalog.<>) 'session')) \
         ) AS n (kind, name, issuer, issued_before, expires_at) \
         WHERE NOT EXISTS (SELECT FROM tenant_guard.revocation AS r \
             WHERE (r.kind, r.name, r.issuer) OPERATOR(pg_catalog.=) (n.kind, n.name, n.issuer) \
             AND (r.issued_before IS NULL \
                 OR r.issued_before OPERATOR(pg_catalog.>=) n.issued_before) \
             AND (r.expires_at IS NULL OR r.expires_at OPERATOR(pg_catalog.>=) n.expires_at))",
        &[
            kind.as_str().into(),
            name.into(),
            issuer.into(),
            before.into(),
            expires_at.into(),
        ],
    );
    prune(kind, name, issuer);
    let account = binding::with_unchecked(|own| own.map(|own| own.account.to_owned()));
    let data = json!({ kind.as_str(): name, "issuer": issuer }).to_string();
    let action = format!("revoke_{}", kind.as_str());
    record_system(
        &action,
        None,
        account.as_deref().unwrap_or_default(),
        Some(&data),
    );
}

/// Removes what has nothing left to refuse: revocations of tokens that must have expired, and those
/// of the same name that a later one covers. Those another transaction is removing are left to it.
fn prune(kind: Kind, name: &str, issuer: Option<&str>) {
    // SAFETY: reads backend-local transaction state.
    if unsafe { pg_sys::XactIsoLevel } != pg_sys::XACT_READ_COMMITTED as i32 {
        // Elsewhere what another transaction has removed would be a failure.
        return;
    }
    write(
        "DELETE FROM tenant_guard.revocation AS r WHERE r.ctid OPERATOR(pg_catalog.=) ANY (ARRAY ( \
             SELECT o.ctid FROM tenant_guard.revocation AS o \
             WHERE o.expires_at OPERATOR(pg_catalog.<) pg_catalog.now() \
                 OR o.kind OPERATOR(pg_catalog.=) $1 AND o.name OPERATOR(pg_catalog.=) $2 \
                 AND o.issuer OPERATOR(pg_catalog.=) COALESCE($3, '') \
                 AND EXISTS (SELECT FROM tenant_guard.revocation AS n \
                     WHERE (n.kind, n.name, n.issuer) \
                         OPERATOR(pg_catalog.=) (o.kind, o.name, o.issuer) \
                     AND n.issued_before OPERATOR(pg_catalog.>) o.issued_before \
                     AND (n.expires_at IS NULL \
                         OR n.expires_at OPERATOR(pg_catalog.>=) o.expires_at)) \
             FOR UPDATE OF o SKIP LOCKED))",
        &[kind.as_str().into(), name.into(), issuer.into()],
    );
}
