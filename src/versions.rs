//! What differs between the major versions of PostgreSQL, under one name for all of them.

use pgrx::pg_sys;

/// What a query asks of one relation: the rights, the columns, and as whom. Part of the range table
/// entry before PostgreSQL 16.
#[cfg(any(feature = "pg14", feature = "pg15"))]
pub(crate) type Rights = pg_sys::RangeTblEntry;
#[cfg(not(any(feature = "pg14", feature = "pg15")))]
pub(crate) type Rights = pg_sys::RTEPermissionInfo;

/// The type of PostgreSQL's hook on the check of rights, see [`rights_hook`].
pub(crate) type RightsHook = pg_sys::ExecutorCheckPerms_hook_type;

/// Defines a hook on the check of rights, `fn name(rights: *mut List, raise: bool, previous:
/// impl Fn() -> bool) -> bool`, from a function of that signature. `rights` lists what the query
/// asks of its relations, in elements of type [`Rights`], among which other entries of the range table may
/// stand before PostgreSQL 16.
macro_rules! rights_hook {
    ($name:ident, $previous:ident, $judge:path) => {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        #[pgrx::pg_guard]
        unsafe extern "C-unwind" fn $name(rights: *mut pgrx::pg_sys::List, raise: bool) -> bool {
            // SAFETY: the previous hook is written once, before this is ever called, and gets what
            // we got.
            $judge(rights, raise, || unsafe {
                $previous.is_none_or(|previous| previous(rights, raise))
            })
        }

        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        #[pgrx::pg_guard]
        unsafe extern "C-unwind" fn $name(
            range_table: *mut pgrx::pg_sys::List,
            rights: *mut pgrx::pg_sys::List,
            raise: bool,
        ) -> bool {
            // SAFETY: the previous hook is written once, before this is ever called, and gets what
            // we got.
            $judge(rights, raise, || unsafe {
                $previous.is_none_or(|previous| previous(range_table, rights, raise))
            })
        }
    };
}
pub(crate) use rights_hook;

/// Whether an element of a list of rights is about a relation at all.
#[cfg(any(feature = "pg14", feature = "pg15"))]
pub(crate) fn is_of_relation(rights: &Rights) -> bool {
    rights.rtekind == pg_sys::RTEKind::RTE_RELATION
}
/// Whether an element of a list of rights is about a relation at all.
#[cfg(not(any(feature = "pg14", feature = "pg15")))]
pub(crate) fn is_of_relation(_rights: &Rights) -> bool {
    true
}

/// The elements of a list of rights.
///
/// # Safety
/// The list must be one that PostgreSQL made, or null, and live as long as the result is used.
pub(crate) unsafe fn entries<'a>(rights: *mut pg_sys::List) -> impl Iterator<Item = &'a Rights> {
    // SAFETY: the caller vouches for the list.
    unsafe {
        let length = rights.as_ref().map_or(0, |list| list.length);
        (0..length).map(move |n| &*pg_sys::list_nth(rights, n).cast::<Rights>())
    }
}

/// What is asked of the relation of a namespace item.
///
/// # Safety
/// The item must be one of a relation, made by PostgreSQL.
pub(crate) unsafe fn rights_of(item: *mut pg_sys::ParseNamespaceItem) -> *mut Rights {
    // SAFETY: the caller vouches for the item.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return (*item).p_rte;
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return (*item).p_perminfo;
    }
}

/// Gives a query the range table of the statement it is made for, with the rights asked.
///
/// # Safety
/// Both must be made by PostgreSQL.
pub(crate) unsafe fn set_range_table(query: *mut pg_sys::Query, state: *mut pg_sys::ParseState) {
    // SAFETY: the caller vouches for both.
    unsafe {
        (*query).rtable = (*state).p_rtable;
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        {
            (*query).rteperminfos = (*state).p_rteperminfos;
        }
    }
}

/// Whether the caller has the rights that a statement asks of its relations; raises 42501 instead of
/// answering no where `raise` says so.
///
/// # Safety
/// The state must be made by PostgreSQL.
pub(crate) unsafe fn has_rights(state: *mut pg_sys::ParseState, raise: bool) -> bool {
    // SAFETY: the caller vouches for the state.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::ExecCheckRTPerms((*state).p_rtable, raise);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::ExecCheckPermissions((*state).p_rtable, (*state).p_rteperminfos, raise);
    }
}

/// Whether the caller has these rights alone.
///
/// # Safety
/// They must be those of a relation.
pub(crate) unsafe fn has_these_rights(rights: &mut Rights) -> bool {
    // SAFETY: a list of one element that outlives it; nothing keeps the list.
    unsafe {
        let list = pg_sys::lappend(std::ptr::null_mut(), std::ptr::from_mut(rights).cast());
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::ExecCheckRTPerms(list, false);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::ExecCheckPermissions(std::ptr::null_mut(), list, false);
    }
}

/// Whether the current role owns a relation, as a superuser owns all.
///
/// # Safety
/// Needs a transaction, for catalog look-ups.
pub(crate) unsafe fn owns_relation(relation: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups.
    unsafe {
        let role = pg_sys::GetUserId();
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::pg_class_ownercheck(relation, role);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::object_ownercheck(pg_sys::RelationRelationId, relation, role);
    }
}

/// Whether the current role owns a schema, as a superuser owns all.
///
/// # Safety
/// Needs a transaction, for catalog look-ups.
pub(crate) unsafe fn owns_schema(schema: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups.
    unsafe {
        let role = pg_sys::GetUserId();
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::pg_namespace_ownercheck(schema, role);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::object_ownercheck(pg_sys::NamespaceRelationId, schema, role);
    }
}

/// Whether a role may execute a function.
///
/// # Safety
/// Needs a transaction, for catalog look-ups.
pub(crate) unsafe fn may_execute(function: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    let execute = pg_sys::ACL_EXECUTE as pg_sys::AclMode;
    // SAFETY: catalog look-ups.
    let checked = unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        {
            pg_sys::pg_proc_aclcheck(function, role, execute)
        }
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        {
            pg_sys::object_aclcheck(pg_sys::ProcedureRelationId, function, role, execute)
        }
    };
    checked == pg_sys::AclResult::ACLCHECK_OK
}

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

/// Whether snapshots may grow too old for the pages they read, which every read of a page then has to
/// ask. Not after PostgreSQL 16.
pub(crate) fn snapshots_grow_old() -> bool {
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    // SAFETY: a setting of the server's start.
    return unsafe { pg_sys::old_snapshot_threshold } >= 0;
    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    return false;
}

/// Local id of the running top-level transaction; 0 where there is none.
pub(crate) fn local_transaction() -> u32 {
    // SAFETY: MyProc is set once when the backend starts and points to its own shared entry.
    unsafe { pg_sys::MyProc.as_ref() }.map_or(0, |process| {
        #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
        return process.lxid;
        #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
        return process.vxid.lxid;
    })
}

/// The setting that ends a process for the length of its transactions, in versions that have one.
#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
pub(crate) const TRANSACTION_TIMEOUT: Option<&std::ffi::CStr> = None;
/// The setting that ends a process for the length of its transactions, in versions that have one.
#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
pub(crate) const TRANSACTION_TIMEOUT: Option<&std::ffi::CStr> = Some(c"transaction_timeout");

/// Memory for the `extra` of a setting, which PostgreSQL releases itself; null where there is none left.
///
/// # Safety
/// Nothing else may release it once it is a setting's.
pub(crate) unsafe fn allocate_setting(size: usize) -> *mut std::ffi::c_void {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    {
        unsafe extern "C" {
            fn malloc(size: usize) -> *mut std::ffi::c_void;
        }
        // SAFETY: any size may be asked for.
        unsafe { malloc(size) }
    }
    // SAFETY: at this level it returns null instead of raising.
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    unsafe {
        pg_sys::guc_malloc(pg_sys::LOG as i32, size)
    }
}

/// Installs a handler of the server's own for a signal, in a background worker.
///
/// # Safety
/// The handler must be one that may run at any moment.
pub(crate) unsafe fn on_signal(signal: u32, handler: unsafe extern "C-unwind" fn(i32)) {
    // SAFETY: the caller vouches for the handler.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(signal as i32, Some(handler));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(signal as i32, Some(handler));
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

/// What a statement asks of its relations: elements of type [`Rights`], as [`rights_hook`] is given them.
///
/// # Safety
/// The statement must be one that PostgreSQL planned.
pub(crate) unsafe fn rights_of_plan(plan: *mut pg_sys::PlannedStmt) -> *mut pg_sys::List {
    // SAFETY: the caller vouches for the plan.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return (*plan).rtable;
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return (*plan).permInfos;
    }
}
