//! Receipts of events.

use pgrx::prelude::*;
use tenant_guard_core::bundle::rows::Bytes;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::event::{Context, EventKey};
use tenant_guard_core::ledger::{Claim, XidRanges};
use tenant_guard_core::proof::inclusion_ranges;
use tenant_guard_core::receipt::{AccountOpening, LogProof, Opening, Telling, open, verify};

use super::proof::{Blocks, Place, account_of, event_key, place};
use super::read::one_event;
use super::rows::with_latest_snapshot;
use super::{reads_ledger, signing};
use crate::catalog::as_owner;
use crate::error::{Error, OrRaise};
use crate::identity::binding::with_current;

/// A proof that an event is in the ledger, for whoever keeps it: a C2SP `tlog-proof`.
///
/// Auditors and administrators get one of any event, with all that is stored. Whoever has an
/// identity gets one of an event of its own, with the hashes of values instead of the values: the
/// log knows nothing of the policies and lists of columns that keep some of them from its subject.
#[pg_extern(sql = false)]
fn receipt(event_id: &str) -> String {
    let key = event_key(event_id).or_raise();
    let own = (!reads_ledger()).then(caller);
    as_owner(|| with_latest_snapshot(|| make(key, own)))
}

/// Whose events an identity may have receipts of. Two issuers may give the same subject to two
/// people.
struct Caller {
    account: String,
    issuer: String,
    subject: Option<String>,
}

impl Caller {
    fn acted(&self, account: Option<&str>, context: Option<&Context<'_>>) -> bool {
        let subject = self.subject.as_deref();
        let own = |context: &Context<'_>| {
            (context.issuer, context.subject) == (Some(self.issuer.as_str()), subject)
        };
        account == Some(self.account.as_str()) && subject.is_some() && context.is_some_and(own)
    }
}

/// The identity of the calling session. Raises without one.
fn caller() -> Caller {
    with_current(|identity| Caller {
        account: identity.account.to_owned(),
        issuer: identity.issuer.to_owned(),
        subject: identity.subject.map(str::to_owned),
    })
    .unwrap_or_else(|| Error::NoIdentity.raise())
}

fn make(key: EventKey, own: Option<Caller>) -> String {
    let account = account_of(key);
    let telling = match own {
        None => Telling::All,
        Some(caller) => {
            // Whether somebody else's event exists is not told.
            let is_own = account.is_some()
                && one_event(&just(key), |event, context| {
                    let context = context.map(|(context, _)| context);
                    event.entry.key == key && caller.acted(account.as_deref(), context)
                })
                .into_iter()
                .any(|own| own);
            if !is_own {
                Error::NoEvent(key.to_string()).raise();
            }
            Telling::Hashes
        }
    };
    let account = account.ok_or(Error::NoEvent(key.to_string())).or_raise();
    let mut blocks = Blocks::open();
    let place = place(&mut blocks, key, &account).or_raise();
    let checkpoint = checkpoint(&mut blocks, &place);
    let ranges = inclusion_ranges(place.position, checkpoint.size)
        .unwrap_or_else(|| Error::BrokenLedger("a leaf").raise());
    let proof = LogProof {
        extra: Some(opening(key, &place, telling)),
        index: place.position,
        path: blocks.roots(place.epoch, &ranges),
        checkpoint: &signing::note_of(&checkpoint),
    };
    let text = proof.to_string();
    if verify(&text).is_err() {
        Error::BrokenLedger("the block of the event").raise();
    }
    text
}

/// The events of one transaction.
fn just(key: EventKey) -> Claim {
    Claim {
        incarnation: key.incarnation,
        xids: XidRanges {
            from: key.xid,
            until: key.xid.saturating_add(1),
            except: Vec::new(),
            late: Vec::new(),
        },
    }
}

/// The newest checkpoint that was signed elsewhere and holds the event, for its signatures; where
/// there is none the newest of the epoch.
fn checkpoint(blocks: &mut Blocks, place: &Place) -> Checkpoint {
    let stored = signing::stored_size(place.epoch, place.position);
    let block = stored
        .and_then(|size| blocks.of_size(place.epoch, size))
        .or_else(|| blocks.of_epoch(place.epoch).map(|(_, last)| last))
        .unwrap_or_else(|| Error::BrokenLedger("an epoch").raise());
    let block = blocks.get(block);
    Checkpoint {
        incarnation: block.incarnation,
        epoch: block.epoch,
        size: block.size,
        root: block.root,
    }
}

fn opening(key: EventKey, place: &Place, telling: Telling) -> Vec<u8> {
    let made = one_event(&just(key), |event, context| {
        (event.entry.key == key).then(|| {
            let account = AccountOpening {
                block: place.block,
                blinding: Bytes(place.blinding.as_slice().into()),
                events: place.events,
                account_size: place.account_size,
                account_root: Bytes(place.account_root.as_slice().into()),
            };
            let path = (place.index, place.path.as_slice());
            let opening: Opening<'_> = open(event, context, telling, account, path);
            serde_json::to_vec(&opening).expect("rows are plain data")
        })
    });
    made.into_iter()
        .flatten()
        .next()
        .unwrap_or_else(|| Error::BrokenLedger("the event").raise())
}
