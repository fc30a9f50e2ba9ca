//! Parse trees, row types, and how statements are run.

use pgrx::pg_sys;

/// The attributes of a row type, dropped ones included. They stand behind shorter descriptions of
/// themselves since PostgreSQL 18.
///
/// # Safety
/// The descriptor must be PostgreSQL's own, and live as long as the result is used.
pub(crate) unsafe fn attributes<'a>(
    descriptor: pg_sys::TupleDesc,
) -> &'a [pg_sys::FormData_pg_attribute] {
    // SAFETY: a descriptor holds natts attributes, in the place its version has for them.
    unsafe {
        let count = (*descriptor).natts as usize;
        #[cfg(not(feature = "pg18"))]
        return (*descriptor).attrs.as_slice(count);
        #[cfg(feature = "pg18")]
        return std::slice::from_raw_parts(
            (*descriptor).compact_attrs.as_ptr().add(count).cast(),
            count,
        );
    }
}

/// The index of the primary key, invalid where there is none. A deferrable one does not count.
///
/// # Safety
/// The relation must be open.
pub(crate) unsafe fn primary_key_index(relation: pg_sys::Relation) -> pg_sys::Oid {
    // SAFETY: the caller vouches for the relation.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        return pg_sys::RelationGetPrimaryKeyIndex(relation);
        #[cfg(feature = "pg18")]
        return pg_sys::RelationGetPrimaryKeyIndex(relation, false);
    }
}

/// Adds the entries of all indexes of a result relation for a new row.
///
/// # Safety
/// The indexes must be open, and the slot hold a row that is stored in the relation.
pub(crate) unsafe fn insert_index_tuples(
    result: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    state: *mut pg_sys::EState,
) -> *mut pg_sys::List {
    // SAFETY: the caller vouches for the arguments.
    unsafe {
        pg_sys::ExecInsertIndexTuples(
            result,
            slot,
            state,
            false,
            false,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            #[cfg(not(any(feature = "pg14", feature = "pg15")))]
            false,
        )
    }
}

/// Begins a COPY of what a query returns to a file of the server.
///
/// # Safety
/// The query must be one statement as the parser returns it, and the state hold its text.
pub(crate) unsafe fn copy_to_file(
    state: *mut pg_sys::ParseState,
    query: *mut pg_sys::RawStmt,
    file: &std::ffi::CStr,
) -> pg_sys::CopyToState {
    // SAFETY: the caller vouches for the state and the query; nothing keeps the name of the file.
    unsafe {
        pg_sys::BeginCopyTo(
            state,
            std::ptr::null_mut(),
            query,
            pg_sys::Oid::INVALID,
            file.as_ptr(),
            false,
            #[cfg(not(any(feature = "pg14", feature = "pg15")))]
            None,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    }
}

/// An action of ALTER TABLE. Before PostgreSQL 16 some are collected under another number where they
/// reach relations below.
#[cfg(any(feature = "pg14", feature = "pg15"))]
pub(crate) fn action(collected: pg_sys::AlterTableType::Type) -> pg_sys::AlterTableType::Type {
    use pg_sys::AlterTableType;
    match collected {
        AlterTableType::AT_AddColumnRecurse => AlterTableType::AT_AddColumn,
        AlterTableType::AT_DropColumnRecurse => AlterTableType::AT_DropColumn,
        AlterTableType::AT_AddConstraintRecurse => AlterTableType::AT_AddConstraint,
        AlterTableType::AT_DropConstraintRecurse => AlterTableType::AT_DropConstraint,
        AlterTableType::AT_ValidateConstraintRecurse => AlterTableType::AT_ValidateConstraint,
        other => other,
    }
}
/// An action of ALTER TABLE.
#[cfg(not(any(feature = "pg14", feature = "pg15")))]
pub(crate) fn action(collected: pg_sys::AlterTableType::Type) -> pg_sys::AlterTableType::Type {
    collected
}

/// Defines a hook on each run of a query, which does its own work with the query and then leaves it to
/// the hook that was there before, or to the server. Nothing of ours is alive by then.
macro_rules! run_hook {
    ($name:ident, $previous:ident, |$query:ident| $work:block) => {
        #[cfg(not(feature = "pg18"))]
        unsafe extern "C-unwind" fn $name(
            $query: *mut pgrx::pg_sys::QueryDesc,
            direction: pgrx::pg_sys::ScanDirection::Type,
            count: pgrx::pg_sys::uint64,
            execute_once: bool,
        ) {
            unsafe extern "C-unwind" {
                fn standard_ExecutorRun(
                    query: *mut pgrx::pg_sys::QueryDesc,
                    direction: pgrx::pg_sys::ScanDirection::Type,
                    count: pgrx::pg_sys::uint64,
                    execute_once: bool,
                );
            }
            $work
            // SAFETY: the previous hook is written once, before this is ever called, and gets what we
            // got.
            unsafe {
                match $previous {
                    Some(previous) => previous($query, direction, count, execute_once),
                    None => standard_ExecutorRun($query, direction, count, execute_once),
                }
            }
        }

        #[cfg(feature = "pg18")]
        unsafe extern "C-unwind" fn $name(
            $query: *mut pgrx::pg_sys::QueryDesc,
            direction: pgrx::pg_sys::ScanDirection::Type,
            count: pgrx::pg_sys::uint64,
        ) {
            unsafe extern "C-unwind" {
                fn standard_ExecutorRun(
                    query: *mut pgrx::pg_sys::QueryDesc,
                    direction: pgrx::pg_sys::ScanDirection::Type,
                    count: pgrx::pg_sys::uint64,
                );
            }
            $work
            // SAFETY: as above.
            unsafe {
                match $previous {
                    Some(previous) => previous($query, direction, count),
                    None => standard_ExecutorRun($query, direction, count),
                }
            }
        }
    };
}
pub(crate) use run_hook;

/// What the rows of a set are described by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetRows {
    /// The function's declaration.
    Declared,
    /// The query that calls it: a set of single values has no row type of its own.
    Expected,
}

/// Begins a set that is put together whole: the store its rows go to, and what describes them. The
/// caller's resources own both.
///
/// # Safety
/// `fcinfo` must be what PostgreSQL passed to the running function, which is declared to return a set.
pub(crate) unsafe fn begin_set(
    fcinfo: pg_sys::FunctionCallInfo,
    rows: SetRows,
) -> (*mut pg_sys::Tuplestorestate, pg_sys::TupleDesc) {
    // SAFETY: the caller vouches for `fcinfo`.
    unsafe {
        let info = (*fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
        #[cfg(feature = "pg14")]
        materialize(fcinfo, info, rows);
        #[cfg(not(feature = "pg14"))]
        pg_sys::InitMaterializedSRF(
            fcinfo,
            match rows {
                SetRows::Declared => 0,
                SetRows::Expected => pg_sys::MAT_SRF_USE_EXPECTED_DESC,
            },
        );
        ((*info).setResult, (*info).setDesc)
    }
}

/// What `InitMaterializedSRF` does in later versions.
#[cfg(feature = "pg14")]
unsafe fn materialize(
    fcinfo: pg_sys::FunctionCallInfo,
    info: *mut pg_sys::ReturnSetInfo,
    rows: SetRows,
) {
    // SAFETY: as for `begin_set`; where `info` is null or of another kind, the caller takes no sets.
    unsafe {
        let modes = match info.as_ref() {
            Some(info) if info.type_ == pg_sys::NodeTag::T_ReturnSetInfo => {
                info.allowedModes as u32
            }
            _ => 0,
        };
        if modes & pg_sys::SetFunctionReturnMode::SFRM_Materialize == 0 {
            pgrx::ereport!(
                ERROR,
                pgrx::PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "set-valued function called in context that cannot accept a set"
            );
        }
        let outer = pg_sys::MemoryContextSwitchTo((*(*info).econtext).ecxt_per_query_memory);
        (*info).setDesc = match rows {
            SetRows::Expected => pg_sys::CreateTupleDescCopy((*info).expectedDesc),
            SetRows::Declared => {
                let mut declared = std::ptr::null_mut();
                pg_sys::get_call_result_type(fcinfo, std::ptr::null_mut(), &mut declared);
                declared
            }
        };
        (*info).setResult = pg_sys::tuplestore_begin_heap(
            modes & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random != 0,
            false,
            pg_sys::work_mem,
        );
        (*info).returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
        pg_sys::MemoryContextSwitchTo(outer);
    }
}

/// A string of a parse tree, its own kind of node since PostgreSQL 15.
#[cfg(feature = "pg14")]
pub(crate) type StringNode = pg_sys::Value;
/// A string of a parse tree.
#[cfg(not(feature = "pg14"))]
pub(crate) type StringNode = pg_sys::String;

/// The characters of a string of a parse tree.
///
/// # Safety
/// The node must be a string.
pub(crate) unsafe fn string_of(node: &StringNode) -> *const std::ffi::c_char {
    #[cfg(feature = "pg14")]
    // SAFETY: the caller vouches for the kind.
    return unsafe { node.val.str_ };
    #[cfg(not(feature = "pg14"))]
    return node.sval;
}

/// What SPI answers to a MERGE, which PostgreSQL 14 does not have.
#[cfg(feature = "pg14")]
pub(crate) const SPI_OK_MERGE: u32 = u32::MAX;
/// What SPI answers to a MERGE.
#[cfg(not(feature = "pg14"))]
pub(crate) const SPI_OK_MERGE: u32 = pg_sys::SPI_OK_MERGE;

/// Runs a started query to its end. An error jumps over this frame and the caller's, in which nothing may
/// have a destructor.
///
/// # Safety
/// The query must be started and not have run.
pub(crate) unsafe fn run_to_end(query: *mut pg_sys::QueryDesc) {
    unsafe extern "C-unwind" {
        fn ExecutorRun(
            query: *mut pg_sys::QueryDesc,
            direction: pg_sys::ScanDirection::Type,
            count: pg_sys::uint64,
            #[cfg(not(feature = "pg18"))] once: bool,
        );
    }
    // SAFETY: the caller vouches for the query.
    unsafe {
        ExecutorRun(
            query,
            pg_sys::ScanDirection::ForwardScanDirection,
            0,
            #[cfg(not(feature = "pg18"))]
            true,
        );
    }
}

/// Whether a column is computed when it is read, and no row holds a value of it: possible since PostgreSQL
/// 18, and there what a generated column is unless it says otherwise.
pub(crate) fn is_virtual(attribute: &pg_sys::FormData_pg_attribute) -> bool {
    attribute.attgenerated as u8 == b'v'
}
