//! One event, from what is known of it to its row in the log.

use std::cell::RefCell;

use pgrx::pg_sys;
use tenant_guard_core::event::{Entry, EventKey, Kind, personal_commitment};
use tenant_guard_core::merkle::Hash;
use tenant_guard_core::reads::Who;

use super::log;
use super::transaction;
use crate::fault::fault_point;
use crate::random;

/// What happened; who, when and where from is found by [`Event::write`].
pub(super) struct Event<'a> {
    pub(super) kind: Kind,
    pub(super) action: &'a str,
    /// Account in canonical text; empty for the system account.
    pub(super) account: &'a str,
    pub(super) relation: Option<&'a str>,
    pub(super) leaf_relation: Option<&'a str>,
    pub(super) row_key: Option<&'a str>,
    pub(super) target: Option<&'a str>,
    pub(super) data: Option<&'a str>,
    /// Values of personal columns, JSON text.
    pub(super) personal: Option<&'a str>,
    pub(super) redacted: &'a [&'a str],
    pub(super) hashed: &'a [&'a str],
    /// Command that made the change, where that is not the running one: a trigger runs later, and
    /// other triggers may have run commands before it.
    pub(super) command_id: Option<pg_sys::CommandId>,
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Event<'_> {
    /// Appends the event, with its leaf hash, to the log.
    pub(super) fn write(&self) -> EventKey {
        let key = transaction::next_key();
        fault_point!("capture.key_taken");
        let context = transaction::context(key);
        // SAFETY: reads the clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        self.append(key, context, now);
        key
    }

    /// The same of what somebody else did at another time.
    pub(super) fn write_for(&self, who: &Who, at: pg_sys::TimestampTz) {
        let key = transaction::next_key();
        let context = transaction::context_of(key, who);
        self.append(key, context, at);
    }

    fn append(
        &self,
        key: EventKey,
        (context, context_hash): (i16, Hash),
        now: pg_sys::TimestampTz,
    ) {
        // SAFETY: reads the state of the running transaction; the command id is marked as used by the
        // insert below.
        let running = unsafe { pg_sys::GetCurrentCommandId(true) };
        let salt = self.personal.map(|_| random::salt());
        let commitment = self.personal.zip(salt.as_ref());
        let commitment = commitment.map(|(personal, salt)| personal_commitment(salt, personal));
        let entry = Entry {
            key,
            command_id: i64::from(self.command_id.unwrap_or(running)),
            kind: self.kind.as_str(),
            action: self.action,
            account: self.account,
            relation: self.relation,
            leaf_relation: self.leaf_relation,
            row_key: self.row_key,
            target: self.target,
            occurred_at: crate::clock::to_unix(now),
            context: Some(context_hash),
            data: self.data,
            personal: commitment.as_ref().map(|hash| hash.as_slice()),
            redacted: self.redacted,
            hashed: self.hashed,
        };
        let leaf_hash = SCRATCH.with_borrow_mut(|scratch| entry.leaf_hash(scratch));

        let mut row = log::Row::new(&log::AUDIT_LOG, now);
        row.int8(key.incarnation);
        row.int8(key.xid);
        row.int8(entry.command_id);
        row.int8(now);
        row.int4(key.ordinal);
        row.int2(context);
        row.text(Some(entry.kind));
        row.text(Some(entry.action));
        row.text(Some(entry.account));
        row.text(entry.relation);
        row.text(entry.leaf_relation);
        row.text(entry.row_key);
        row.text(entry.target);
        for names in [entry.redacted, entry.hashed] {
            row.texts((!names.is_empty()).then_some(names));
        }
        row.text(entry.data);
        row.text(self.personal);
        for bytes in [salt, commitment] {
            match bytes {
                Some(bytes) => row.bytes(&bytes),
                None => row.null(),
            }
        }
        // The hash of data that is not there.
        row.null();
        row.bytes(&leaf_hash);
        row.insert();
        fault_point!("capture.event_written");
    }
}
