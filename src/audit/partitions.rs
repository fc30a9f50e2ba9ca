//! The partitions of the log and its contexts: one for each month of UTC, made ahead, and one for what
//! has none. A row of a month without a partition goes there, so that no event waits for one.

use std::cell::Cell;

use pgrx::pg_sys;
use tenant_guard_core::month::{Month, default_partition_of};

use super::log::{AUDIT_CONTEXT, AUDIT_LOG, Table};
use super::pinned::Settings;
use super::routing::part_of;
use super::tables::{adopt, lock_extension, run};
use crate::catalog::{as_owner, our_table};
use crate::clock;
use crate::subtransaction::attempt;
use crate::watch;

/// The tables that have partitions.
pub(super) const PARTITIONED: [&Table; 2] = [&AUDIT_LOG, &AUDIT_CONTEXT];

/// Months that have a partition before they begin: a month in which nothing is sealed must not leave
/// the next one without.
const AHEAD: usize = 2;

/// Most blocks of the partition for what has none, for which another one is made by itself. PostgreSQL
/// reads it whole then, and nobody else can meanwhile.
const FEW_BLOCKS: u32 = 8_192;

thread_local! {
    /// The month in which there is nothing left to make.
    static DONE: Cell<Option<Month>> = const { Cell::new(None) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// How far to go for a partition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// Only where nobody has to wait for it, or only for a moment.
    Idle,
    /// Waits for locks, and for PostgreSQL to read what stands in no month's partition.
    Whatever,
}

/// The name of a partition of ours in our schema, as SQL.
fn qualified(name: &str) -> String {
    format!("tenant_guard.{name}")
}

fn wanted() -> impl Iterator<Item = Month> {
    let now = Month::of(clock::now_us());
    std::iter::successors(Some(now), |month| Some(month.next())).take(1 + AHEAD)
}

/// Gives new tables their first partitions.
pub(super) fn make_first() {
    for table in PARTITIONED {
        let name = default_partition_of(table.name());
        make(table, &name, "DEFAULT");
        for month in wanted() {
            make_month(table, month);
        }
    }
}

/// Makes what partitions are missing of this month and the next ones, waiting for whoever is in the
/// way. Months with rows that stand in the default partition stay there.
pub(super) fn make_missing() {
    as_owner(|| {
        let _settings = Settings::pin();
        lock_extension();
        PARTITIONED.iter().for_each(|table| {
            complete(table, Effort::Whatever);
        });
    });
}

/// Whether there is nothing to make, as far as this backend knows.
pub(crate) fn are_made() -> bool {
    DONE.get() == Some(Month::of(clock::now_us()))
}

/// The same where it keeps nobody waiting; call it again and again. What stands against it is a warning:
/// events go on being written and sealed without.
pub(crate) fn keep_ahead() {
    if are_made() {
        return;
    }
    let now = Month::of(clock::now_us());
    if !REGISTERED.replace(true) {
        watch::listen(changed);
    }
    let complete = attempt(|| {
        let _settings = Settings::pin();
        PARTITIONED.map(|table| complete(table, Effort::Idle)) == [true; 2]
    });
    match complete {
        Ok(true) => DONE.set(Some(now)),
        // In somebody's way; at the next call perhaps no longer.
        Ok(false) => {}
        Err(error) => {
            DONE.set(Some(now));
            pgrx::warning!(
                "the next month's partitions of the audit log cannot be made: {}",
                error.message()
            );
        }
    }
}

fn changed(relation: pg_sys::Oid) {
    // A look-up of our tables by name would itself be told of changes.
    if relation == pg_sys::Oid::INVALID || PARENTS.get().contains(&relation) {
        DONE.set(None);
    }
}

thread_local! {
    /// The tables whose partitions `DONE` speaks of.
    static PARENTS: Cell<[pg_sys::Oid; 2]> = const { Cell::new([pg_sys::Oid::INVALID; 2]) };
}

/// Makes what is missing of one table; false where it is to be tried again.
fn complete(table: &Table, effort: Effort) -> bool {
    let oid = table.find();
    if oid == pg_sys::Oid::INVALID {
        return true;
    }
    let mut parents = PARENTS.get();
    parents[table.slot()] = oid;
    PARENTS.set(parents);
    let missing = missing(oid);
    if missing.is_empty() {
        return true;
    }
    let default = our_table(&c_name(&default_partition_of(table.name())));
    if effort == Effort::Idle && blocks(default) > FEW_BLOCKS {
        return true;
    }
    for month in missing {
        let name = month.partition_of(table.name());
        // Somebody's, or one that was taken off: not ours to touch.
        if our_table(&c_name(&name)) != pg_sys::Oid::INVALID || stands_in_default(table, month) {
            continue;
        }
        if effort == Effort::Idle && !lock_at_once(oid, default) {
            return false;
        }
        make_month(table, month);
    }
    true
}

/// The wanted months that have no partition.
fn missing(parent: pg_sys::Oid) -> Vec<Month> {
    // SAFETY: the table is of our schema, partitioned by a timestamptz column, or not partitioned.
    unsafe {
        let parent = pg_sys::table_open(parent, pg_sys::AccessShareLock as i32);
        let partitioned = (*(*parent).rd_rel).relkind == pg_sys::RELKIND_PARTITIONED_TABLE as i8;
        let missing = wanted().filter(|month| {
            let time = clock::from_unix(month.start());
            partitioned && part_of(parent, time).is_none_or(|part| part.is_default)
        });
        let missing = missing.collect();
        pg_sys::table_close(parent, pg_sys::AccessShareLock as i32);
        missing
    }
}

fn c_name(name: &str) -> std::ffi::CString {
    std::ffi::CString::new(name).expect("names of ours have no zero byte")
}

/// Size of a table; 0 where there is none.
fn blocks(table: pg_sys::Oid) -> u32 {
    // SAFETY: try_relation_open takes any oid and returns null for one that is gone.
    unsafe {
        let relation = pg_sys::try_relation_open(table, pg_sys::AccessShareLock as i32);
        if relation.is_null() {
            return 0;
        }
        let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
        let blocks = pg_sys::RelationGetNumberOfBlocksInFork(relation, fork);
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        blocks
    }
}

/// Whether the default partition holds rows of a month.
fn stands_in_default(table: &Table, month: Month) -> bool {
    let name = default_partition_of(table.name());
    if our_table(&c_name(&name)) == pg_sys::Oid::INVALID {
        return false;
    }
    let (from, until) = (month.start_text(), month.next().start_text());
    let column = table.time_column();
    let query = format!(
        "SELECT EXISTS (SELECT FROM {} WHERE {column} OPERATOR(pg_catalog.>=) '{from}' \
         AND {column} OPERATOR(pg_catalog.<) '{until}')",
        qualified(&name)
    );
    super::tables::query(&query)
}

/// Takes the locks that ATTACH PARTITION needs; false where somebody is in the way.
fn lock_at_once(parent: pg_sys::Oid, default: pg_sys::Oid) -> bool {
    // SAFETY: locks of oids; they go with the (sub)transaction.
    unsafe {
        pg_sys::ConditionalLockRelationOid(parent, pg_sys::ShareUpdateExclusiveLock as i32)
            && (default == pg_sys::Oid::INVALID
                || pg_sys::ConditionalLockRelationOid(default, pg_sys::AccessExclusiveLock as i32))
    }
}

fn make_month(table: &Table, month: Month) {
    let bounds = format!(
        "FOR VALUES FROM ('{}') TO ('{}')",
        month.start_text(),
        month.next().start_text()
    );
    make(table, &month.partition_of(table.name()), &bounds);
}

/// Makes a partition with its guard and attaches it: PARTITION OF would lock the whole table against
/// its readers.
fn make(table: &Table, name: &str, bounds: &str) {
    let (parent, partition) = (qualified(table.name()), qualified(name));
    let key = table.key_columns();
    run(&format!(
        "CREATE TABLE {partition} (LIKE {parent} INCLUDING CONSTRAINTS INCLUDING STORAGE \
             INCLUDING COMPRESSION, PRIMARY KEY ({key})) USING heap;
         GRANT SELECT ON {partition} TO tenant_guard_auditor"
    ));
    if table.name() == AUDIT_LOG.name() {
        // ANALYZE would copy values into the statistics, where nothing erases them.
        run(&format!(
            "ALTER TABLE {partition} ALTER personal SET STATISTICS 0, \
                 ALTER personal_salt SET STATISTICS 0"
        ));
    }
    adopt(name);
    run(&format!(
        "ALTER TABLE {parent} ATTACH PARTITION {partition} {bounds}"
    ));
}
