//! DETACH PARTITION CONCURRENTLY, whose partition is gone when the first of its two transactions ends,
//! long before the command does: what left is recorded as that transaction commits, from what it wrote
//! into the catalog under its locks.

use std::cell::Cell;

use pgrx::pg_sys::{self, AlterTableType, NodeTag};
use serde_json::json;

use super::command::{Command, pointers};
use super::reached;
use super::recorded::record_in_tree;
use crate::audit::pinned::Settings;

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// The running transaction may be the first of such a command.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Notes that such a command begins. Which partition it is about, nobody knows before it has its locks.
pub(super) fn begun(command: &Command) {
    if !is_concurrent(command) {
        return;
    }
    if !REGISTERED.replace(true) {
        // SAFETY: the callback lives as long as the library.
        unsafe { pg_sys::RegisterXactCallback(Some(transaction_ends), std::ptr::null_mut()) };
    }
    EXPECTED.set(true);
}

/// Whether it is such a command.
pub(super) fn is_concurrent(command: &Command) -> bool {
    if command.node() != NodeTag::T_AlterTableStmt {
        return false;
    }
    // SAFETY: the statement is what its tag says, its actions are AlterTableCmd nodes, and the definition
    // of DETACH is a PartitionCmd.
    unsafe {
        let statement: &pg_sys::AlterTableStmt = command.statement();
        pointers::<pg_sys::AlterTableCmd>(statement.cmds).any(|action| {
            action.subtype == AlterTableType::AT_DetachPartition
                && (*action.def.cast::<pg_sys::PartitionCmd>()).concurrent
        })
    }
}

/// Transaction callback. Before the commit errors are allowed.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn transaction_ends(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT if EXPECTED.replace(false) => record(),
        pg_sys::XactEvent::XACT_EVENT_ABORT => EXPECTED.set(false),
        _ => {}
    }
}

fn record() {
    // SAFETY: the transaction is whole still and has no snapshot of its own any more; this one is let go
    // of below, and by the end of the transaction on ERROR.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    {
        let _settings = Settings::for_catalog();
        for (parent, partition) in reached::leaving() {
            let data = json!({ "detached": reached::leaves(partition), "leaving": true });
            record_in_tree("ALTER TABLE", parent, &data);
        }
    }
    // SAFETY: pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
}
