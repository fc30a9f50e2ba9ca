//! Sessions that were not used for too long.
//!
//! A sign-in notes that its session (the identity provider's, as the token names it) is in use, at
//! most once a minute, and refuses one whose last note is older than the account allows. Notes are
//! rows that are only added, so that sign-ins of one session never wait for each other and never
//! fail to serialise; they are taken along by the sign-in's own transaction.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use pgrx::prelude::*;
use serde_json::json;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::identity::Identity;
use tenant_guard_core::token::Refusal;

use super::issuers::fixed_length;
use crate::audit::record::record_system;
use crate::catalog::{as_owner, write};
use crate::clock::{self, statement_start_us, to_unix};
use crate::error::{Error, OrRaise};
use crate::ledger::rows::{for_each_row, with_latest_snapshot};
use crate::watch::Watch;

/// How old a note may be before a use of the session is noted again, in microseconds. A session is
/// refused this much later than its timeout says, never earlier.
const NOTED_EVERY_US: i64 = 60_000_000;

static WATCH: Watch = Watch::new(c"idle_timeout");

/// Timeouts in microseconds by account; the empty name is every account without its own.
type Timeouts = HashMap<String, i64>;

thread_local! {
    /// Never dropped: at exit the server takes its memory back itself.
    static TIMEOUTS: ManuallyDrop<RefCell<Rc<Timeouts>>> = ManuallyDrop::new(RefCell::default());
}

/// Refuses an identity whose session was idle for too long, and notes that it is in use.
///
/// Without a timeout for its account nothing is read or written; nor for a token that names no
/// session.
pub(super) fn use_session(identity: &Identity) -> Result<(), Error> {
    let timeouts = timeouts();
    let own = timeouts.get(identity.account.as_str());
    let (Some(timeout), Some(session)) = (own.or_else(|| timeouts.get("")), &identity.session)
    else {
        return Ok(());
    };
    let now = statement_start_us();
    let idle = last_use(&identity.issuer, session).map(|used_at| now.saturating_sub(used_at));
    if idle.is_some_and(|idle| idle > timeout.saturating_add(NOTED_EVERY_US)) {
        return Err(Refusal::Idle.into());
    }
    if idle.is_none_or(|idle| idle > NOTED_EVERY_US) {
        note(&identity.issuer, session, now);
    }
    Ok(())
}

/// When the session was last noted to be in use, Unix microseconds.
fn last_use(issuer: &str, session: &str) -> Option<i64> {
    let mut used_at = None;
    let text = |text: &str| {
        let datum = text.into_datum().expect("a text is never NULL");
        (pg_sys::TEXTOID, datum)
    };
    as_owner(|| {
        with_latest_snapshot(|| {
            for_each_row(
                c"SELECT u.used_at FROM tenant_guard.session_use AS u \
                  WHERE u.issuer OPERATOR(pg_catalog.=) $1 AND u.session OPERATOR(pg_catalog.=) $2 \
                  ORDER BY u.used_at DESC LIMIT 1",
                &[text(issuer), text(session)],
                |row| used_at = row.optional_bigint(0).map(to_unix),
            );
        });
    });
    used_at
}

/// Notes a use of the session, also in a read-only transaction: that promises not to change the
/// application's data. A standby cannot note anything.
fn note(issuer: &str, session: &str, now: i64) {
    struct ReadOnly(bool);
    impl Drop for ReadOnly {
        fn drop(&mut self) {
            // SAFETY: puts back what was read below.
            unsafe { pg_sys::XactReadOnly = self.0 }
        }
    }

    // SAFETY: reads the server's state.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return;
    }
    // SAFETY: a backend-local variable; the executor looks at it before it writes.
    let _read_only = unsafe {
        let read_only = ReadOnly(pg_sys::XactReadOnly);
        pg_sys::XactReadOnly = false;
        read_only
    };
    write(
        "INSERT INTO tenant_guard.session_use (issuer, session, used_at) VALUES ($1, $2, $3) \
         ON CONFLICT DO NOTHING",
        &[issuer.into(), session.into(), clock::timestamp(now).into()],
    );
    // SAFETY: reads backend-local transaction state.
    if unsafe { pg_sys::XactIsoLevel } == pg_sys::XACT_READ_COMMITTED as i32 {
        // Older notes say nothing any more. Those another transaction is removing are left to it.
        write(
            "DELETE FROM tenant_guard.session_use AS u WHERE u.ctid OPERATOR(pg_catalog.=) ANY ( \
                 ARRAY (SELECT o.ctid FROM tenant_guard.session_use AS o \
                 WHERE o.issuer OPERATOR(pg_catalog.=) $1 AND o.session OPERATOR(pg_catalog.=) $2 \
                     AND o.used_at OPERATOR(pg_catalog.<) $3 FOR UPDATE SKIP LOCKED))",
            &[issuer.into(), session.into(), clock::timestamp(now).into()],
        );
    }
}

fn timeouts() -> Rc<Timeouts> {
    if WATCH.is_stale() {
        let loaded = Rc::new(WATCH.read(load).or_raise());
        TIMEOUTS.with(|known| known.replace(loaded));
    }
    TIMEOUTS.with(|known| Rc::clone(&known.borrow()))
}

fn load() -> Result<Timeouts, Error> {
    let mut timeouts = Timeouts::new();
    as_owner(|| {
        with_latest_snapshot(|| {
            for_each_row(
                c"SELECT t.account_id, (pg_catalog.date_part('epoch', t.after) \
                  OPERATOR(pg_catalog.*) 1e6)::pg_catalog.int8 FROM tenant_guard.idle_timeout AS t",
                &[],
                |row| {
                    timeouts.insert(row.text(0).to_owned(), row.bigint(1));
                },
            );
        });
    });
    Ok(timeouts)
}

/// Sets how long a session of an account may stay unused; of a null account, of every account
/// without its own. A null time takes it back.
#[pg_extern(sql = false)]
fn set_idle_timeout(account: Option<&str>, after: Option<Interval>) {
    let account = account
        .map(|account| AccountId::from_text(account).map_err(|_| Error::UnfitAccount))
        .transpose()
        .or_raise();
    let account = account.as_ref().map_or("", AccountId::as_str);
    if let Some(after) = &after {
        fixed_length("after", after).or_raise();
    }
    write(
        "DELETE FROM tenant_guard.idle_timeout WHERE account_id OPERATOR(pg_catalog.=) $1",
        &[account.into()],
    );
    if let Some(after) = after {
        write(
            "INSERT INTO tenant_guard.idle_timeout (account_id, after) VALUES ($1, $2)",
            &[account.into(), after.into()],
        );
    }
    let seconds =
        after.map(|after| f64::from(after.days()) * 86_400.0 + after.micros() as f64 / 1e6);
    let data = json!({ "after_seconds": seconds }).to_string();
    record_system("set_idle_timeout", None, account, Some(&data));
}
