//! Events of rows that stand, so that their state is known from there on.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::audit::record::record_system;
use crate::audit::standing;
use crate::catalog::refuse_on_standby;
use crate::error::{Error, OrRaise};
use crate::isolation::decides_capture;

/// Writes an event for each row of a captured relation. Holds writers of it off until the transaction
/// ends, and nobody who reads.
#[pg_extern(sql = false)]
fn record_baseline(relation: Option<pg_sys::Oid>) -> i64 {
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    decides_capture(relation).or_raise();
    refuse_on_standby();
    // SAFETY: raises where the transaction may not write; locks by oid, held to its end, which a relation
    // that is gone by then does not hinder.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(c"record_baseline()".as_ptr());
        pg_sys::LockRelationOid(relation, pg_sys::ShareRowExclusiveLock as i32);
    }
    decides_capture(relation).or_raise();
    let tables = standing::tables_of(relation);
    for table in &tables {
        // SAFETY: as above.
        unsafe { pg_sys::LockRelationOid(*table, pg_sys::ShareRowExclusiveLock as i32) };
    }
    standing::refuse_uncaptured(relation);
    record_system("record_baseline", Some(relation), "", None);
    tables.into_iter().map(standing::record).sum()
}
