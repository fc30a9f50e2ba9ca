//! `COPY ... FROM STDIN` into protected relations, which PostgreSQL refuses under row security.
//!
//! Each row is held against the very expressions that an `INSERT` would be. Where nothing changes a
//! row between reading and storing it, they are evaluated as part of COPY's own WHERE, and rows go
//! to the table in batches; everywhere else the rows become one `INSERT`, or one each under rules.

mod loading;
mod memory;
mod rows;
mod source;

use std::ffi::CString;

use pgrx::prelude::*;

use super::registry::read;
use crate::error::Error;
use crate::raw::raw_function;
use loading::Loading;
use rows::Rows;

static mut PREVIOUS: pg_sys::ProcessUtility_hook_type = None;

/// Puts this before the execution of utility commands.
pub(crate) fn install() {
    // SAFETY: called once, while the library is loaded, before any hook can run.
    unsafe {
        PREVIOUS = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

/// PostgreSQL's own functions, called without pgrx's boundary: an error that passes that loses its
/// context, its position and the names of what it is about. Whoever calls one must be a frame
/// without destructors, because the error jumps over it.
mod server {
    use std::ffi::{c_char, c_int, c_long, c_void};

    use pgrx::pg_sys::*;

    unsafe extern "C-unwind" {
        pub(super) fn standard_ProcessUtility(
            statement: *mut PlannedStmt,
            text: *const c_char,
            read_only_tree: bool,
            context: ProcessUtilityContext::Type,
            parameters: ParamListInfo,
            environment: *mut QueryEnvironment,
            destination: *mut DestReceiver,
            completion: *mut QueryCompletion,
        );
        pub(super) fn CopyFrom(reading: CopyFromState) -> u64;
        pub(super) fn EndCopyFrom(reading: CopyFromState);
        pub(super) fn NextCopyFrom(
            reading: CopyFromState,
            context: *mut ExprContext,
            values: *mut Datum,
            nulls: *mut bool,
        ) -> bool;
        pub(super) fn CopyFromErrorCallback(reading: *mut c_void);
        pub(super) fn ExecDropSingleTupleTableSlot(slot: *mut TupleTableSlot);
        pub(super) fn ExecStoreVirtualTuple(slot: *mut TupleTableSlot) -> *mut TupleTableSlot;
        pub(super) fn SPI_execute_plan(
            plan: SPIPlanPtr,
            values: *mut Datum,
            nulls: *const c_char,
            read_only: bool,
            count: c_long,
        ) -> c_int;
        pub(super) fn SPI_finish() -> c_int;
        pub(super) fn GetActiveSnapshot() -> Snapshot;
        pub(super) fn PushCopiedSnapshot(snapshot: Snapshot);
        pub(super) fn UpdateActiveSnapshotCommandId();
        pub(super) fn PopActiveSnapshot();
        pub(super) fn CreateQueryDesc(
            statement: *mut PlannedStmt,
            text: *const c_char,
            snapshot: Snapshot,
            crosscheck: Snapshot,
            destination: *mut DestReceiver,
            parameters: ParamListInfo,
            environment: *mut QueryEnvironment,
            instruments: c_int,
        ) -> *mut QueryDesc;
        pub(super) fn FreeQueryDesc(execution: *mut QueryDesc);
        pub(super) fn ExecutorStart(execution: *mut QueryDesc, flags: c_int);
        pub(super) fn ExecutorFinish(execution: *mut QueryDesc);
        pub(super) fn ExecutorEnd(execution: *mut QueryDesc);
        pub(super) fn palloc0(size: usize) -> *mut c_void;
        pub(super) fn MemoryContextReset(context: MemoryContext);
        pub(super) fn ProcessInterrupts();
        pub(super) fn relation_close(relation: Relation, lock: c_int);
    }
}

/// What is to be done about a utility statement.
#[derive(Clone, Copy)]
enum Work {
    /// Nothing of ours.
    Pass,
    /// PostgreSQL's own COPY, with the checks in its WHERE.
    Batches(pg_sys::Relation, pg_sys::CopyFromState),
    /// INSERTs.
    Rows(Rows),
}

unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const std::ffi::c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: PostgreSQL passes a statement and its surroundings, which are passed on unchanged
    // unless the statement is one that is executed here; `completion` may be null. Nothing in this
    // frame has a destructor, and what has runs within the guard.
    unsafe {
        let work = match copy_from_client((*statement).utilityStmt) {
            Some(copy) => pg_sys::panic::pgrx_extern_c_guard(|| prepare(copy, text, environment)),
            None => Work::Pass,
        };
        let (relation, rows) = match work {
            Work::Pass => {
                let next = PREVIOUS.unwrap_or(server::standard_ProcessUtility);
                return next(
                    statement,
                    text,
                    read_only_tree,
                    context,
                    parameters,
                    environment,
                    destination,
                    completion,
                );
            }
            Work::Batches(relation, reading) => {
                let rows = server::CopyFrom(reading);
                server::EndCopyFrom(reading);
                (relation, rows)
            }
            Work::Rows(work) => (work.relation, work.run()),
        };
        server::relation_close(relation, pg_sys::NoLock as i32);
        if !completion.is_null() {
            (*completion).commandTag = pg_sys::CommandTag::CMDTAG_COPY;
            (*completion).nprocessed = rows;
        }
    }
}

/// The statement as a COPY of rows that the client sends.
unsafe fn copy_from_client(statement: *mut pg_sys::Node) -> Option<&'static pg_sys::CopyStmt> {
    // SAFETY: a utility statement is a node, and its tag says which.
    unsafe {
        if (*statement).type_ != pg_sys::NodeTag::T_CopyStmt {
            return None;
        }
        let copy = &*statement.cast::<pg_sys::CopyStmt>();
        let from_client = copy.is_from && copy.filename.is_null() && !copy.relation.is_null();
        from_client.then_some(copy)
    }
}

/// Makes ready what loads the rows, where the relation is protected and its policies hold for the
/// caller.
unsafe fn prepare(
    copy: &pg_sys::CopyStmt,
    text: *const std::ffi::c_char,
    environment: *mut pg_sys::QueryEnvironment,
) -> Work {
    // SAFETY: the statement's parts are nodes of the types their fields say. The relation stays
    // open and locked, as COPY has it, until the caller closes it; an ERROR closes it too.
    unsafe {
        let lock = pg_sys::RowExclusiveLock as i32;
        let relation = pg_sys::table_openrv(copy.relation, lock);
        let oid = (*relation).rd_id;
        // That row_security is off is an error only for who has the rights, as in COPY.
        let bound = pg_sys::check_enable_rls(oid, pg_sys::Oid::INVALID, true)
            == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32;
        if !bound || !is_protected(oid) {
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            return Work::Pass;
        }
        pg_sys::PreventCommandIfReadOnly(c"COPY FROM".as_ptr());
        pg_sys::PreventCommandIfParallelMode(c"COPY FROM".as_ptr());
        // Analysis changes the tree, which a prepared statement keeps for its next execution.
        let copy = &*pg_sys::copyObjectImpl(std::ptr::from_ref(copy).cast()).cast();
        let loading = Loading::begin(relation, copy, text, environment);
        match loading.as_condition() {
            Some(condition) => {
                let filter = pg_sys::list_concat(loading.filter, condition);
                Work::Batches(relation, loading.reading(filter))
            }
            None => Work::Rows(loading.rows()),
        }
    }
}

/// Runs a COPY FROM STDIN as if the client had sent `rows`; `None`, and nothing done, where row security
/// does not hold the caller.
pub(super) fn from_memory(statement: &str, relation: pg_sys::Oid, rows: String) -> Option<i64> {
    // SAFETY: a catalog look-up by oid.
    let bound = unsafe { pg_sys::check_enable_rls(relation, pg_sys::Oid::INVALID, false) }
        == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32;
    // PostgreSQL's own COPY would read from the client.
    if !bound || !is_protected(relation) {
        return None;
    }
    let text = CString::new(statement).expect("names of the catalog hold no NUL");
    Some(memory::with(rows.into_bytes(), || {
        // SAFETY: the parser returns a list with one utility statement; the nodes live in the
        // current memory context, beyond the execution.
        unsafe {
            let mode = pg_sys::RawParseMode::RAW_PARSE_DEFAULT;
            let parsed = pg_sys::raw_parser(text.as_ptr(), mode);
            let raw = pg_sys::list_nth(parsed, 0).cast::<pg_sys::RawStmt>();
            let size = size_of::<pg_sys::PlannedStmt>();
            let planned = pg_sys::palloc0(size).cast::<pg_sys::PlannedStmt>();
            (*planned).type_ = pg_sys::NodeTag::T_PlannedStmt;
            (*planned).commandType = pg_sys::CmdType::CMD_UTILITY;
            (*planned).canSetTag = true;
            (*planned).utilityStmt = (*raw).stmt;
            let mut done = pg_sys::QueryCompletion::default();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            pg_sys::ProcessUtility(
                planned,
                text.as_ptr(),
                false,
                pg_sys::ProcessUtilityContext::PROCESS_UTILITY_QUERY,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone),
                &mut done,
            );
            pg_sys::PopActiveSnapshot();
            done.nprocessed as i64
        }
    }))
}

fn is_protected(relation: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up by a static name.
    let installed = unsafe { pg_sys::get_extension_oid(c"tenant_guard".as_ptr(), true) };
    installed != pg_sys::Oid::INVALID
        && !read(
            "SELECT FROM tenant_guard.protection_member AS m WHERE m.relation = $1",
            &[relation.into()],
            |_| Ok(()),
        )
        .is_empty()
}

raw_function! {
    /// `admit_copied_row(allowed boolean, relation text, policy text) returns boolean`: true, or the
    /// error that an `INSERT` of the row would have been.
    tenant_guard_admit_copied_row, pg_finfo_tenant_guard_admit_copied_row, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; argument 0 is boolean, 1 and 2 are text.
        unsafe {
            let allowed = pgrx::fcinfo::pg_getarg_datum(fcinfo, 0);
            if allowed.is_none_or(|allowed| allowed.value() as u8 == 0) {
                let relation = crate::raw::text_argument(fcinfo, 1).unwrap_or_default();
                Error::RowNotAdmitted(relation, crate::raw::text_argument(fcinfo, 2)).raise();
            }
        }
        pg_sys::Datum::from(true)
    }
}
