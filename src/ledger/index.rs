//! Whether the indexes of the ledger's tables lead to the rows that these hold.
//!
//! Sealing and verification read by index. A row that the index passes over would be none to them,
//! although whoever reads the table sees it.

use std::ffi::CStr;

use pgrx::pg_sys;
use tenant_guard_core::ledger::Finding;

use super::read::RowsRead;
use super::rows::for_each_row;
use super::store::{self, AUDIT_CONTEXT, AUDIT_LOG};
use crate::random::random_bytes;

/// The tables and what their keys order them by.
const TABLES: [(&str, &str); 8] = [
    (AUDIT_LOG, "incarnation, xid, ordinal"),
    (AUDIT_CONTEXT, "incarnation, xid, number"),
    ("ledger_account", "account_id"),
    ("ledger_pruned", "account_id"),
    ("ledger_block", "block"),
    ("ledger_block", "sealed_at"),
    ("ledger_leaf", "block, position"),
    ("ledger_retention", "number"),
];

/// What was read by index against what the tables hold. Rows of the index are rows of the table, so
/// as many of them are the same ones, unless verification read a row twice or passed over one for
/// another reason: where numbers differ, and for the small tables, the rows themselves are compared.
pub(super) fn compare(read: &RowsRead, found: &mut Vec<Finding>) {
    if !store::exists() {
        return;
    }
    for (table, key) in TABLES {
        let by_index = match table {
            AUDIT_LOG => Some(read.events),
            AUDIT_CONTEXT => Some(read.contexts),
            _ => None,
        };
        if by_index.is_some_and(|rows| rows == count(table)) {
            continue;
        }
        let (by_index, held) = (rows_by_index(table, key), rows_held(table));
        if by_index != held {
            found.push(Finding::index_differs(
                &format!("tenant_guard.{table}"),
                by_index.count,
                held.count,
            ));
        }
    }
}

/// A set of rows: how many, and the sum of hashes of their places.
#[derive(PartialEq, Eq)]
struct Rows {
    count: u64,
    sum: i64,
}

fn count(table: &str) -> u64 {
    let query = store::query_text(&format!(
        "SELECT pg_catalog.count(*) FROM tenant_guard.{table}"
    ));
    let mut count = 0;
    scanning(Scan::Table, || {
        for_each_row(&query, &[], |row| count = row.bigint(0).max(0) as u64);
    });
    count
}

fn rows_held(table: &str) -> Rows {
    scanning(Scan::Table, || rows(table, ""))
}

fn rows_by_index(table: &str, key: &str) -> Rows {
    scanning(Scan::Index, || rows(table, &format!("ORDER BY {key}")))
}

/// The seed is new for each process, so that nobody can choose rows whose hashes add up to those of others.
fn rows(table: &str, order: &str) -> Rows {
    thread_local! {
        static SEED: i64 = i64::from_ne_bytes(random_bytes());
    }
    let query = store::query_text(&format!(
        "SELECT pg_catalog.hashtidextended(ctid, $1 OPERATOR(pg_catalog.#) tableoid::pg_catalog.int8) \
         FROM tenant_guard.{table} {order}"
    ));
    let seed = (
        pg_sys::INT8OID,
        pg_sys::Datum::from(SEED.with(|seed| *seed)),
    );
    let mut found = Rows { count: 0, sum: 0 };
    for_each_row(&query, &[seed], |row| {
        found.count += 1;
        found.sum = found.sum.wrapping_add(row.bigint(0));
    });
    found
}

#[derive(Clone, Copy)]
enum Scan {
    Table,
    Index,
}

/// Runs `work` with the planner bound to one way of reading a table. Where a table has no index it
/// is read as it stands for both.
fn scanning<T>(scan: Scan, work: impl FnOnce() -> T) -> T {
    let off: &[&CStr] = match scan {
        Scan::Table => &[
            c"enable_indexscan",
            c"enable_indexonlyscan",
            c"enable_bitmapscan",
        ],
        Scan::Index => &[c"enable_seqscan", c"enable_bitmapscan", c"enable_sort"],
    };
    // SAFETY: settings of the planner that everybody may set; a nest level that an ERROR leaves open is
    // closed by the abort.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        for setting in off {
            pg_sys::set_config_option(
                setting.as_ptr(),
                c"off".as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        let result = work();
        pg_sys::AtEOXact_GUC(true, level);
        result
    }
}
