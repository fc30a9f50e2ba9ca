//! Running as the extension's owner, and quoting: the only ways our code steps outside the
//! caller's own rights or builds SQL out of names.

use std::ffi::CStr;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::audit::reads;
use crate::error::Error;
use crate::kept_plan;

/// The role that owns the extension, in whose name its own tables are read and written.
///
/// Not remembered: REASSIGN OWNED and CREATE EXTENSION change it under open sessions, and nothing on
/// the way of a row or a warm token asks.
pub(crate) fn extension_owner() -> pg_sys::Oid {
    let mut owner = pg_sys::Oid::INVALID;
    // SAFETY: a scan of a catalog by its index over the name, which is a name. The tuple is read before
    // the scan ends; an ERROR ends scan and relation.
    unsafe {
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_extension_extname as i16,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::F_NAMEEQ.into(),
            pg_sys::Datum::from(c"tenant_guard".as_ptr()),
        );
        let lock = pg_sys::AccessShareLock as i32;
        let relation = pg_sys::table_open(pg_sys::ExtensionRelationId, lock);
        let index = pg_sys::Oid::from_u32(pg_sys::ExtensionNameIndexId);
        let none = std::ptr::null_mut();
        let scan = pg_sys::systable_beginscan(relation, index, true, none, 1, &mut key);
        let tuple = pg_sys::systable_getnext(scan);
        if !tuple.is_null() {
            let number = pg_sys::Anum_pg_extension_extowner as i32;
            let mut is_null = false;
            let datum = pg_sys::SPI_getbinval(tuple, (*relation).rd_att, number, &mut is_null);
            owner = pg_sys::Oid::from(datum.value() as u32);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, lock);
    }
    if owner == pg_sys::Oid::INVALID {
        Error::NotInstalled.raise();
    }
    owner
}

/// Raises where the extension's owner is no superuser any more: what is looked up as him would be wrong.
pub(crate) fn require_able_owner() {
    let owner = extension_owner();
    // SAFETY: runs in a transaction, as a role's attributes are looked up.
    if !unsafe { pg_sys::superuser_arg(owner) } {
        Error::OwnerWithoutRights(role_name(owner)).raise()
    }
}

/// Runs `work` with the rights of the extension's owner, and restores the caller's on the way out,
/// errors included.
///
/// The search path is pinned meanwhile. An operator that matches the types of a comparison better
/// than PostgreSQL's own is chosen wherever its schema stands in the path, and would run with the
/// rights of a superuser.
pub(crate) fn as_owner<T>(work: impl FnOnce() -> T) -> T {
    let _ours = reads::Ours::begin();
    let owner = extension_owner();
    with_pinned_path(|| as_role(owner, work))
}

/// The same where no session of anybody's is around it: what runs can neither leave the context nor
/// plant anything in it.
pub(crate) fn as_restricted_owner<T>(work: impl FnOnce() -> T) -> T {
    let _ours = reads::Ours::begin();
    with_pinned_path(|| as_restricted(extension_owner(), work))
}

const PINNED_PATH: &CStr = c"pg_catalog, pg_temp";

/// Runs `work` under the search path that functions of ours are declared with, whatever the
/// caller's is.
fn with_pinned_path<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: the setting has a value from start-up on, a terminated string. A nest level that
    // an ERROR leaves open is closed by the abort, as that of a function with a SET clause.
    unsafe {
        if CStr::from_ptr(pg_sys::namespace_search_path) == PINNED_PATH {
            return work();
        }
        let level = pg_sys::NewGUCNestLevel();
        pg_sys::set_config_option(
            c"search_path".as_ptr(),
            PINNED_PATH.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
        let result = work();
        pg_sys::AtEOXact_GUC(true, level);
        result
    }
}

/// Runs `work` with the rights of `role`, and restores the caller's on the way out, errors
/// included.
pub(crate) fn as_role<T>(role: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    with_user(role, pg_sys::SECURITY_LOCAL_USERID_CHANGE, work)
}

/// Runs `work` on a relation of the product as PostgreSQL checks foreign keys: with the rights of
/// the relation's owner, past its row security even where that is forced.
///
/// With more rights it must not be read: planning alone runs what its owner wrote, such as
/// functions in index expressions.
pub(crate) fn as_relation_owner<T>(
    relation: pg_sys::Oid,
    work: impl FnOnce() -> T,
) -> Result<T, Error> {
    let owner = relation_owner(relation).ok_or(Error::RelationGone(relation.to_u32()))?;
    let context = pg_sys::SECURITY_LOCAL_USERID_CHANGE
        | pg_sys::SECURITY_RESTRICTED_OPERATION
        | pg_sys::SECURITY_NOFORCE_RLS;
    Ok(with_user(owner, context, work))
}

/// Runs `work` with the rights of `role` as PostgreSQL runs the code of somebody else: it can make
/// nothing that outlives it, and settings it makes are undone at its end.
pub(crate) fn as_restricted<T>(role: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    let context = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
    with_user(role, context, work)
}

/// Who owns a relation; none for one that is gone.
pub(crate) fn relation_owner(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up by oid; the tuple is of pg_class and released after the copy.
    unsafe {
        let class = pg_sys::SysCacheIdentifier::RELOID as i32;
        let tuple = pg_sys::SearchSysCache1(class, pg_sys::Datum::from(relation));
        if tuple.is_null() {
            return None;
        }
        let header = (*tuple).t_data;
        let row = header
            .byte_add(usize::from((*header).t_hoff))
            .cast::<pg_sys::FormData_pg_class>();
        let owner = (*row).relowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner)
    }
}

fn with_user<T>(role: pg_sys::Oid, flags: u32, work: impl FnOnce() -> T) -> T {
    struct Restore(pg_sys::Oid, i32);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: puts back the very values read below in the same backend.
            unsafe { pg_sys::SetUserIdAndSecContext(self.0, self.1) }
        }
    }

    let mut user = pg_sys::Oid::INVALID;
    let mut context = 0;
    // SAFETY: plain backend-local state; both pointers are live for the call.
    unsafe { pg_sys::GetUserIdAndSecContext(&mut user, &mut context) };
    let _restore = Restore(user, context);
    // SAFETY: `role` is a role of this cluster; the flags are among those SECURITY DEFINER code
    // runs with, so SET ROLE stays refused meanwhile.
    unsafe { pg_sys::SetUserIdAndSecContext(role, context | flags as i32) };
    match flags & pg_sys::SECURITY_RESTRICTED_OPERATION {
        0 => work(),
        _ => with_settings_undone(work),
    }
}

/// Runs `work` and undoes the settings it made. Code of somebody else could leave the session a search
/// path that leads the next statement, of a superuser perhaps, to more of its code.
fn with_settings_undone<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: a nest level that an ERROR leaves open is closed by the abort.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        let result = work();
        pg_sys::AtEOXact_GUC(false, level);
        result
    }
}

/// Runs one statement on our own tables as the extension's owner; rows affected.
pub(crate) fn write(statement: &str, arguments: &[DatumWithOid<'_>]) -> usize {
    // pgrx assigns a transaction id first, which fails on a standby as an internal error.
    refuse_on_standby();
    as_owner(|| {
        Spi::connect_mut(|client| {
            client
                .update(statement, None, arguments)
                .map(|rows| rows.len())
        })
    })
    .unwrap_or_else(|error| cannot_be_written(error))
}

/// The same of a statement whose plan is kept for the next time.
pub(crate) fn write_often(statement: &'static str, arguments: &[DatumWithOid<'_>]) -> usize {
    refuse_on_standby();
    as_owner(|| {
        // SAFETY: connected, as the owner, under the path that is always the same. The transaction gets an id
        // first, as where pgrx writes: from then on its queries see what it did.
        Spi::connect_mut(|_| unsafe {
            pg_sys::GetCurrentTransactionId();
            kept_plan::execute(statement, arguments, false)?;
            Ok(pg_sys::SPI_processed as usize)
        })
    })
    .unwrap_or_else(|error: pgrx::spi::SpiError| cannot_be_written(error))
}

fn cannot_be_written(error: pgrx::spi::SpiError) -> ! {
    pgrx::error!("tenant_guard's own tables cannot be written: {error}")
}

/// Raises 25006 on a standby, as PostgreSQL does where a command would write.
pub(crate) fn refuse_on_standby() {
    // SAFETY: raises on a standby and does nothing elsewhere; the name is static.
    unsafe { pg_sys::PreventCommandDuringRecovery(c"changes of tenant_guard's tables".as_ptr()) };
}

/// Our schema; invalid where it is not there.
pub(crate) fn our_schema() -> pg_sys::Oid {
    // SAFETY: a catalog look-up by a static name.
    unsafe { pg_sys::get_namespace_oid(c"tenant_guard".as_ptr(), true) }
}

/// A table in our schema; invalid where it is not there.
pub(crate) fn our_table(name: &CStr) -> pg_sys::Oid {
    // SAFETY: a catalog look-up by a terminated name.
    unsafe { pg_sys::get_relname_relid(name.as_ptr(), our_schema()) }
}

/// Whether the current user has the rights of a role.
pub(crate) fn has_role(role: &CStr) -> bool {
    // SAFETY: catalog lookups of a terminated name.
    unsafe {
        let role = pg_sys::get_role_oid(role.as_ptr(), true);
        role != pg_sys::Oid::INVALID && pg_sys::has_privs_of_role(pg_sys::GetUserId(), role)
    }
}

/// The name of a role, quoted by nobody: for messages.
pub(crate) fn role_name(role: pg_sys::Oid) -> String {
    // SAFETY: with noerr true the function returns null for an unknown role, else a palloc'ed
    // C string in the current context.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            role.to_u32().to_string()
        } else {
            CStr::from_ptr(name).to_string_lossy().into_owned()
        }
    }
}
