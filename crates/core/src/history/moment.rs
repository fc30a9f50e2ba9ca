//! Which transactions had happened at a moment.

use std::collections::HashMap;

use crate::ledger::Snapshot;

/// Whether a transaction counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// It had been committed.
    Yes,
    /// It had not.
    No,
    /// Blocks do not tell: its own time decides.
    Ask,
}

/// The transactions that had been committed at a moment, as far as blocks tell.
#[derive(Debug, Default)]
pub struct Counted {
    /// By incarnation: what had been committed, and what had not begun to be.
    bounds: HashMap<i64, (Option<Snapshot>, Option<Snapshot>)>,
    /// Whether a snapshot decides, not a time.
    exact: bool,
}

impl Counted {
    /// Those that a snapshot of this incarnation sees, and all of earlier ones.
    pub fn of_snapshot(incarnation: i64, snapshot: Snapshot) -> Self {
        let both = (Some(snapshot.clone()), Some(snapshot));
        Self {
            bounds: HashMap::from([(incarnation, both)]),
            exact: true,
        }
    }

    /// Notes what blocks say of an incarnation: the snapshot of the last block sealed by the moment,
    /// and one that was taken after it.
    pub fn bound(&mut self, incarnation: i64, before: Option<Snapshot>, after: Option<Snapshot>) {
        self.bounds.insert(incarnation, (before, after));
    }

    /// Whether a transaction counts.
    pub fn judge(&self, incarnation: i64, xid: i64) -> Counts {
        match self.bounds.get(&incarnation) {
            Some((Some(before), _)) if before.contains(xid) => Counts::Yes,
            Some((_, Some(after))) if !after.contains(xid) => Counts::No,
            None if self.exact => Counts::Yes,
            _ => Counts::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_decide_where_they_can() {
        let snapshot = |text: &str| Some(text.parse::<Snapshot>().expect("a snapshot"));
        let mut counted = Counted::default();
        counted.bound(1, snapshot("5:10:7"), snapshot("10:20:12"));
        let judged = [4, 7, 9, 11, 12, 20].map(|xid| counted.judge(1, xid));
        use Counts::{Ask, No, Yes};
        assert_eq!(judged, [Yes, Ask, Yes, Ask, No, No]);
        assert_eq!(counted.judge(2, 1), Ask);
        let exact = Counted::of_snapshot(1, "5:10:7".parse().expect("a snapshot"));
        assert_eq!([4, 7, 10].map(|xid| exact.judge(1, xid)), [Yes, No, No]);
        assert_eq!(exact.judge(2, 99), Yes);
    }
}
