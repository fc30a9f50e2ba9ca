//! Waiting until events are sealed.

use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::ledger::{Claim, Claims, Snapshot};

use super::proof::account_of;
use super::publication::{self, Limit};
use super::rows::with_latest_snapshot;
use super::sealer::{start, worker};
use super::{reads_ledger, seal, store};
use crate::audit::transaction;
use crate::catalog::as_owner;
use crate::clock::now_us;
use crate::error::{Error, OrRaise};
use crate::identity::binding;
use crate::identity::issuers::fixed_length;

/// The first and the longest pause between two looks, microseconds.
const PAUSES: (i64, i64) = (2_000, 50_000);

/// Waits until an event, or without one everything committed before the call, is sealed; false
/// when the time is over before that.
#[pg_extern(sql = false)]
fn wait_sealed(event_id: Option<&str>, timeout: Option<Interval>) -> bool {
    let deadline = timeout
        .map(|timeout| fixed_length("timeout", &timeout).map(|time| now_us().saturating_add(time)))
        .transpose()
        .or_raise();
    if transaction::has_events() {
        Error::WaitInWriter.raise();
    }
    let reader = Reader::of_session();
    let awaited = match event_id {
        Some(text) => Awaited::Event(reader.find(text).or_raise()),
        None => Awaited::Committed(as_owner(|| with_latest_snapshot(seal::current_snapshot))),
    };
    let mut pause = PAUSES.0;
    loop {
        let limit = publication::limit();
        let (sealed, published) = as_owner(|| {
            with_latest_snapshot(|| {
                let sealed = awaited.is_within(Limit::Newest);
                (sealed, sealed && awaited.is_within(limit))
            })
        });
        if published {
            return true;
        }
        let left = deadline.map_or(i64::MAX, |deadline| deadline - now_us());
        if left <= 0 {
            return false;
        }
        // SAFETY: reads the state of the server. A standby waits for what its primary seals.
        let standby = unsafe { pg_sys::RecoveryInProgress() };
        if !sealed
            && !standby
            && let Some(entry) = start::own_entry()
        {
            start::hurry(entry);
        }
        worker::wait(pause.min(left));
        pgrx::check_for_interrupts!();
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Whose events the caller may ask for.
enum Reader {
    /// All: an admin or an auditor.
    Any,
    /// Those of the account of the caller's identity.
    Account(String),
}

impl Reader {
    fn of_session() -> Self {
        if reads_ledger() {
            return Self::Any;
        }
        match binding::with_current(|identity| identity.account.to_owned()) {
            Some(account) => Self::Account(account),
            None => Error::NoIdentity.raise(),
        }
    }

    /// The key of an event the caller may know of. One of another account is none, as in the log
    /// itself for everybody who reads it by account.
    fn find(&self, text: &str) -> Result<EventKey, Error> {
        let key: EventKey = text.parse().map_err(|_| Error::UnfitEventId)?;
        let found = as_owner(|| with_latest_snapshot(|| account_of(key)));
        match (self, found) {
            (Self::Any, Some(_)) => Ok(key),
            (Self::Account(own), Some(account)) if *own == account => Ok(key),
            _ => Err(Error::NoEvent(text.to_owned())),
        }
    }
}

/// What is waited for.
enum Awaited {
    Event(EventKey),
    /// Everything a snapshot sees.
    Committed(Snapshot),
}

impl Awaited {
    /// Whether blocks that the active snapshot sees and that may be spoken of hold it.
    fn is_within(&self, limit: Limit) -> bool {
        if !store::exists() {
            return true;
        }
        let incarnation = transaction::incarnation();
        match self {
            Self::Event(key) => sealed(limit, key.incarnation)
                .of(key.incarnation)
                .contains(key.xid),
            Self::Committed(snapshot) => {
                let incarnations = store::incarnations(store::AUDIT_LOG);
                incarnations.into_iter().all(|(written_in, highest)| {
                    let claims = sealed(limit, written_in);
                    let before = claims.of(written_in);
                    let xids = if written_in == incarnation {
                        snapshot.ranges_since(&before)
                    } else {
                        let bound = claims.adoption_bound(written_in, highest);
                        Snapshot::below(bound).ranges_since(&before)
                    };
                    !store::has_events(&Claim {
                        incarnation: written_in,
                        xids,
                    })
                })
            }
        }
    }
}

/// What the blocks hold of an incarnation: of the newest block's own its snapshot says it all.
fn sealed(limit: Limit, incarnation: i64) -> Claims {
    let last = match limit {
        Limit::Newest => store::last_block(),
        Limit::Block(known) => store::block(known.block),
        Limit::Nothing => None,
    };
    match last {
        Some(last) if last.incarnation == incarnation => {
            Claims::of_newest(incarnation, last.snapshot)
        }
        Some(last) => store::claims_until(last.block),
        None => Claims::default(),
    }
}
