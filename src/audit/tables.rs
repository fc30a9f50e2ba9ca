//! The ledger's tables: made on first use, written by our code alone.

use std::cell::Cell;
use std::marker::PhantomData;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::month::names_partition;

use super::log::Table;
use super::partitions::{self, PARTITIONED};
use crate::catalog::{as_owner, our_table};
use crate::error::Error;
use crate::fault::fault_point;
use crate::raw::{raw_function, trigger_data};

/// The ledger's tables.
pub(crate) const TABLES: [&str; 8] = [
    "audit_log",
    "audit_context",
    "ledger_account",
    "ledger_pruned",
    "ledger_block",
    "ledger_leaf",
    "ledger_checkpoint",
    "ledger_retention",
];

thread_local! {
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, the guard triggers let this backend's SQL write the ledger's tables.
pub(crate) struct LedgerWriting {
    outer: bool,
    /// The flag belongs to the backend's one thread.
    _not_send: PhantomData<*const ()>,
}

impl LedgerWriting {
    /// Lifts the guards until the returned value is dropped, which an error does too.
    pub(crate) fn begin() -> Self {
        Self {
            outer: WRITING.replace(true),
            _not_send: PhantomData,
        }
    }
}

impl Drop for LedgerWriting {
    fn drop(&mut self) {
        WRITING.set(self.outer);
    }
}

raw_function! {
    /// `guard_ledger() returns trigger`: refuses whatever is not our own code, superusers included.
    tenant_guard_guard_ledger, pg_finfo_tenant_guard_guard_ledger, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; its context, when a trigger calls, is TriggerData.
        let trigger = unsafe { trigger_data(fcinfo, "guard_ledger()") };
        if !WRITING.get() {
            // SAFETY: the relation of a firing trigger is open.
            Error::AppendOnly(unsafe { super::text::relation_name(trigger.tg_relation) }).raise();
        }
        pg_sys::Datum::from(0)
    }
}

raw_function! {
    /// `init_ledger() returns void`: the tables, with this month's partitions and the next ones'.
    tenant_guard_init_ledger, pg_finfo_tenant_guard_init_ledger, |_fcinfo| {
        ensure_ledger();
        // What the extension's script makes would be part of the extension, and go with it.
        // SAFETY: reads a backend-local variable.
        if !unsafe { pg_sys::creating_extension } {
            partitions::make_missing();
        }
        crate::personal::holds::restore();
        pg_sys::Datum::from(0)
    }
}

/// Creates the ledger's tables where there are none, and puts back missing guards and ownership
/// where an earlier installation of the extension left its tables behind.
///
/// Raises 55000 where only some of the tables exist: an empty one in the place of a lost one would
/// hide the loss.
pub(crate) fn ensure_ledger() {
    as_owner(|| {
        let _settings = super::pinned::Settings::pin();
        lock_extension();
        let found = TABLES.map(exists);
        if found.contains(&true) {
            if let Some(lost) = found.iter().position(|found| !found) {
                Error::LedgerTableLost(TABLES[lost]).raise();
            }
        } else {
            run(include_str!("../../sql/ledger_tables.sql"));
            fault_point!("ledger.tables_made");
            partitions::make_first();
            fault_point!("ledger.partitions_made");
        }
        TABLES.iter().for_each(|table| adopt(table));
        partitions().iter().for_each(|partition| adopt(partition));
        fault_point!("ledger.adopted");
        if !exists("audit_event") {
            run(include_str!("../../sql/ledger_views.sql"));
        }
        // Its function comes later in the extension's script, which calls this again at its end.
        if !exists("own_event") && query(OWN_EVENTS_EXISTS) {
            run(include_str!("../../sql/own_event.sql"));
        }
    });
}

const OWN_EVENTS_EXISTS: &str = "SELECT to_regprocedure( \
    'tenant_guard.own_events(timestamptz, timestamptz)') IS NOT NULL";

/// The partitions of the ledger's tables, those of other schemas left out: nothing of ours is there.
fn partitions() -> Vec<String> {
    Spi::connect(|client| {
        let rows = client.select(
            "SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid \
             WHERE i.inhparent IN ('tenant_guard.audit_log'::regclass, \
                     'tenant_guard.audit_context'::regclass) \
                 AND c.relnamespace = 'tenant_guard'::regnamespace AND c.relispartition",
            None,
            &[],
        )?;
        rows.map(|row| Ok(row.get::<String>(1)?.unwrap_or_default()))
            .collect::<Result<Vec<_>, pgrx::spi::SpiError>>()
    })
    .unwrap_or_else(|error| not_prepared(error))
}

/// Whether a table of this name in our schema is one of the ledger's or a partition of one, as our
/// code names them.
pub(crate) fn named(name: &str) -> bool {
    let partition = |table: &Table| names_partition(name, table.name());
    TABLES.contains(&name) || PARTITIONED.into_iter().any(partition)
}

/// Holds off another session that creates the same tables.
pub(super) fn lock_extension() {
    // SAFETY: the extension exists, for its function is running; the lock goes with the
    // transaction.
    unsafe {
        let extension = pg_sys::get_extension_oid(c"tenant_guard".as_ptr(), false);
        pg_sys::LockDatabaseObject(
            pg_sys::ExtensionRelationId,
            extension,
            0,
            pg_sys::ShareUpdateExclusiveLock as i32,
        );
    }
}

fn exists(table: &str) -> bool {
    query(&format!(
        "SELECT to_regclass('tenant_guard.{table}') IS NOT NULL"
    ))
}

/// Whether this table of the ledger is there, as the running command sees it.
pub(crate) fn is_there(table: &str) -> bool {
    oid_of(table) != pg_sys::Oid::INVALID
}

/// The oid of a table of the ledger, invalid where it is not there.
pub(crate) fn oid_of(table: &str) -> pg_sys::Oid {
    our_table(&std::ffi::CString::new(table).unwrap_or_default())
}

/// Makes a table the owner's and gives it its guard, as far as either is missing.
pub(super) fn adopt(table: &str) {
    let quoted = pgrx::spi::quote_identifier(table);
    let table_name = table;
    let table = quoted.as_str();
    // Whatever triggers and indexes a table comes with will run with our rights.
    if let Some(stranger) = ask(&format!(
        "SELECT (SELECT r.rolname::text FROM pg_class AS c \
             JOIN pg_roles AS r ON r.oid = c.relowner \
             WHERE c.oid = 'tenant_guard.{table}'::regclass \
                 AND NOT r.rolsuper AND r.rolname <> current_user)"
    )) {
        Error::LedgerPlanted(table_name.to_owned(), stranger).raise();
    }
    // The right of the tables' owner to write them is what sealing runs on.
    if !query(&format!(
        "SELECT relowner = current_user::regrole FROM pg_class \
         WHERE oid = 'tenant_guard.{table}'::regclass"
    )) {
        run(&format!(
            "ALTER TABLE tenant_guard.{table} OWNER TO CURRENT_USER"
        ));
    }
    if !query(&format!(
        "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'tenant_guard.{table}'::regclass \
         AND tgname = 'tenant_guard_guard')"
    )) {
        run(&format!(
            "CREATE TRIGGER tenant_guard_guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE \
             ON tenant_guard.{table} FOR EACH STATEMENT \
             EXECUTE FUNCTION tenant_guard.guard_ledger()"
        ));
    }
    if !query(&format!(
        "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'tenant_guard.{table}'::regclass \
         AND tgname = 'tenant_guard_guard' AND tgenabled = 'A')"
    )) {
        run(&format!(
            "ALTER TABLE tenant_guard.{table} ENABLE ALWAYS TRIGGER tenant_guard_guard"
        ));
    }
}

pub(super) fn run(statements: &str) {
    Spi::run(statements).unwrap_or_else(|error| not_prepared(error));
}

pub(super) fn query(statement: &str) -> bool {
    ask(statement).unwrap_or(false)
}

fn ask<T: FromDatum + IntoDatum>(statement: &str) -> Option<T> {
    Spi::get_one(statement).unwrap_or_else(|error| not_prepared(error))
}

fn not_prepared(error: pgrx::spi::SpiError) -> ! {
    pgrx::error!("ledger tables cannot be prepared: {error}")
}
