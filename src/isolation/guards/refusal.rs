//! Refusing a command, or writing down that it was let through.

use pgrx::pg_sys;

use super::command::Command;
use crate::audit::record::record_where_possible;
use crate::error::{Error, Guarded};
use crate::settings::GUARDS;

/// Whether commands are refused and what they make is protected.
pub(super) fn on() -> bool {
    GUARDS.get()
}

/// Refuses the command, or leaves an event where a superuser switched the guards off.
pub(super) fn refuse(command: &Command, relation: Option<pg_sys::Oid>, refusal: Guarded) {
    if on() {
        Error::Guarded(refusal).raise();
    }
    let data = serde_json::json!({
        "command": command.tag_name(),
        "passed": refusal.to_string(),
    });
    record_where_possible("guards off", relation, &data.to_string());
}
