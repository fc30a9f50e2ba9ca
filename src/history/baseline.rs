//! Events of rows that stand, so that their state is known from there on.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::audit::record::record_system;
use crate::audit::standing;
use crate::catalog::refuse_on_standby;
use crate::error::{Error, OrRaise};
use crate::isolation::{decides_capture, following, hold_off_writers};

/// Writes an event for each row of a captured relation. Holds writers of it off until the transaction
/// ends, and nobody who reads.
#[pg_extern(sql = false)]
fn record_baseline(relation: Option<pg_sys::Oid>) -> i64 {
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    decides_capture(relation).or_raise();
    refuse_on_standby();
    // SAFETY: raises where the transaction may not write.
    unsafe { pg_sys::PreventCommandIfReadOnly(c"record_baseline()".as_ptr()) };
    hold_off_writers(relation);
    decides_capture(relation).or_raise();
    let tables = standing::tables_of(relation);
    standing::refuse_uncaptured(relation);
    let mut data = serde_json::json!({});
    following::say(&mut data, relation);
    let data = (data != serde_json::json!({})).then(|| data.to_string());
    record_system("record_baseline", Some(relation), "", data.as_deref());
    tables.into_iter().map(standing::record).sum()
}
