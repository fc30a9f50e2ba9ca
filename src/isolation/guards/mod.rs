//! Guards: event triggers that refuse the commands which would take protection apart beside
//! `unprotect`, that protect what a command adds to what is protected, and that record what a
//! command did to it.
//!
//! They judge the command and what the registry wants, never the state, so a dump can be restored
//! at every point of it. They run as whoever runs the command, possibly a hostile owner of tables:
//! objects are taken by their oid from what PostgreSQL collected, because names can come to mean
//! something else while a command runs.

mod above;
mod columns;
mod command;
mod copies;
mod created;
mod dropped;
mod gone;
mod leaving;
mod ledger;
mod members;
mod noted;
mod reached;
pub(super) mod recorded;
mod refusal;
pub(super) mod schemas;
mod types;
mod wanted;

use pgrx::pg_sys;
use pgrx::pg_sys::NodeTag;

use super::reading;
use crate::raw::raw_function;
use command::Command;
pub(super) use wanted::PolicyRow;

raw_function! {
    /// `guard_command_start() returns event_trigger`: what must not even begin.
    tenant_guard_guard_command_start, pg_finfo_tenant_guard_guard_command_start, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`.
        if let Some(command) = unsafe { Command::guarded(fcinfo, "guard_command_start()") } {
            recorded::begun(&command);
            leaving::begun(&command);
            ledger::judge(&command);
            noted::note(&command);
            created::make_way(&command);
        }
        pg_sys::Datum::from(0)
    }
}

raw_function! {
    /// `guard_command_end() returns event_trigger`: what was altered or made.
    tenant_guard_guard_command_end, pg_finfo_tenant_guard_guard_command_end, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`.
        if let Some(command) = unsafe { Command::guarded(fcinfo, "guard_command_end()") } {
            judge_end(&command);
            recorded::altered(&command);
        }
        pg_sys::Datum::from(0)
    }
}

raw_function! {
    /// `guard_dropped() returns event_trigger`: what is gone, whatever command took it.
    tenant_guard_guard_dropped, pg_finfo_tenant_guard_guard_dropped, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`.
        if let Some(command) = unsafe { Command::guarded(fcinfo, "guard_dropped()") } {
            dropped::judge(&command);
            gone::record_dropped(&command);
            reading::dropped();
        }
        pg_sys::Datum::from(0)
    }
}

fn judge_end(command: &Command) {
    match command.node() {
        // Of an index, whose partitions are none of a table.
        NodeTag::T_AlterTableStmt if command.tag == pg_sys::CommandTag::CMDTAG_ALTER_INDEX => {}
        NodeTag::T_AlterTableStmt => {
            created::left(command);
            members::altered(command);
            created::attached(command);
        }
        NodeTag::T_AlterObjectSchemaStmt => created::moved(command),
        NodeTag::T_RenameStmt => {
            members::renamed(command);
            schemas::renamed(command);
        }
        NodeTag::T_AlterPolicyStmt => members::policy_altered(command),
        NodeTag::T_CreateTrigStmt => members::trigger_created(command),
        NodeTag::T_CreateStmt | NodeTag::T_CreateForeignTableStmt => created::made(command),
        NodeTag::T_CreateSchemaStmt => {
            created::made(command);
            members::trigger_created(command);
        }
        NodeTag::T_CreateTableAsStmt => copies::made(command),
        NodeTag::T_RefreshMatViewStmt => copies::refreshed(command),
        _ => {}
    }
}
