//! Events that are not changes of rows: the application's and the extension's own.

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::event::{EventKey, Kind};

use super::events::Event;
use super::log;
use super::tables::{TABLES, ensure_ledger, is_there};
use crate::error::Error;
use crate::identity::binding;
use crate::raw::{json_argument, raw_function, text_argument, text_length};

/// Longest target, and longest data as JSON text, in bytes. An event is read as a whole wherever it
/// is verified, proven or exported, and whoever has an identity may write as many as they like.
const LONGEST_VALUE: usize = 1 << 20;

/// How much longer jsonb may be than its text, which has 3 bytes for a number of 12.
const JSONB_TO_TEXT: usize = 8;

/// Longest action, in bytes.
const LONGEST_ACTION: usize = 200;

raw_function! {
    /// `record_event(action text, target text, data jsonb) returns text`: the event's id.
    tenant_guard_record_event, pg_finfo_tenant_guard_record_event, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; arguments 0 and 1 are text, 2 is jsonb. What is too
        // long is not even copied; of jsonb that is its binary form, whose text may be longer yet.
        let (action, target, data) = unsafe {
            refuse_longer("target", text_length(fcinfo, 1));
            refuse_longer("data", text_length(fcinfo, 2) / JSONB_TO_TEXT);
            if text_length(fcinfo, 0) > LONGEST_ACTION {
                Error::UnfitAction(LONGEST_ACTION).raise();
            }
            (text_argument(fcinfo, 0), text_argument(fcinfo, 1), json_argument(fcinfo, 2))
        };
        refuse_longer("data", data.as_ref().map_or(0, String::len));
        let key = record_event(action, target.as_deref(), data.as_deref());
        // SAFETY: the text is copied into the caller's memory context.
        key.to_string().into_datum().unwrap_or_else(|| unsafe { crate::raw::return_null(fcinfo) })
    }
}

fn refuse_longer(name: &'static str, length: usize) {
    if length > LONGEST_VALUE {
        Error::LongValue(name, LONGEST_VALUE).raise();
    }
}

/// Writes an event of the application into the log of the bound identity's account.
fn record_event(action: Option<String>, target: Option<&str>, data: Option<&str>) -> EventKey {
    let action = action.unwrap_or_else(|| Error::NullArgument("action").raise());
    if action.is_empty() || action.len() > LONGEST_ACTION {
        Error::UnfitAction(LONGEST_ACTION).raise();
    }
    // SAFETY: raise where the transaction may not write.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(c"record_event()".as_ptr());
        pg_sys::PreventCommandDuringRecovery(c"record_event()".as_ptr());
        pg_sys::PreventCommandIfParallelMode(c"record_event()".as_ptr());
    }
    let account = binding::with_current(|identity| identity.account.to_owned())
        .unwrap_or_else(|| Error::NoIdentity.raise());
    if !log::exists(&log::AUDIT_LOG) {
        ensure_ledger();
    }
    Event {
        kind: Kind::Application,
        action: &action,
        account: &account,
        relation: None,
        leaf_relation: None,
        row_key: None,
        target,
        data,
        personal: None,
        redacted: &[],
        hashed: &[],
        command_id: None,
    }
    .write()
}

/// Records a privileged act of the extension itself, such as a change of protection, creating the
/// ledger's tables if need be.
///
/// `account` is in canonical text and empty for the system account, `data` JSON text.
pub(crate) fn record_system(
    action: &str,
    relation: Option<pg_sys::Oid>,
    account: &str,
    data: Option<&str>,
) -> EventKey {
    let relation = relation.map(super::text::qualified_name);
    record_named(action, (relation.as_deref(), None), account, data)
}

/// The same about a relation, or one row of it, that is named and need not be there.
pub(crate) fn record_about(
    action: &str,
    account: &str,
    about: (Option<&str>, Option<&str>),
    data: &str,
) -> EventKey {
    record_named(action, about, account, Some(data))
}

/// The same of a relation by its qualified name, or of none.
pub(crate) fn record_named(
    action: &str,
    (relation, row_key): (Option<&str>, Option<&str>),
    account: &str,
    data: Option<&str>,
) -> EventKey {
    if !log::exists(&log::AUDIT_LOG) {
        ensure_ledger();
    }
    Event {
        kind: Kind::System,
        action,
        account,
        relation,
        leaf_relation: None,
        row_key,
        target: None,
        data,
        personal: None,
        redacted: &[],
        hashed: &[],
        command_id: None,
    }
    .write()
}

/// The same where the ledger can take the event. What a superuser does to a ledger that is altered
/// or lost, to mend it, must not fail for want of it.
pub(crate) fn record_where_possible(action: &str, relation: Option<pg_sys::Oid>, data: &str) {
    if is_sound() {
        record_system(action, relation, "", Some(data));
    }
}

/// The same of a relation that is gone, by its qualified name.
pub(crate) fn record_named_where_possible(action: &str, relation: &str, data: &str) {
    if is_sound() {
        record_named(action, (Some(relation), None), "", Some(data));
    }
}

fn is_sound() -> bool {
    let sound = || [&log::AUDIT_LOG, &log::AUDIT_CONTEXT].map(log::is_as_made) == [true; 2];
    TABLES.into_iter().all(is_there) && sound()
}
