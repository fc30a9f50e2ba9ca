//! Rows of a heap, page by page: a scan calls into the server for each row, and takes longer over that than
//! a look-up in memory does.

use pgrx::pg_sys;

use super::{Row, Snapshot};

/// Hands over each row that the snapshot sees, of the whole table or of `blocks` (first and number).
///
/// # Safety
/// The relation must be an open heap, the snapshot one of MVCC.
pub(super) unsafe fn for_each(
    relation: pg_sys::Relation,
    blocks: Option<(u32, u32)>,
    widest: i16,
    snapshot: &Snapshot,
    each: &mut impl FnMut(&Row),
) {
    // SAFETY: the caller vouches. A row is used while its buffer is pinned, so that nobody moves or removes
    // it. On ERROR the resource owner gives buffers and slot back.
    unsafe {
        let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
        let all = pg_sys::RelationGetNumberOfBlocksInFork(relation, fork);
        let (first, number) = blocks.unwrap_or((0, all));
        let strategy = pg_sys::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_BULKREAD);
        let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
        let mut row = Row::new(slot, widest);
        let mut seen = Vec::new();
        for block in first..all.min(first.saturating_add(number)) {
            pgrx::check_for_interrupts!();
            let mode = pg_sys::ReadBufferMode::RBM_NORMAL;
            let buffer = pg_sys::ReadBufferExtended(relation, fork, block, mode, strategy);
            see(relation, block, buffer, snapshot, &mut seen);
            for tuple in &mut seen {
                row.tuple = tuple;
                row.outside.set(buffer);
                each(&row);
            }
            pg_sys::ReleaseBuffer(buffer);
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::FreeAccessStrategy(strategy);
    }
}

/// The rows of a page that the snapshot sees. They stay where they are as long as the buffer is pinned.
///
/// # Safety
/// The buffer must be pinned, and hold this block of the relation.
unsafe fn see(
    relation: pg_sys::Relation,
    block: u32,
    buffer: pg_sys::Buffer,
    snapshot: &Snapshot,
    seen: &mut Vec<pg_sys::HeapTupleData>,
) {
    seen.clear();
    // SAFETY: the caller vouches; the lock is held while line pointers and rows' headers are read.
    unsafe {
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
        let page = pg_sys::BufferGetPage(buffer).cast::<u8>();
        let header = page.cast::<pg_sys::PageHeaderData>();
        let size = std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp);
        let lines = usize::from((*header).pd_lower).saturating_sub(size)
            / std::mem::size_of::<pg_sys::ItemIdData>();
        let lines = (*header).pd_linp.as_slice(lines);
        // A standby may have older snapshots than the server that set the mark.
        let all = u32::from((*header).pd_flags) & pg_sys::PD_ALL_VISIBLE != 0
            && !(*snapshot.0).takenDuringRecovery;
        for (number, line) in (1..).zip(lines) {
            if line.lp_flags() != pg_sys::LP_NORMAL {
                continue;
            }
            let mut tuple = pg_sys::HeapTupleData {
                t_len: line.lp_len(),
                t_self: pg_sys::ItemPointerData {
                    ip_blkid: pg_sys::BlockIdData {
                        bi_hi: (block >> 16) as u16,
                        bi_lo: block as u16,
                    },
                    ip_posid: number,
                },
                t_tableOid: (*relation).rd_id,
                t_data: page.add(line.lp_off() as usize).cast(),
            };
            if all
                || is_settled(tuple.t_data, snapshot)
                || pg_sys::HeapTupleSatisfiesVisibility(&mut tuple, snapshot.0, buffer)
            {
                seen.push(tuple);
            }
        }
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
    }
}

/// Whether the row's own header says that the snapshot sees it: whoever made it was done before anything
/// that the snapshot takes for running, and nobody removed it.
///
/// # Safety
/// It must be the header of a row, its buffer locked.
unsafe fn is_settled(header: pg_sys::HeapTupleHeader, snapshot: &Snapshot) -> bool {
    // SAFETY: the caller vouches; the header of a stored row holds transactions.
    unsafe {
        let marks = u32::from((*header).t_infomask);
        let made = (*header).t_choice.t_heap.t_xmin;
        let frozen = marks & pg_sys::HEAP_XMIN_FROZEN == pg_sys::HEAP_XMIN_FROZEN;
        let committed = marks & pg_sys::HEAP_XMIN_COMMITTED != 0;
        let (made, running) = (u32::from(made), u32::from((*snapshot.0).xmin));
        // Transaction ids are compared in a circle; those below 3 are none.
        let before = made >= 3 && running >= 3 && (made.wrapping_sub(running) as i32) < 0;
        marks & pg_sys::HEAP_XMAX_INVALID != 0 && (frozen || committed && before)
    }
}
