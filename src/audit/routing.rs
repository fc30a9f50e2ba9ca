//! The partition a row of the log belongs to, from the bounds PostgreSQL keeps of a partitioned table.

use pgrx::pg_sys;
use tenant_guard_core::month::stretch;

/// A partition, for a stretch of time in which no other one is meant.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) relation: pg_sys::Oid,
    /// Whether it is the one for what has no partition of its own.
    pub(super) is_default: bool,
    from: pg_sys::TimestampTz,
    until: pg_sys::TimestampTz,
}

impl Part {
    /// Whether a row of this time belongs there.
    pub(super) fn holds(&self, time: pg_sys::TimestampTz) -> bool {
        self.from <= time && time < self.until
    }
}

/// The partition that a row of this time belongs to; none where there is no such partition.
///
/// # Safety
/// `parent` must be an open table that is partitioned by range of one timestamptz column.
pub(super) unsafe fn part_of(parent: pg_sys::Relation, time: pg_sys::TimestampTz) -> Option<Part> {
    // SAFETY: the descriptor lives as long as the relation is open. Of a table that is partitioned by
    // ranges of one column each bound is one value; `indexes` has one entry more than there are bounds.
    unsafe {
        let parts = &*pg_sys::RelationGetPartitionDesc(parent, true);
        if parts.nparts == 0 {
            return None;
        }
        let bounds = &*parts.boundinfo;
        let values: Vec<i64> = (0..bounds.ndatums as usize)
            .map(|at| match **bounds.kind.add(at) {
                pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MINVALUE => i64::MIN,
                pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MAXVALUE => i64::MAX,
                _ => (**bounds.datums.add(at)).value() as i64,
            })
            .collect();
        let (below, from, until) = stretch(&values, time);
        let of_stretch = match bounds.ndatums {
            0 => -1,
            _ => *bounds.indexes.add(below),
        };
        let is_default = of_stretch < 0;
        let index = if is_default {
            bounds.default_index
        } else {
            of_stretch
        };
        (index >= 0).then(|| Part {
            relation: *parts.oids.add(index as usize),
            is_default,
            from,
            until,
        })
    }
}
