//! Receipts of events.

use std::io::{self, Write};

use pgrx::prelude::*;
use tenant_guard_core::bundle::rows::Bytes;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::event::{Context, EventKey, Kind};
use tenant_guard_core::proof::inclusion_ranges;
use tenant_guard_core::receipt::{AccountOpening, LogProof, Opening, Telling, open, verify};

use super::proof::{Blocks, Place, account_of, event_key, place};
use super::publication::{self, Limit};
use super::read::one_event;
use super::rows::with_latest_snapshot;
use super::{reads_ledger, signing};
use crate::catalog::as_owner;
use crate::error::{Error, OrRaise};
use crate::history::readers;
use crate::identity::binding::with_current;

/// A proof that an event is in the ledger, for whoever keeps it: a C2SP `tlog-proof`.
///
/// Auditors and administrators get one of any event, with all that is stored. Whoever has an
/// identity gets one of what the application recorded in its name, with the hash of the data, and, where
/// one of its roles reads the log of its account, of all that stands there. Others not of changes of rows: the key of a row is the whole row where that has no primary key, and a hash of
/// values without a salt is guessed; the log knows nothing of the policies and lists of columns that
/// keep some of them from its subject.
#[pg_extern(sql = false)]
fn receipt(event_id: &str) -> String {
    let key = event_key(event_id).or_raise();
    let own = (!reads_ledger()).then(caller);
    let limit = publication::limit();
    as_owner(|| with_latest_snapshot(|| make(key, own, limit)))
}

/// Whose events an identity may have receipts of. Two issuers may give the same subject to two
/// people.
struct Caller {
    account: String,
    issuer: String,
    subject: Option<String>,
    /// Whether it may read all events of its account.
    reads_log: bool,
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
    let reads_log = readers::account().is_some();
    with_current(|identity| Caller {
        account: identity.account.to_owned(),
        issuer: identity.issuer.to_owned(),
        subject: identity.subject.map(str::to_owned),
        reads_log,
    })
    .unwrap_or_else(|| Error::NoIdentity.raise())
}

fn make(key: EventKey, own: Option<Caller>, limit: Limit) -> String {
    let account = account_of(key);
    let telling = match own {
        None => Telling::All,
        Some(caller) if caller.reads_log && account.as_ref() == Some(&caller.account) => {
            Telling::All
        }
        Some(caller) => {
            // Whether somebody else's event exists is not told.
            let kind = one_event(key, |event, context| {
                let context = context.map(|(context, _)| context);
                let own = caller.acted(account.as_deref(), context);
                own.then(|| event.entry.kind.to_owned())
            });
            match kind.flatten() {
                None => Error::NoEvent(key.to_string()).raise(),
                Some(kind) if kind != Kind::Application.as_str() => {
                    Error::ReceiptOfRow(kind).raise()
                }
                Some(_) => Telling::Hashes,
            }
        }
    };
    let account = account.ok_or(Error::NoEvent(key.to_string())).or_raise();
    let mut blocks = Blocks::open(limit);
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
    let made = one_event(key, |event, context| {
        let account = AccountOpening {
            block: place.block,
            blinding: Bytes(place.blinding.as_slice().into()),
            events: place.events,
            account_size: place.account_size,
            account_root: Bytes(place.account_root.as_slice().into()),
        };
        let path = (place.index, place.path.as_slice());
        let opening: Opening<'_> = open(event, context, telling, account, path);
        let mut text = Bounded(Vec::new());
        match serde_json::to_writer(&mut text, &opening) {
            Ok(()) => text.0,
            Err(_) => Error::LongReceipt(LONGEST).raise(),
        }
    });
    made.unwrap_or_else(|| Error::BrokenLedger("the event").raise())
}

/// Longest opening in bytes: in base64 and with its paths it stays below what `tenant-guard-verify`
/// reads, and a few copies of it stay far below the memory of a server.
const LONGEST: usize = 32 << 20;

/// Takes no more than so much, and only while there is memory.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST || self.0.try_reserve(bytes.len()).is_err() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
