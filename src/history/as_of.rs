//! Rows as they stood.

use std::collections::HashMap;
use std::ffi::CStr;

use pgrx::pg_sys;
use tenant_guard_core::history::{Counted, Counts, Event, Fold, Misfit, Scope, Unknown};
use tenant_guard_core::ledger::Snapshot;

use super::access;
use super::answer::Answer;
use super::events::{Beside, Reading};
use super::limit;
use crate::audit::transaction;
use crate::catalog::as_owner;
use crate::error::{Error, Looking, OrRaise};
use crate::ledger::moment;
use crate::ledger::rows::with_latest_snapshot;
use crate::raw::{raw_function, text_argument};

raw_function! {
    /// `as_of(relation text, at timestamptz, account text) returns setof json`.
    tenant_guard_as_of, pg_finfo_tenant_guard_as_of, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the second argument is a timestamptz.
        unsafe {
            let at = pgrx::fcinfo::pg_getarg_datum(fcinfo, 1);
            let at = at.ok_or(Error::NullArgument("at")).or_raise().value() as i64;
            rows(fcinfo, Moment::Time(at));
        }
        pg_sys::Datum::from(0)
    }
}

raw_function! {
    /// `as_of_snapshot(relation text, snapshot pg_snapshot, account text) returns setof json`.
    tenant_guard_as_of_snapshot, pg_finfo_tenant_guard_as_of_snapshot, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the second argument is a pg_snapshot, whose output
        // function gives a terminated string.
        unsafe {
            let snapshot = pgrx::fcinfo::pg_getarg_datum(fcinfo, 1);
            let snapshot = snapshot.ok_or(Error::NullArgument("snapshot")).or_raise();
            let text = pgrx::direct_function_call_as_datum(pg_sys::pg_snapshot_out, &[Some(snapshot)]);
            let text = CStr::from_ptr(text.expect("a text is no NULL").cast_mut_ptr());
            let snapshot = text.to_str().ok().and_then(|text| text.parse().ok());
            let unfit = Error::UnfitArgument("snapshot", "it is none of PostgreSQL's");
            rows(fcinfo, Moment::Snapshot(snapshot.ok_or(unfit).or_raise()));
        }
        pg_sys::Datum::from(0)
    }
}

/// What decides which transactions count.
enum Moment {
    /// Microseconds since PostgreSQL's epoch.
    Time(i64),
    /// A snapshot of this database.
    Snapshot(Snapshot),
}

/// # Safety
/// `fcinfo` must be what PostgreSQL passed to the running function, whose first and third arguments are
/// texts, and which returns a set of one text, or of what is stored like one.
unsafe fn rows(fcinfo: pg_sys::FunctionCallInfo, moment: Moment) {
    // SAFETY: the caller vouches.
    let (relation, account, answer) = unsafe {
        let relation = text_argument(fcinfo, 0);
        let account = text_argument(fcinfo, 2);
        (relation, account, Answer::begin(fcinfo))
    };
    let relation = super::named(relation.as_deref()).or_raise();
    let account = access::account(account.as_deref());
    as_owner(|| {
        with_latest_snapshot(|| {
            let mut fold = folded(&relation, account.as_deref(), &moment);
            if let Err(unknown) = fold.known_of(account.as_deref()) {
                refuse(&relation, account.as_deref(), unknown);
            }
            if account.is_some() && !fold.bears_account() {
                Error::Looking(Looking::NoAccounts(relation.clone())).raise();
            }
            for standing in fold.rows() {
                limit::watch();
                if account
                    .as_ref()
                    .is_some_and(|account| *account != standing.account)
                {
                    continue;
                }
                match standing.row {
                    Ok(row) => answer.put_texts([Some(&row)]),
                    Err(unknown) => refuse(&relation, account.as_deref(), unknown),
                }
            }
        });
    });
}

/// Nobody of an account is told which event of another one it was.
fn refuse(relation: &str, account: Option<&str>, unknown: Unknown) -> ! {
    let unknown = match account {
        Some(account) => unknown.told(account),
        None => unknown,
    };
    Error::Looking(Looking::Unknown(relation.to_owned(), unknown)).raise()
}

/// The rows that the events of the transactions that count made.
fn folded(relation: &str, account: Option<&str>, moment: &Moment) -> Fold {
    limit::begin();
    let reading = Reading::of(relation);
    let mut counting = Counting::of(moment);
    let one = account.map(|account| Scope::Account(account.to_owned()));
    // Only where a row came from another account all of them are read.
    for scope in one.into_iter().chain([Scope::All]) {
        let of = match &scope {
            Scope::Account(account) => Some(account.clone()),
            Scope::All => None,
        };
        let mut fold = Fold::new(reading.names(), scope).watched(limit::watch);
        let mut came = false;
        reading.for_each(of.as_deref(), |event, beside| {
            if came || !counting.counts(event, &beside) {
                return;
            }
            match fold.apply(event) {
                // The fold keeps in mind whose rows an event did not fit.
                Ok(()) | Err(Misfit::Unknown(_)) => {}
                Err(Misfit::OtherAccount) => came = true,
            }
        });
        if !came {
            return fold;
        }
    }
    unreachable!("nothing comes from outside all accounts")
}

/// Which transactions count, each asked about once.
struct Counting {
    counted: Counted,
    at: i64,
    asked: HashMap<(i64, i64), bool>,
    /// The running transaction, which is not over yet.
    running: (i64, Option<i64>),
}

impl Counting {
    fn of(moment: &Moment) -> Self {
        let (counted, at) = match moment {
            Moment::Time(at) => (moment::counted_at(*at), *at),
            Moment::Snapshot(snapshot) => {
                let own = transaction::incarnation();
                (Counted::of_snapshot(own, snapshot.clone()), i64::MAX)
            }
        };
        Self {
            counted,
            at,
            asked: HashMap::new(),
            running: (transaction::incarnation(), transaction::running()),
        }
    }

    fn counts(&mut self, event: &Event<'_>, beside: &Beside) -> bool {
        let (incarnation, xid) = (event.key.incarnation, event.key.xid);
        if (incarnation, Some(xid)) == self.running {
            return false;
        }
        match self.counted.judge(incarnation, xid) {
            Counts::Yes => true,
            Counts::No => false,
            Counts::Ask if beside.occurred_at > self.at => false,
            Counts::Ask => *{ self.asked.entry((incarnation, xid)) }
                .or_insert_with(|| moment::was_over(incarnation, xid, self.at)),
        }
    }
}
