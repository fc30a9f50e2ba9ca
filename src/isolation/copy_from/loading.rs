//! What a COPY reads, and what each of its rows is held against.

use pgrx::PgList;
use pgrx::prelude::*;

use super::memory;
use super::rows::{Rows, copied, insertion};
use super::source::Insertion;
use crate::error::Error;
use crate::isolation::lookup;
use crate::isolation::registry::read;
use crate::versions::{self, Rights};

/// One COPY: the open relation, what is read from it and what each row is held against.
pub(super) struct Loading<'a> {
    relation: pg_sys::Relation,
    copy: &'a pg_sys::CopyStmt,
    /// The columns that are read, by number.
    columns: Vec<i32>,
    rights: *const Rights,
    state: *mut pg_sys::ParseState,
    /// COPY's own WHERE, as an implicit AND.
    pub(super) filter: *mut pg_sys::List,
    checks: Vec<&'static pg_sys::WithCheckOption>,
    /// Whether a check has a sub-query.
    sub_queries: bool,
}

impl<'a> Loading<'a> {
    /// Checks the caller's rights, as COPY does, and finds what its rows are held against.
    pub(super) unsafe fn begin(
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
            let rights = versions::rights_of(item);
            (*rights).requiredPerms = pg_sys::ACL_INSERT as pg_sys::AclMode;
            // It may only read what the caller may: the analysis adds that to the rights required.
            let filter = filter(state, item, copy);
            let columns = copied_columns(relation, copy);
            require_rights(state, item, &columns);

            let query = pg_sys::palloc0(size_of::<pg_sys::Query>()).cast::<pg_sys::Query>();
            (*query).type_ = pg_sys::NodeTag::T_Query;
            (*query).commandType = pg_sys::CmdType::CMD_INSERT;
            (*query).resultRelation = 1;
            versions::set_range_table(query, state);
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
                rights,
                state,
                filter,
                checks: checks.iter_ptr().map(|check| &*check).collect(),
                sub_queries,
            }
        }
    }

    /// The checks as conditions of COPY's WHERE, one that fails being an error; none where they
    /// would judge another row than the one that is stored.
    pub(super) unsafe fn as_condition(&self) -> Option<*mut pg_sys::List> {
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

    /// Makes ready what inserts rows, with everything that belongs to it.
    pub(super) unsafe fn rows(&self) -> Rows {
        // SAFETY: all of it is made in memory that outlives the loading. The slot has room for a value of every column, the plan's arguments for one of every column
        // that it takes.
        unsafe {
            let (statement, columns, mut types) =
                insertion(self.relation, self.rights, &self.columns);
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
            let text = pg_sys::pstrdup(statement.as_ptr());
            Rows {
                relation: self.relation,
                reading,
                context: pg_sys::MakePerTupleExprContext(executor),
                filter,
                slot,
                insertion: Insertion::over_many(plan, text, &types),
                plan,
                positions: copied(&columns),
                count: columns.len(),
                values: copied(&vec![pg_sys::Datum::from(0); columns.len()]),
                nulls: copied(&vec![0; columns.len()]),
            }
        }
    }

    pub(super) unsafe fn reading(&self, filter: *mut pg_sys::List) -> pg_sys::CopyFromState {
        // SAFETY: the parts of the statement are what COPY itself passes here.
        unsafe {
            pg_sys::BeginCopyFrom(
                self.state,
                self.relation,
                filter.cast(),
                std::ptr::null(),
                false,
                memory::source(),
                self.copy.attlist,
                self.copy.options,
            )
        }
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
        let rights = versions::rights_of(item);
        for number in columns {
            let member = number - pg_sys::FirstLowInvalidHeapAttributeNumber;
            (*rights).insertedCols = pg_sys::bms_add_member((*rights).insertedCols, member);
        }
        versions::has_rights(state, true);
        // Raises where row_security is off.
        pg_sys::check_enable_rls((*rights).relid, pg_sys::Oid::INVALID, false);
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
        let columns = versions::attributes((*relation).rd_att);
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
