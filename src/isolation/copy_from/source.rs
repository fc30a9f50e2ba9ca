//! Copied rows as one INSERT, whose executor stays started from the first row to the last: where it
//! would read its one row of parameters, it reads the next row of the COPY instead.

use std::ffi::{CStr, c_int};

use pgrx::pg_sys::{self, NodeTag};

use super::rows::Rows;
use super::server;
use crate::versions;

/// The INSERT, and the node of its plan that the rows come from. Nothing in it has a destructor.
#[derive(Clone, Copy)]
pub(super) struct Insertion {
    statement: *mut pg_sys::PlannedStmt,
    text: *const std::ffi::c_char,
    source: *mut Source,
    parameters: pg_sys::ParamListInfo,
}

/// A node of a plan that has no columns of its own: each row it gives is told by the parameters.
#[repr(C)]
struct Source {
    node: pg_sys::CustomScan,
    rows: *const Rows,
}

#[repr(C)]
struct SourceState {
    node: pg_sys::CustomScanState,
    rows: *const Rows,
}

const NAME: &CStr = c"rows of COPY";

static mut PLAN: pg_sys::CustomScanMethods = pg_sys::CustomScanMethods {
    CustomName: NAME.as_ptr(),
    CreateCustomScanState: Some(create_state),
};

static mut EXECUTION: pg_sys::CustomExecMethods = pg_sys::CustomExecMethods {
    CustomName: NAME.as_ptr(),
    BeginCustomScan: Some(begin),
    ExecCustomScan: Some(next),
    EndCustomScan: Some(end),
    ReScanCustomScan: None,
    MarkPosCustomScan: None,
    RestrPosCustomScan: None,
    EstimateDSMCustomScan: None,
    InitializeDSMCustomScan: None,
    ReInitializeDSMCustomScan: None,
    InitializeWorkerCustomScan: None,
    ShutdownCustomScan: None,
    ExplainCustomScan: None,
};

impl Insertion {
    /// The INSERT of this plan over many rows; none where it is not one statement that inserts one row
    /// of parameters, as under a rule.
    pub(super) unsafe fn over_many(
        plan: pg_sys::SPIPlanPtr,
        text: *const std::ffi::c_char,
        types: &[pg_sys::Oid],
    ) -> Option<Self> {
        // SAFETY: the plan was just prepared, and its first statement is copied before it is
        // released. A node is what its tag says. All of it is made in memory that outlives the loading.
        unsafe {
            let cached = pg_sys::SPI_plan_get_cached_plan(plan);
            if cached.is_null() {
                return None;
            }
            let statements = (*cached).stmt_list;
            let statement = ((*statements).length == 1).then(|| {
                let first = (*(*statements).elements).ptr_value;
                pg_sys::copyObjectImpl(first).cast::<pg_sys::PlannedStmt>()
            });
            // A plan that is not saved is no resource owner's.
            pg_sys::ReleaseCachedPlan(cached, std::ptr::null_mut());
            let statement = statement?;
            let row = row_of_parameters(statement)?;
            let source = pg_sys::palloc0(size_of::<Source>()).cast::<Source>();
            (*source).node.scan.plan.type_ = NodeTag::T_CustomScan;
            (*source).node.methods = &raw const PLAN;
            (*row).plan.lefttree = source.cast();
            let parameters = pg_sys::makeParamList(types.len() as c_int);
            for (at, &kind) in types.iter().enumerate() {
                (*(*parameters).params.as_mut_ptr().add(at)).ptype = kind;
            }
            Some(Self {
                statement,
                text,
                source,
                parameters,
            })
        }
    }

    /// Inserts all rows; how many were stored. An error jumps over this frame, in which nothing has a
    /// destructor.
    pub(super) unsafe fn run(self, rows: &Rows) -> u64 {
        // SAFETY: the statement is a planned one, under a snapshot that sees what the transaction has
        // done so far; `rows` outlives the execution. The stack of callbacks is put back when rows
        // are read, as COPY does, and by PostgreSQL after an ERROR.
        unsafe {
            (*self.source).rows = rows;
            server::PushCopiedSnapshot(server::GetActiveSnapshot());
            server::UpdateActiveSnapshotCommandId();
            let execution = server::CreateQueryDesc(
                self.statement,
                self.text,
                server::GetActiveSnapshot(),
                std::ptr::null_mut(),
                pg_sys::None_Receiver,
                self.parameters,
                std::ptr::null_mut(),
                0,
            );
            server::ExecutorStart(execution, 0);
            let mut lines = rows.line_numbers();
            pg_sys::error_context_stack = &raw mut lines;
            versions::run_to_end(execution);
            pg_sys::error_context_stack = lines.previous;
            server::ExecutorFinish(execution);
            let stored = (*(*execution).estate).es_processed;
            server::ExecutorEnd(execution);
            server::FreeQueryDesc(execution);
            server::PopActiveSnapshot();
            stored
        }
    }
}

/// The node that gives the one row of an `INSERT ... VALUES`.
unsafe fn row_of_parameters(statement: *mut pg_sys::PlannedStmt) -> Option<*mut pg_sys::Result> {
    // SAFETY: a planned statement of PostgreSQL's; a node is what its tag says.
    unsafe {
        let plan = (*statement).planTree;
        if !(*statement).utilityStmt.is_null() || (*plan).type_ != NodeTag::T_ModifyTable {
            return None;
        }
        let row = (*plan).lefttree;
        if row.is_null() || (*row).type_ != NodeTag::T_Result || !(*row).lefttree.is_null() {
            return None;
        }
        let row = row.cast::<pg_sys::Result>();
        (*row).resconstantqual.is_null().then_some(row)
    }
}

unsafe extern "C-unwind" fn create_state(plan: *mut pg_sys::CustomScan) -> *mut pg_sys::Node {
    // SAFETY: the node is the first part of a Source, since only that has these methods.
    unsafe {
        let state = server::palloc0(size_of::<SourceState>()).cast::<SourceState>();
        (*state).node.ss.ps.type_ = NodeTag::T_CustomScanState;
        (*state).node.methods = &raw const EXECUTION;
        (*state).rows = (*plan.cast::<Source>()).rows;
        state.cast()
    }
}

unsafe extern "C-unwind" fn begin(
    _: *mut pg_sys::CustomScanState,
    _: *mut pg_sys::EState,
    _: c_int,
) {
}

/// The next row that COPY's WHERE takes, in the parameters; null at the end.
unsafe extern "C-unwind" fn next(
    state: *mut pg_sys::CustomScanState,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the state is the first part of a SourceState. Its slot is a virtual one without columns,
    // the list of parameters has one for each column the plan takes.
    unsafe {
        let rows = &*(*state.cast::<SourceState>()).rows;
        let slot = (*state).ss.ps.ps_ResultTupleSlot;
        if let Some(clear) = (*(*slot).tts_ops).clear {
            clear(slot);
        }
        if !rows.read_wanted() {
            return std::ptr::null_mut();
        }
        let parameters = (*(*(*state).ss.ps.state).es_param_list_info)
            .params
            .as_mut_ptr();
        for at in 0..rows.count {
            let (value, is_null) = rows.value(at);
            (*parameters.add(at)).value = value;
            (*parameters.add(at)).isnull = is_null;
        }
        server::ExecStoreVirtualTuple(slot)
    }
}

unsafe extern "C-unwind" fn end(_: *mut pg_sys::CustomScanState) {}
