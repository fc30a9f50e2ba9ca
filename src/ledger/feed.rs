//! Sealed events as lines, for whoever ships them elsewhere.

use pgrx::pg_sys;
use pgrx::prelude::*;
use serde::Serialize;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::bundle::rows::{ContextRow, EventRow};
use tenant_guard_core::event::Entry;
use tenant_guard_core::history::Position;
use tenant_guard_core::ledger::{Claim, StoredEvent};
use tenant_guard_core::merkle::Hash;

use super::proof::Blocks;
use super::publication;
use super::read::{CONTEXT_COLUMNS, EVENT_COLUMNS, with_context, with_event};
use super::rows::{Cursor, for_each_row, with_cursors, with_latest_snapshot};
use super::store::{self, AUDIT_LOG, EVENT_ORDER, Part};
use crate::catalog::as_owner;
use crate::error::{Error, Looking, OrRaise};
use crate::history::answer::Answer;
use crate::raw::{raw_function, text_argument};

raw_function! {
    /// `audit_feed(after text, most integer, account text) returns table(position text, line text)`.
    tenant_guard_audit_feed, pg_finfo_tenant_guard_audit_feed, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the arguments are text, integer and text, and the function
        // returns a set.
        let (after, most, account, answer) = unsafe {
            let after = text_argument(fcinfo, 0);
            let most = pgrx::fcinfo::pg_getarg_datum(fcinfo, 1);
            let account = text_argument(fcinfo, 2);
            (after, most, account, Answer::begin(fcinfo))
        };
        let after: Option<Position> = { after.as_deref() }
            .map(|text| text.parse().map_err(|_| Error::Looking(Looking::UnfitPosition)))
            .transpose()
            .or_raise();
        let most = most.ok_or(Error::NullArgument("most")).or_raise().value() as i32;
        let most = u32::try_from(most)
            .map_err(|_| Error::UnfitArgument("most", "it must not be negative"))
            .or_raise();
        let account = account.map(|account| match AccountId::from_text(&account) {
            _ if account.is_empty() => account,
            Ok(account) => account.as_str().to_owned(),
            Err(_) => Error::UnfitAccount.raise(),
        });
        let limit = publication::limit();
        as_owner(|| {
            with_latest_snapshot(|| {
                let mut feed = Feed { after, left: most, account, answer };
                feed.read(limit);
            });
        });
        pg_sys::Datum::from(0)
    }
}

struct Feed {
    /// Where the caller stands; done with once its block is behind.
    after: Option<Position>,
    left: u32,
    account: Option<String>,
    answer: Answer,
}

/// Most bytes of a column that stands in a line, which a receiver reads as a whole: one of 1 GB would be none that
/// a client can be sent, and the feed would never get past it.
const LONGEST: usize = 16 << 20;

/// One line. What may be erased later is not in it: nothing could erase it where it was shipped to.
#[derive(Serialize)]
struct Line<'a> {
    block: i64,
    event_id: String,
    event: EventRow<'a>,
    /// Columns that are longer than that, which are not in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a serde_json::value::RawValue>,
}

impl Feed {
    fn read(&mut self, limit: publication::Limit) {
        let is_empty = || limit == publication::Limit::Nothing || store::sealed(None).is_none();
        if !store::exists() || is_empty() {
            if self.after.is_some() {
                Error::Looking(Looking::ForeignPosition).raise();
            }
            return;
        }
        let mut blocks = Blocks::open(limit);
        let first = match self.after {
            None => store::removed_through(None) + 1,
            Some(position) => {
                let known = hash_of(position.block).filter(|_| position.block <= blocks.last());
                let is_ours =
                    |hash: &Hash| Position::new(position.block, hash, position.event) == position;
                if !known.as_ref().is_some_and(is_ours) {
                    Error::Looking(Looking::ForeignPosition).raise();
                }
                if position.block <= store::removed_through(self.account.as_deref()) {
                    let first = store::removed_through(None) + 1;
                    Error::Looking(Looking::Removed(first)).raise();
                }
                position.block
            }
        };
        for number in first..=blocks.last() {
            if self.left == 0 {
                return;
            }
            if self.has_events(number) {
                let hash = hash_of(number)
                    .ok_or(Error::BrokenLedger("a block"))
                    .or_raise();
                let claims = blocks.claims_of(number);
                self.block(number, &hash, claims);
            }
            self.after = None;
        }
    }

    /// Whether a block holds events of the account that is asked for.
    fn has_events(&self, block: i64) -> bool {
        let Some(account) = &self.account else {
            return true;
        };
        let mut found = false;
        let account = account.as_str().into_datum().expect("a text is no NULL");
        for_each_row(
            c"SELECT 1::bigint FROM tenant_guard.ledger_leaf \
              WHERE block = $1 AND account_id = $2 LIMIT 1",
            &[
                (pg_sys::INT8OID, pg_sys::Datum::from(block)),
                (pg_sys::TEXTOID, account),
            ],
            |_| found = true,
        );
        found
    }

    fn block(&mut self, number: i64, hash: &Hash, mut claims: Vec<Claim>) {
        if let Some(position) = self.after {
            // Whole incarnations before the position's are behind.
            let at = claims
                .iter()
                .position(|claim| claim.incarnation == position.event.incarnation);
            claims.drain(..at.unwrap_or(0));
            let rest = Part::after(position.event);
            self.part(number, hash, &rest);
            if let Some(claim) = claims.first_mut() {
                claim.xids.skip_to(position.event.xid.saturating_add(1));
            }
        }
        for part in claims.iter().flat_map(store::parts) {
            if self.left == 0 {
                return;
            }
            self.part(number, hash, &part);
        }
    }

    fn part(&mut self, number: i64, hash: &Hash, part: &Part) {
        let events = part.query(EVENT_COLUMNS, AUDIT_LOG, EVENT_ORDER);
        let contexts = part.contexts(CONTEXT_COLUMNS);
        with_cursors(
            [(&events, part.arguments()), (&contexts, part.arguments())],
            |[mut events, mut contexts]| {
                let mut known = Known::default();
                while self.left > 0
                    && let Some(row) = events.next()
                {
                    with_event(&row, |event| {
                        if self
                            .account
                            .as_ref()
                            .is_none_or(|account| account == event.entry.account)
                        {
                            known.advance(&mut contexts, event.entry.key.xid);
                            self.line(number, hash, event, &known);
                        }
                    });
                }
            },
        );
    }

    fn line(&mut self, number: i64, hash: &Hash, event: &StoredEvent<'_>, known: &Known) {
        let key = event.entry.key;
        let context = { known.of.iter() }.find(|(of, _)| Some(*of) == event.context);
        let mut left_out = Vec::new();
        let mut unless_long = |name, value: Option<_>| {
            let long = value.is_some_and(|value: &str| value.len() > LONGEST);
            left_out.extend(long.then_some(name));
            if long { None } else { value }
        };
        let entry = Entry {
            row_key: unless_long("row_key", event.entry.row_key),
            data: unless_long("data", event.entry.data),
            ..event.entry
        };
        let event = StoredEvent { entry, ..*event };
        let line = Line {
            block: number,
            event_id: key.to_string(),
            event: EventRow {
                personal: None,
                personal_salt: None,
                ..EventRow::of(&event)
            },
            left_out,
            context: context.map(|(_, json)| &**json),
        };
        let line = serde_json::to_string(&line).expect("names and texts make JSON");
        let position = Position::new(number, hash, key).to_string();
        self.answer.put_texts([Some(&position), Some(&line)]);
        self.left -= 1;
    }
}

/// The contexts of the transaction in hand, by number.
#[derive(Default)]
struct Known {
    xid: Option<i64>,
    of: Vec<(i16, Box<serde_json::value::RawValue>)>,
    /// That of the next transaction, which was read to find the end.
    ahead: Option<(i64, i16, Box<serde_json::value::RawValue>)>,
}

impl Known {
    fn advance(&mut self, contexts: &mut Cursor, xid: i64) {
        if self.xid == Some(xid) {
            return;
        }
        self.xid = Some(xid);
        self.of.clear();
        loop {
            let next = self.ahead.take().or_else(|| {
                contexts.next().map(|row| {
                    with_context(&row, |context, hash| {
                        let json = serde_json::value::to_raw_value(&ContextRow::of(context, hash));
                        let json = json.expect("names and texts make JSON");
                        (context.xid, context.number, json)
                    })
                })
            });
            match next {
                None => return,
                Some((of, ..)) if of < xid => {}
                Some((of, number, json)) if of == xid => self.of.push((number, json)),
                Some(ahead) => return self.ahead = Some(ahead),
            }
        }
    }
}

fn hash_of(block: i64) -> Option<Hash> {
    let mut found = None;
    for_each_row(
        c"SELECT hash FROM tenant_guard.ledger_block WHERE block = $1",
        &[(pg_sys::INT8OID, pg_sys::Datum::from(block))],
        |row| found = row.bytes(0).try_into().ok(),
    );
    found
}
