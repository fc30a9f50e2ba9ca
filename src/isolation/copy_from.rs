//! `COPY ... FROM STDIN` into protected relations, which PostgreSQL refuses under row security.
//!
//! Each row is held against the very expressions that an `INSERT` would be. Where nothing changes a
//! row between reading and storing it, they are evaluated as part of COPY's own WHERE, and rows go
//! to the table in batches; everywhere else each row becomes an `INSERT`.

use std::ffi::{CStr, CString};

use pgrx::PgList;
use pgrx::prelude::*;

use super::lookup;
use super::registry::read;
use crate::error::Error;
use crate::raw::raw_function;

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
    /// An INSERT for each row.
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
        let bound = pg_sys::check_enable_rls(oid, pg_sys::Oid::INVALID, false)
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

/// One COPY: the open relation, what is read from it and what each row is held against.
struct Loading<'a> {
    relation: pg_sys::Relation,
    copy: &'a pg_sys::CopyStmt,
    /// The columns that are read, by number.
    columns: Vec<i32>,
    entry: *const pg_sys::RangeTblEntry,
    state: *mut pg_sys::ParseState,
    /// COPY's own WHERE, as an implicit AND.
    filter: *mut pg_sys::List,
    checks: Vec<&'static pg_sys::WithCheckOption>,
    /// Whether a check has a sub-query.
    sub_queries: bool,
}

impl<'a> Loading<'a> {
    /// Checks the caller's rights, as COPY does, and finds what its rows are held against.
    unsafe fn begin(
        relation: pg_sys::Relation,
        copy: &'a pg_sys::CopyStmt,
        text: *const std::ffi::c_char,
        environment: *mut pg_sys::QueryEnvironment,
    ) -> Self {
        // SAFETY: the relation is open and locked; every node is made by PostgreSQL in the current
        // memory context, which lives through the statement.
        unsafe {
            let state = pg_sys::make_parsestate(std::ptr::null_mut());
            (*state).p_sourcetext = text;
            (*state).p_queryEnv = environment;
            let item = pg_sys::addRangeTableEntryForRelation(
                state,
                relation,
                pg_sys::RowExclusiveLock as i32,
                std::ptr::null_mut(),
                false,
                false,
            );
            let entry = (*item).p_rte;
            (*entry).requiredPerms = pg_sys::ACL_INSERT as pg_sys::AclMode;
            // It may only read what the caller may: the analysis adds that to the rights required.
            let filter = filter(state, item, copy);
            let columns = copied_columns(relation, copy);
            require_rights(state, item, &columns);

            let query = pg_sys::palloc0(size_of::<pg_sys::Query>()).cast::<pg_sys::Query>();
            (*query).type_ = pg_sys::NodeTag::T_Query;
            (*query).commandType = pg_sys::CmdType::CMD_INSERT;
            (*query).resultRelation = 1;
            (*query).rtable = (*state).p_rtable;
            let (mut quals, mut checks) = (std::ptr::null_mut(), std::ptr::null_mut());
            let (mut row_security, mut sub_queries) = (false, false);
            pg_sys::get_row_security_policies(
                query,
                entry,
                1,
                &mut quals,
                &mut checks,
                &mut row_security,
                &mut sub_queries,
            );
            let checks = PgList::<pg_sys::WithCheckOption>::from_pg(checks);
            Self {
                relation,
                copy,
                columns,
                entry,
                state,
                filter,
                checks: checks.iter_ptr().map(|check| &*check).collect(),
                sub_queries,
            }
        }
    }

    /// The checks as conditions of COPY's WHERE, one that fails being an error; none where they
    /// would judge another row than the one that is stored.
    unsafe fn as_condition(&self) -> Option<*mut pg_sys::List> {
        // SAFETY: the relation is open; the expressions of checks are trees over its columns.
        unsafe {
            if self.sub_queries || changes_rows(self.relation) {
                return None;
            }
            let judge = judge();
            let name = (*self.relation).rd_rel;
            let mut condition = std::ptr::null_mut();
            for check in &self.checks {
                let qual = pg_sys::expression_planner(check.qual.cast());
                if reads_more_than_stored(self.relation, check.qual) {
                    return None;
                }
                let mut arguments = pg_sys::lappend(std::ptr::null_mut(), qual.cast());
                let relname = (*name).relname.data.as_ptr();
                arguments = pg_sys::lappend(arguments, text_constant(relname).cast());
                arguments = pg_sys::lappend(arguments, text_constant(check.polname).cast());
                let call = pg_sys::makeFuncExpr(
                    judge,
                    pg_sys::BOOLOID,
                    arguments,
                    pg_sys::Oid::INVALID,
                    pg_sys::Oid::INVALID,
                    pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
                );
                condition = pg_sys::lappend(condition, call.cast());
            }
            Some(condition)
        }
    }

    /// Makes ready an INSERT for each row, with everything that belongs to one.
    unsafe fn rows(&self) -> Rows {
        // SAFETY: all of it is made in memory that outlives the loading. The slot has room for a value of every column, the plan's arguments for one of every column
        // that it takes.
        unsafe {
            let (statement, columns, mut types) =
                insertion(self.relation, self.entry, &self.columns);
            let executor = pg_sys::CreateExecutorState();
            let filter = if self.filter.is_null() {
                std::ptr::null_mut()
            } else {
                pg_sys::ExecPrepareQual(self.filter, executor)
            };
            let slot = pg_sys::MakeSingleTupleTableSlot(
                (*self.relation).rd_att,
                &raw const pg_sys::TTSOpsVirtual,
            );
            (*slot).tts_tableOid = (*self.relation).rd_id;
            let reading = self.reading(std::ptr::null_mut());
            // `Rows::run` ends the connection, and with it the plan and what is made from here on.
            pg_sys::SPI_connect();
            let count = columns.len() as i32;
            let plan = pg_sys::SPI_prepare(statement.as_ptr(), count, types.as_mut_ptr());
            Rows {
                relation: self.relation,
                reading,
                context: pg_sys::MakePerTupleExprContext(executor),
                filter,
                slot,
                plan,
                positions: copied(&columns),
                count: columns.len(),
                values: copied(&vec![pg_sys::Datum::from(0); columns.len()]),
                nulls: copied(&vec![0; columns.len()]),
            }
        }
    }

    unsafe fn reading(&self, filter: *mut pg_sys::List) -> pg_sys::CopyFromState {
        // SAFETY: the parts of the statement are what COPY itself passes here.
        unsafe {
            pg_sys::BeginCopyFrom(
                self.state,
                self.relation,
                filter.cast(),
                std::ptr::null(),
                false,
                None,
                self.copy.attlist,
                self.copy.options,
            )
        }
    }
}

/// An INSERT for each row, made ready. Nothing in it has a destructor.
#[derive(Clone, Copy)]
struct Rows {
    relation: pg_sys::Relation,
    reading: pg_sys::CopyFromState,
    context: *mut pg_sys::ExprContext,
    /// COPY's own WHERE, null without one.
    filter: *mut pg_sys::ExprState,
    slot: *mut pg_sys::TupleTableSlot,
    plan: pg_sys::SPIPlanPtr,
    /// Positions of the columns that the plan takes, and room for its arguments.
    positions: *mut usize,
    count: usize,
    values: *mut pg_sys::Datum,
    nulls: *mut std::ffi::c_char,
}

impl Rows {
    /// Reads and inserts all rows; how many were stored. An error jumps over this frame, in which
    /// nothing has a destructor.
    unsafe fn run(self) -> u64 {
        // SAFETY: `Loading::rows` made everything ready. The stack of callbacks is put back when all
        // is done, and by PostgreSQL after an ERROR.
        unsafe {
            let mut lines = pg_sys::ErrorContextCallback {
                previous: pg_sys::error_context_stack,
                callback: Some(server::CopyFromErrorCallback),
                arg: self.reading.cast(),
            };
            pg_sys::error_context_stack = &raw mut lines;
            let memory = (*self.context).ecxt_per_tuple_memory;
            let outer = pg_sys::CurrentMemoryContext;
            let mut rows = 0;
            loop {
                if pg_sys::InterruptPending != 0 {
                    server::ProcessInterrupts();
                }
                server::MemoryContextReset(memory);
                pg_sys::CurrentMemoryContext = memory;
                let read = self.read();
                if read && self.is_wanted() {
                    rows += self.insert();
                }
                pg_sys::CurrentMemoryContext = outer;
                if !read {
                    break;
                }
            }
            pg_sys::error_context_stack = lines.previous;
            server::EndCopyFrom(self.reading);
            server::ExecDropSingleTupleTableSlot(self.slot);
            server::SPI_finish();
            rows
        }
    }

    /// Reads the next row into the slot; false at the end.
    unsafe fn read(self) -> bool {
        // SAFETY: the slot is a virtual one of the relation's descriptor.
        unsafe {
            let slot = &mut *self.slot;
            if let Some(clear) = (*slot.tts_ops).clear {
                clear(slot);
            }
            let values = (slot.tts_values, slot.tts_isnull);
            let read = server::NextCopyFrom(self.reading, self.context, values.0, values.1);
            if read {
                server::ExecStoreVirtualTuple(slot);
                (*self.context).ecxt_scantuple = slot;
            }
            read
        }
    }

    /// Whether COPY's own WHERE takes the row in the slot.
    unsafe fn is_wanted(self) -> bool {
        if self.filter.is_null() {
            return true;
        }
        // SAFETY: a prepared condition, which is never null, over the row in the slot.
        unsafe {
            let mut is_null = false;
            let evaluate = (*self.filter).evalfunc;
            evaluate.is_some_and(|evaluate| {
                evaluate(self.filter, self.context, &mut is_null).value() as u8 != 0
            })
        }
    }

    /// Inserts the row in the slot; how many rows that stored.
    unsafe fn insert(self) -> u64 {
        // SAFETY: the slot holds a value or null for each column, and there is room for those that
        // the plan takes.
        unsafe {
            for n in 0..self.count {
                let position = *self.positions.add(n);
                *self.values.add(n) = *(*self.slot).tts_values.add(position);
                let is_null = *(*self.slot).tts_isnull.add(position);
                *self.nulls.add(n) = (if is_null { b'n' } else { b' ' }) as std::ffi::c_char;
            }
            server::SPI_execute_plan(self.plan, self.values, self.nulls, false, 0);
            pg_sys::SPI_processed
        }
    }
}

/// The elements in memory of PostgreSQL's, which needs no destructor.
unsafe fn copied<T: Copy>(elements: &[T]) -> *mut T {
    // SAFETY: room for all elements, at least one byte, is allocated before they are copied.
    unsafe {
        let room = pg_sys::palloc(size_of_val(elements).max(1)).cast::<T>();
        std::ptr::copy_nonoverlapping(elements.as_ptr(), room, elements.len());
        room
    }
}

/// The INSERT that each row becomes, the positions of the columns that it takes, and their types.
///
/// A column that was not read takes the default that COPY has found for it. Where the caller may not
/// insert it, the INSERT finds one of its own.
unsafe fn insertion(
    relation: pg_sys::Relation,
    entry: *const pg_sys::RangeTblEntry,
    read: &[i32],
) -> (CString, Vec<usize>, Vec<pg_sys::Oid>) {
    // SAFETY: the relation is open and its descriptor holds natts attributes.
    unsafe {
        let descriptor = (*relation).rd_att;
        let columns = (*descriptor).attrs.as_slice((*descriptor).natts as usize);
        let taken = |column: &pg_sys::FormData_pg_attribute| {
            !column.attisdropped
                && column.attgenerated == 0
                && (read.contains(&column.attnum.into()) || may_insert(entry, column.attnum))
        };
        let positions: Vec<_> = (0..columns.len())
            .filter(|&at| taken(&columns[at]))
            .collect();
        let types = positions.iter().map(|&at| columns[at].atttypid).collect();
        let name = |&at: &usize| quoted(columns[at].attname.data.as_ptr());
        let names: Vec<_> = positions.iter().map(name).collect();
        let values: Vec<_> = (1..=names.len())
            .map(|number| format!("${number}"))
            .collect();
        let statement = format!(
            "INSERT INTO {}.{} ({}) OVERRIDING SYSTEM VALUE VALUES ({})",
            quoted(pg_sys::get_namespace_name(
                (*(*relation).rd_rel).relnamespace
            )),
            quoted((*(*relation).rd_rel).relname.data.as_ptr()),
            names.join(", "),
            values.join(", "),
        );
        let statement = CString::new(statement).expect("names hold no NUL");
        (statement, positions, types)
    }
}

/// Whether the caller may insert this column of the relation that the entry is of, as an INSERT asks:
/// lists of columns decide about it too.
unsafe fn may_insert(entry: *const pg_sys::RangeTblEntry, column: i16) -> bool {
    // SAFETY: a copy of an entry made by PostgreSQL, alone in a list; nothing keeps either.
    unsafe {
        let member = i32::from(column) - pg_sys::FirstLowInvalidHeapAttributeNumber;
        let mut entry = *entry;
        entry.requiredPerms = pg_sys::ACL_INSERT as pg_sys::AclMode;
        entry.selectedCols = std::ptr::null_mut();
        entry.insertedCols = pg_sys::bms_make_singleton(member);
        let entries = pg_sys::lappend(std::ptr::null_mut(), (&raw mut entry).cast());
        pg_sys::ExecCheckRTPerms(entries, false)
    }
}

unsafe fn quoted(name: *const std::ffi::c_char) -> String {
    // SAFETY: a terminated name of the catalog.
    unsafe {
        CStr::from_ptr(pg_sys::quote_identifier(name))
            .to_string_lossy()
            .into_owned()
    }
}

/// The columns that are read, by number.
unsafe fn copied_columns(relation: pg_sys::Relation, copy: &pg_sys::CopyStmt) -> Vec<i32> {
    // SAFETY: the relation is open; the list is of names, as the statement has it.
    unsafe {
        let numbers = pg_sys::CopyGetAttnums((*relation).rd_att, relation, copy.attlist);
        PgList::<i32>::from_pg(numbers).iter_int().collect()
    }
}

/// Raises 42501 unless the caller may insert these columns and has the rights required so far.
unsafe fn require_rights(
    state: *mut pg_sys::ParseState,
    item: *mut pg_sys::ParseNamespaceItem,
    columns: &[i32],
) {
    // SAFETY: the entry was made for this state; column sets count from the lowest system column.
    unsafe {
        let rights = (*item).p_rte;
        for number in columns {
            let member = number - pg_sys::FirstLowInvalidHeapAttributeNumber;
            (*rights).insertedCols = pg_sys::bms_add_member((*rights).insertedCols, member);
        }
        pg_sys::ExecCheckRTPerms((*state).p_rtable, true);
    }
}

/// COPY's own WHERE, made ready as COPY does it.
unsafe fn filter(
    state: *mut pg_sys::ParseState,
    item: *mut pg_sys::ParseNamespaceItem,
    copy: &pg_sys::CopyStmt,
) -> *mut pg_sys::List {
    // SAFETY: the raw expression is the parser's; each step takes the tree the one before made.
    unsafe {
        pg_sys::addNSItemToQuery(state, item, false, true, true);
        if copy.whereClause.is_null() {
            return std::ptr::null_mut();
        }
        let kind = pg_sys::ParseExprKind::EXPR_KIND_COPY_WHERE;
        let mut tree = pg_sys::transformExpr(state, copy.whereClause, kind);
        tree = pg_sys::coerce_to_boolean(state, tree, c"WHERE".as_ptr());
        pg_sys::assign_expr_collations(state, tree);
        tree = pg_sys::eval_const_expressions(std::ptr::null_mut(), tree);
        tree = pg_sys::canonicalize_qual(tree.cast(), false).cast();
        pg_sys::make_ands_implicit(tree.cast())
    }
}

/// Whether a trigger may change a row after it was read and before it is stored.
unsafe fn changes_rows(relation: pg_sys::Relation) -> bool {
    // SAFETY: the relation is open; its partitions are locked as COPY locks them, opened, looked at
    // and closed.
    unsafe {
        let members = lookup::tree_of((*relation).rd_id);
        members.into_iter().any(|oid| {
            let member = pg_sys::table_open(oid, pg_sys::RowExclusiveLock as i32);
            let found = has_trigger_before(member);
            pg_sys::table_close(member, pg_sys::NoLock as i32);
            found
        })
    }
}

unsafe fn has_trigger_before(relation: pg_sys::Relation) -> bool {
    // SAFETY: the relation is open; its description of triggers may be null.
    unsafe {
        let triggers = (*relation).trigdesc;
        !triggers.is_null() && (*triggers).trig_insert_before_row
    }
}

/// Whether the expression reads what COPY does not know before it stores the row: generated and
/// system columns, or the row as a whole.
unsafe fn reads_more_than_stored(relation: pg_sys::Relation, tree: *mut pg_sys::Node) -> bool {
    // SAFETY: the tree is over columns of this one relation, which is open; column sets count from
    // the lowest system column.
    unsafe {
        let mut read = std::ptr::null_mut();
        pg_sys::pull_varattnos(tree, 1, &mut read);
        let descriptor = (*relation).rd_att;
        let columns = (*descriptor).attrs.as_slice((*descriptor).natts as usize);
        let stored = |number: i32| {
            let column = usize::try_from(number - 1)
                .ok()
                .and_then(|at| columns.get(at));
            column.is_some_and(|column| column.attgenerated == 0)
        };
        let mut member = -1;
        loop {
            member = pg_sys::bms_next_member(read, member);
            if member < 0 {
                return false;
            }
            if !stored(member + pg_sys::FirstLowInvalidHeapAttributeNumber) {
                return true;
            }
        }
    }
}

/// The function that turns a check that fails into PostgreSQL's own error.
fn judge() -> pg_sys::Oid {
    let found = read(
        "SELECT 'tenant_guard.admit_copied_row(boolean, text, text)'::regprocedure::oid",
        &[],
        |row| row.get::<pg_sys::Oid>(1),
    );
    found
        .into_iter()
        .next()
        .flatten()
        .unwrap_or_else(|| Error::NotInstalled.raise())
}

unsafe fn text_constant(text: *const std::ffi::c_char) -> *mut pg_sys::Const {
    // SAFETY: a terminated string or null; text is of variable length and passed by reference.
    unsafe {
        let value = if text.is_null() {
            pg_sys::Datum::from(0)
        } else {
            pg_sys::Datum::from(pg_sys::cstring_to_text(text))
        };
        let collation = pg_sys::DEFAULT_COLLATION_OID;
        pg_sys::makeConst(
            pg_sys::TEXTOID,
            -1,
            collation,
            -1,
            value,
            text.is_null(),
            false,
        )
    }
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
