//! The ledger's tables as the sealer and the verifier read them. Columns are numbered in the
//! order of the SELECT beside each reader.

use std::ffi::CString;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::ledger::{Adopted, Claim, Claims, Snapshot};
use tenant_guard_core::merkle::{Frontier, Hash};
use tenant_guard_core::publication::Sealed;

use super::rows::{Arguments, Row, for_each_row};
use super::spans;
use crate::audit::transaction::incarnation;
use crate::error::Error;

/// Whether the ledger's tables have been made.
pub(crate) fn exists() -> bool {
    let mut found = false;
    for_each_row(
        c"SELECT 1::bigint WHERE pg_catalog.to_regclass('tenant_guard.audit_log') IS NOT NULL",
        &[],
        |_| found = true,
    );
    found
}

/// The newest block, as far as the next one and the status build on it.
pub(super) struct LastBlock {
    pub(super) block: i64,
    pub(super) epoch: i64,
    pub(super) incarnation: i64,
    pub(super) timeline: i32,
    pub(super) snapshot: Snapshot,
    pub(super) hash: Hash,
    pub(super) root: Hash,
    pub(super) tree: Frontier,
    /// Hash of what was captured.
    pub(super) configuration: Hash,
}

impl LastBlock {
    /// Size and root of the global tree as a checkpoint.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            incarnation: self.incarnation,
            epoch: self.epoch,
            size: self.tree.size(),
            root: self.root,
        }
    }

    /// What tells it from other blocks of its number.
    pub(super) fn sealed(&self) -> Sealed {
        Sealed::new(self.block, &self.hash)
    }
}

/// Reads the newest block; `None` before the first.
///
/// A block that cannot be read is damage: sealing must not build on it.
pub(super) fn last_block() -> Option<LastBlock> {
    read_block("ORDER BY block DESC LIMIT 1", &[])
}

/// A block by its number, as if it were the newest.
pub(super) fn block(number: i64) -> Option<LastBlock> {
    let number = [(pg_sys::INT8OID, pg_sys::Datum::from(number))];
    read_block("WHERE block OPERATOR(pg_catalog.=) $1", &number)
}

/// The newest block, or one by its number, however damaged; `None` where there is none.
pub(super) fn sealed(number: Option<i64>) -> Option<Sealed> {
    let mut found = None;
    if exists() {
        for_each_row(
            c"SELECT block, hash FROM tenant_guard.ledger_block \
              WHERE block OPERATOR(pg_catalog.<=) $1 ORDER BY block DESC LIMIT 1",
            &[(
                pg_sys::INT8OID,
                pg_sys::Datum::from(number.unwrap_or(i64::MAX)),
            )],
            |row| found = Some(Sealed::new(row.bigint(0), row.bytes(1))),
        );
    }
    found.filter(|sealed: &Sealed| number.is_none_or(|number| sealed.block == number))
}

fn read_block(which: &str, arguments: Arguments<'_>) -> Option<LastBlock> {
    let query = query_text(&format!(
        "SELECT block, epoch, incarnation, timeline::bigint, snapshot, hash, root, tree_size, state, \
            configuration_hash \
         FROM tenant_guard.ledger_block {which}"
    ));
    let mut found = None;
    for_each_row(&query, arguments, |row| found = Some(last_block_of(row)));
    found.map(|parsed| parsed.unwrap_or_else(|| Error::BrokenLedger("the newest block").raise()))
}

/// What was captured when a block was sealed, as the last block up to it that says so has it.
pub(super) fn configuration_at(block: i64) -> Option<String> {
    let mut found = None;
    for_each_row(
        c"SELECT configuration FROM tenant_guard.ledger_block \
          WHERE configuration IS NOT NULL AND block OPERATOR(pg_catalog.<=) $1 \
          ORDER BY block DESC LIMIT 1",
        &[(pg_sys::INT8OID, pg_sys::Datum::from(block))],
        |row| found = Some(row.text(0).to_owned()),
    );
    found
}

/// When the latest of the blocks up to one was sealed, Unix microseconds.
pub(super) fn latest_seal(block: i64) -> i64 {
    let mut found = None;
    for_each_row(
        // Passes over those sealed since, not over those before.
        c"SELECT sealed_at FROM tenant_guard.ledger_block \
          WHERE block OPERATOR(pg_catalog.<=) $1 ORDER BY sealed_at DESC LIMIT 1",
        &[(pg_sys::INT8OID, pg_sys::Datum::from(block))],
        |row| found = row.optional_bigint(0).map(crate::clock::to_unix),
    );
    found.unwrap_or(i64::MIN)
}

/// The last block with events that were removed, of one account or of any; 0 where there is none.
pub(super) fn removed_through(account: Option<&str>) -> i64 {
    let mut last = 0;
    let (condition, arguments) = match account {
        None => ("", Vec::new()),
        Some(account) => {
            let account = account.into_datum().expect("a text is no NULL");
            let condition = "WHERE account_id OPERATOR(pg_catalog.=) $1";
            (condition, vec![(pg_sys::TEXTOID, account)])
        }
    };
    let query = query_text(&format!(
        "SELECT COALESCE(pg_catalog.max(block), 0) FROM tenant_guard.ledger_pruned {condition}"
    ));
    for_each_row(&query, &arguments, |row| last = row.bigint(0));
    last
}

/// The newest block. Raises where nothing is sealed.
pub(super) fn newest_block() -> LastBlock {
    let last = exists().then(last_block).flatten();
    last.unwrap_or_else(|| Error::NothingSealed.raise())
}

/// When the newest block was made, Unix microseconds; `None` before the first.
pub(super) fn newest_block_at() -> Option<i64> {
    let mut at = None;
    if exists() {
        for_each_row(
            c"SELECT sealed_at FROM tenant_guard.ledger_block ORDER BY block DESC LIMIT 1",
            &[],
            |row| at = row.optional_bigint(0).map(crate::clock::to_unix),
        );
    }
    at
}

/// Whether nothing happened in this database so far but commands that switched-off guards let through, as a
/// restore of data alone begins: a block now would stand where those of the dump are to come. Under the
/// active snapshot, as the owner.
pub(super) fn is_being_restored() -> bool {
    let mut restoring = false;
    if exists() {
        let own = pg_sys::Datum::from(incarnation());
        for_each_row(
            c"SELECT 1::bigint \
              WHERE COALESCE((SELECT b.incarnation <> $1 FROM tenant_guard.ledger_block AS b \
                      ORDER BY b.block DESC LIMIT 1), true) \
                  AND EXISTS (SELECT FROM tenant_guard.audit_log AS l WHERE l.incarnation = $1) \
                  AND NOT EXISTS (SELECT FROM tenant_guard.audit_log AS l \
                      WHERE l.incarnation = $1 \
                          AND (l.kind <> 'system' OR l.action <> 'guards off'))",
            &[(pg_sys::INT8OID, own)],
            |_| restoring = true,
        );
    }
    restoring
}

fn last_block_of(row: &Row<'_>) -> Option<LastBlock> {
    Some(LastBlock {
        block: row.bigint(0),
        epoch: row.bigint(1),
        incarnation: row.bigint(2),
        timeline: row.bigint(3).try_into().ok()?,
        snapshot: row.text(4).parse().ok()?,
        hash: row.bytes(5).try_into().ok()?,
        root: row.bytes(6).try_into().ok()?,
        tree: Frontier::from_state(row.bigint(7).try_into().ok()?, row.bytes(8))?,
        configuration: row.bytes(9).try_into().ok()?,
    })
}

/// Which events a block holds, from all blocks up to it.
pub(super) fn claims_of_block(number: i64) -> Vec<Claim> {
    let mut claims = Claims::default();
    let mut held = Vec::new();
    for_each_row(
        c"SELECT incarnation, snapshot, adopted FROM tenant_guard.ledger_block \
          WHERE block OPERATOR(pg_catalog.<=) $1 ORDER BY block",
        &[(pg_sys::INT8OID, pg_sys::Datum::from(number))],
        |row| held = add_block(&mut claims, row),
    );
    held
}

/// What all blocks so far hold of each incarnation.
///
/// Reads every block, so callers that only need the newest block's own incarnation take its
/// snapshot instead.
pub(super) fn claims() -> Claims {
    claims_until(i64::MAX)
}

/// The same of the blocks up to one.
pub(super) fn claims_until(block: i64) -> Claims {
    let mut claims = Claims::default();
    for_each_row(
        c"SELECT incarnation, snapshot, adopted FROM tenant_guard.ledger_block \
          WHERE block OPERATOR(pg_catalog.<=) $1 ORDER BY block",
        &[(pg_sys::INT8OID, pg_sys::Datum::from(block))],
        |row| drop(add_block(&mut claims, row)),
    );
    claims
}

/// Adds what one block claims, if it is there and sound.
pub(super) fn add_block_to(claims: &mut Claims, number: i64) {
    for_each_row(
        c"SELECT incarnation, snapshot, adopted FROM tenant_guard.ledger_block \
          WHERE block OPERATOR(pg_catalog.=) $1",
        &[(pg_sys::INT8OID, pg_sys::Datum::from(number))],
        |row| {
            let parsed = row.text(1).parse::<Snapshot>().ok();
            if let Some((snapshot, adopted)) = parsed.zip(row.text(2).parse().ok()) {
                claims.add_block(row.bigint(0), snapshot, &adopted);
            }
        },
    );
}

/// Adds a row of incarnation, snapshot and adopted incarnations.
fn add_block(claims: &mut Claims, row: &Row<'_>) -> Vec<Claim> {
    let parsed = row
        .text(1)
        .parse::<Snapshot>()
        .ok()
        .zip(row.text(2).parse::<Adopted>().ok());
    let Some((snapshot, adopted)) = parsed else {
        Error::BrokenLedger("the snapshot of a block").raise()
    };
    claims.add_block(row.bigint(0), snapshot, &adopted)
}

/// Incarnations with rows in a table of the log, each with its highest transaction id. One index descent for each incarnation, however many rows there are.
pub(crate) fn incarnations(table: &str) -> Vec<(i64, i64)> {
    let mut found = Vec::new();
    for_each_row(&spans::extremes(table), &[], |row| {
        found.push((row.bigint(0), row.bigint(2)));
    });
    found
}

/// The name of the table of events.
pub(crate) const AUDIT_LOG: &str = "audit_log";
/// The name of the table of context records.
pub(super) const AUDIT_CONTEXT: &str = "audit_context";

/// A part of a claim that is one range of an index: its condition and the condition's arguments.
pub(super) struct Part {
    condition: &'static str,
    /// That of contexts.
    of_contexts: &'static str,
    incarnation: i64,
    /// Its lowest and highest transaction.
    xids: (i64, i64),
    arguments: Vec<(pg_sys::Oid, pg_sys::Datum)>,
}

const LATE: &str = "xid OPERATOR(pg_catalog.=) ANY ($2)";
const RANGE: &str = "xid OPERATOR(pg_catalog.>=) $2 AND xid OPERATOR(pg_catalog.<=) $3 \
    AND xid OPERATOR(pg_catalog.<>) ALL ($4)";

/// The parts of a claim. Late committers stand below the range, so reading part after part keeps
/// the order of transactions, and nothing that came before is visited (docs/decisions.md).
pub(super) fn parts(claim: &Claim) -> Vec<Part> {
    let xids = &claim.xids;
    let incarnation = (pg_sys::INT8OID, pg_sys::Datum::from(claim.incarnation));
    // The highest bound there is bounds nothing: a forged event may have that very id.
    let last = match xids.until {
        i64::MAX => i64::MAX,
        until => until.saturating_sub(1),
    };
    let late = (!xids.late.is_empty()).then(|| Part {
        condition: LATE,
        of_contexts: LATE,
        incarnation: claim.incarnation,
        xids: (
            xids.late.iter().copied().min().unwrap_or(i64::MIN),
            xids.late.iter().copied().max().unwrap_or(i64::MAX),
        ),
        arguments: vec![incarnation, (pg_sys::INT8ARRAYOID, array_of(&xids.late))],
    });
    let range = Part {
        condition: RANGE,
        of_contexts: RANGE,
        incarnation: claim.incarnation,
        xids: (xids.from, last),
        arguments: vec![
            incarnation,
            (pg_sys::INT8OID, pg_sys::Datum::from(xids.from)),
            (pg_sys::INT8OID, pg_sys::Datum::from(last)),
            (pg_sys::INT8ARRAYOID, array_of(&xids.except)),
        ],
    };
    late.into_iter().chain([range]).collect()
}

impl Part {
    /// What follows an event in its transaction.
    pub(super) fn after(event: EventKey) -> Self {
        Self {
            condition: "xid OPERATOR(pg_catalog.=) $2 AND ordinal OPERATOR(pg_catalog.>) $3",
            of_contexts: "xid OPERATOR(pg_catalog.=) $2 AND $3 IS NOT NULL",
            incarnation: event.incarnation,
            xids: (event.xid, event.xid),
            arguments: vec![
                (pg_sys::INT8OID, pg_sys::Datum::from(event.incarnation)),
                (pg_sys::INT8OID, pg_sys::Datum::from(event.xid)),
                (pg_sys::INT4OID, pg_sys::Datum::from(event.ordinal)),
            ],
        }
    }

    /// The query of the contexts of this part's transactions.
    pub(super) fn contexts(&self, columns: &str) -> CString {
        self.select(columns, AUDIT_CONTEXT, "number", self.of_contexts)
    }

    /// The query of this part's rows. `columns` is a select list, `order` the column that orders
    /// the rows of one transaction. The key's index has them in this order: qualified, because a
    /// bare name would be that of a column of the result, which may be cast and need a sort.
    pub(super) fn query(&self, columns: &str, table: &str, order: &str) -> CString {
        self.select(columns, table, order, self.condition)
    }

    fn select(&self, columns: &str, table: &str, order: &str, condition: &str) -> CString {
        let table = spans::narrowest(table, self.incarnation, self.xids.0, self.xids.1);
        query_text(&format!(
            "SELECT {columns} FROM tenant_guard.{table} AS t \
             WHERE incarnation OPERATOR(pg_catalog.=) $1 AND {condition} \
             ORDER BY t.incarnation, t.xid, t.{order}"
        ))
    }

    /// The condition on rows of a table named `l`, and how many arguments it has.
    pub(super) fn condition(&self) -> (String, usize) {
        let condition = format!(
            "l.incarnation OPERATOR(pg_catalog.=) $1 AND {}",
            self.condition
        );
        (condition, self.arguments.len())
    }

    /// The arguments of that query.
    pub(super) fn arguments(&self) -> Arguments<'_> {
        &self.arguments
    }
}

/// What orders the events of one transaction.
pub(super) const EVENT_ORDER: &str = "ordinal";

/// Hands the events of a claim to `each` in the order of the ledger. `columns` is a select list.
pub(super) fn for_each_event(columns: &str, claim: &Claim, mut each: impl FnMut(&Row<'_>)) {
    for part in parts(claim) {
        let query = part.query(columns, AUDIT_LOG, EVENT_ORDER);
        for_each_row(&query, part.arguments(), &mut each);
    }
}

/// Whether a claim holds any event.
pub(super) fn has_events(claim: &Claim) -> bool {
    parts(claim).iter().any(|part| {
        let mut found = false;
        let query = query_text(&format!(
            "SELECT 1::bigint FROM tenant_guard.{AUDIT_LOG} \
             WHERE incarnation OPERATOR(pg_catalog.=) $1 AND {} LIMIT 1",
            part.condition
        ));
        for_each_row(&query, part.arguments(), |_| found = true);
        found
    })
}

/// How many events a claim holds, and when the oldest happened, Unix microseconds.
pub(super) fn count_events(claim: &Claim) -> (i64, Option<i64>) {
    let (mut count, mut oldest) = (0, None);
    for_each_event("occurred_at", claim, |row| {
        count += 1;
        let occurred_at = crate::clock::to_unix(row.bigint(0));
        oldest = Some(oldest.map_or(occurred_at, |oldest: i64| oldest.min(occurred_at)));
    });
    (count, oldest)
}

pub(crate) fn query_text(query: &str) -> CString {
    CString::new(query).expect("queries are made of our own words")
}

/// A bigint[] as a query argument.
pub(super) fn array_of(values: &[i64]) -> pg_sys::Datum {
    values
        .to_vec()
        .into_datum()
        .expect("a vector is never NULL")
}
