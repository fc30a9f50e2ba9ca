//! What VACUUM leaves of removed rows in the free space of pages.
//!
//! PostgreSQL moves the rows of a page together and does not overwrite the room it gains. Nothing
//! reads that room, so zeros can be written there under the lock of the page alone. A full image of
//! the page in the WAL leaves the room out, and a standby that replays it fills in zeros as well.

use std::ptr;

use pgrx::prelude::*;

use crate::catalog::{as_owner, refuse_on_standby};
use crate::error::OrRaise;
use crate::isolation::require_admin;
use crate::ledger::rows::for_each_row;

/// Overwrites what is left of removed rows in the log's tables and their TOAST tables.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn overwrite_erased() -> TableIterator<
    'static,
    (
        name!(relation, String),
        name!(pages, i64),
        name!(overwritten, i64),
        name!(waiting, i64),
    ),
> {
    require_admin().or_raise();
    refuse_on_standby();
    let done = as_owner(|| {
        let tables = tables();
        tables
            .into_iter()
            .map(|(oid, name)| {
                // SAFETY: a heap of the log's, looked up just now; one that is gone since is passed over.
                let done = unsafe { overwrite(oid) };
                (name, done.pages, done.overwritten, done.waiting)
            })
            .collect::<Vec<_>>()
    });
    TableIterator::new(done)
}

/// The heaps of the log: partitions, each followed by its TOAST table.
fn tables() -> Vec<(pg_sys::Oid, String)> {
    let mut found = Vec::new();
    if !crate::ledger::exists() {
        return found;
    }
    for_each_row(
        c"SELECT h.oid::bigint, pg_catalog.format('%I.%I', n.nspname, h.relname) \
          FROM pg_catalog.pg_inherits AS i \
          JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid \
          JOIN pg_catalog.pg_class AS h ON h.oid IN (c.oid, c.reltoastrelid) \
          JOIN pg_catalog.pg_namespace AS n ON n.oid = h.relnamespace \
          WHERE i.inhparent = 'tenant_guard.audit_log'::pg_catalog.regclass \
              AND h.relkind IN ('r', 't') AND h.relam = 2 \
          ORDER BY c.relname, h.relkind",
        &[],
        |row| {
            let oid = u32::try_from(row.bigint(0)).unwrap_or_default();
            found.push((pg_sys::Oid::from(oid), row.text(1).to_owned()));
        },
    );
    found
}

/// What was found in a heap.
#[derive(Default)]
struct Done {
    pages: i64,
    /// Pages with something that was overwritten.
    overwritten: i64,
    /// Pages with rows that are dead and still there.
    waiting: i64,
}

/// # Safety
/// `oid` must be that of a heap, or of nothing any more.
unsafe fn overwrite(oid: pg_sys::Oid) -> Done {
    let mut done = Done::default();
    // SAFETY: the lock keeps the relation from being dropped or truncated; each buffer is unlocked and
    // released before the next one is read, after an ERROR by the resource owner.
    unsafe {
        let relation = pg_sys::try_relation_open(oid, pg_sys::RowExclusiveLock as i32);
        if relation.is_null() {
            return done;
        }
        let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
        let strategy = pg_sys::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_VACUUM);
        let horizon = pg_sys::GetOldestNonRemovableTransactionId(relation);
        for block in 0..pg_sys::RelationGetNumberOfBlocksInFork(relation, fork) {
            pgrx::check_for_interrupts!();
            let mode = pg_sys::ReadBufferMode::RBM_NORMAL;
            let buffer = pg_sys::ReadBufferExtended(relation, fork, block, mode, strategy);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = Page::of(buffer);
            done.pages += 1;
            done.waiting += i64::from(page.has_dead_rows(relation, block, buffer, horizon));
            let dirty = !page.is_clean();
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            if dirty {
                pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
                clean(relation, buffer);
                pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
                done.overwritten += 1;
            }
            pg_sys::ReleaseBuffer(buffer);
        }
        pg_sys::FreeAccessStrategy(strategy);
        pg_sys::relation_close(relation, pg_sys::NoLock as i32);
    }
    done
}

/// Writes zeros where nothing stands.
///
/// # Safety
/// The buffer must hold a page of the relation and be locked for this process alone.
unsafe fn clean(relation: pg_sys::Relation, buffer: pg_sys::Buffer) {
    // SAFETY: the copy that is registered is a whole page; finishing writes it back with zeros
    // between its bounds.
    unsafe {
        let state = pg_sys::GenericXLogStart(relation);
        let flags = pg_sys::GENERIC_XLOG_FULL_IMAGE as i32;
        let copy = pg_sys::GenericXLogRegisterBuffer(state, buffer, flags).cast::<u8>();
        let page = Page(copy);
        for (from, to) in page.gaps() {
            ptr::write_bytes(copy.add(from), 0, to - from);
        }
        pg_sys::GenericXLogFinish(state);
    }
}

/// A page of a heap.
struct Page(*mut u8);

impl Page {
    /// # Safety
    /// The buffer must be pinned and locked as long as the page is used.
    unsafe fn of(buffer: pg_sys::Buffer) -> Self {
        // SAFETY: the caller vouches.
        Self(unsafe { pg_sys::BufferGetPage(buffer) }.cast())
    }

    fn header(&self) -> &pg_sys::PageHeaderData {
        // SAFETY: a page begins with its header and is aligned.
        unsafe { &*self.0.cast() }
    }

    /// The line pointers of rows that are stored: number, offset and length.
    fn rows(&self) -> impl Iterator<Item = (u16, usize, usize)> {
        let header = self.header();
        let before = std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp);
        let lines =
            usize::from(header.pd_lower).saturating_sub(before) / size_of::<pg_sys::ItemIdData>();
        // SAFETY: what is below pd_lower are line pointers.
        let lines = unsafe { header.pd_linp.as_slice(lines) };
        (1..).zip(lines).filter_map(|(number, line)| {
            let stored = line.lp_flags() == pg_sys::LP_NORMAL;
            stored.then(|| (number, line.lp_off() as usize, line.lp_len() as usize))
        })
    }

    /// Where nothing stands: the hole between line pointers and rows, and what fills each row up to
    /// the alignment of the next. A page that was never used has neither.
    fn gaps(&self) -> Vec<(usize, usize)> {
        let header = self.header();
        let (lower, upper) = (usize::from(header.pd_lower), usize::from(header.pd_upper));
        if upper == 0 || lower > upper || upper > PAGE {
            return Vec::new();
        }
        let fill = |(_, offset, length): (u16, usize, usize)| {
            let end = offset + length;
            (end, end.next_multiple_of(ALIGNMENT).min(PAGE))
        };
        let mut gaps: Vec<_> = self.rows().map(fill).collect();
        gaps.push((lower, upper));
        gaps
    }

    fn is_clean(&self) -> bool {
        // SAFETY: each gap is within the page.
        let zeros = |(from, to): (usize, usize)| unsafe {
            let bytes = std::slice::from_raw_parts(self.0.add(from), to.saturating_sub(from));
            bytes.iter().all(|byte| *byte == 0)
        };
        self.gaps().into_iter().all(zeros)
    }

    /// Whether rows stand in the page that are there for nobody, or soon will not be: deleted ones,
    /// old versions, and those of transactions that were rolled back.
    ///
    /// # Safety
    /// The page must be that of the block of the relation in the buffer.
    unsafe fn has_dead_rows(
        &self,
        relation: pg_sys::Relation,
        block: u32,
        buffer: pg_sys::Buffer,
        horizon: pg_sys::TransactionId,
    ) -> bool {
        self.rows().any(|(number, offset, length)| {
            let mut row = pg_sys::HeapTupleData {
                t_len: length as u32,
                t_self: pg_sys::ItemPointerData {
                    ip_blkid: pg_sys::BlockIdData {
                        bi_hi: (block >> 16) as u16,
                        bi_lo: block as u16,
                    },
                    ip_posid: number,
                },
                // SAFETY: the caller vouches; the row stands at this offset of the page.
                t_tableOid: unsafe { (*relation).rd_id },
                // SAFETY: the same.
                t_data: unsafe { self.0.add(offset) }.cast(),
            };
            // SAFETY: the row is one of the buffer, which is locked.
            let state = unsafe { pg_sys::HeapTupleSatisfiesVacuum(&mut row, horizon, buffer) };
            use pg_sys::HTSV_Result::{HEAPTUPLE_INSERT_IN_PROGRESS, HEAPTUPLE_LIVE};
            !matches!(state, HEAPTUPLE_LIVE | HEAPTUPLE_INSERT_IN_PROGRESS)
        })
    }
}

/// Bytes of a page.
const PAGE: usize = pg_sys::BLCKSZ as usize;

/// What rows are aligned to.
const ALIGNMENT: usize = pg_sys::MAXIMUM_ALIGNOF as usize;
