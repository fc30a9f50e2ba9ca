//! Who may do what: rights of a query moved out of the range table in PostgreSQL 16, and checks of rights on
//! objects are one for all kinds since then.

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
