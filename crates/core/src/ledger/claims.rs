//! Which events belong to which block.

use std::collections::BTreeMap;

use super::{Adopted, Snapshot, XidRanges};

/// Events of one incarnation that a block holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Database the events were written in.
    pub incarnation: i64,
    /// Their transactions.
    pub xids: XidRanges,
}

/// What the blocks so far hold of each incarnation.
///
/// A block claims of its own incarnation what its snapshot sees, of each adopted one what lies
/// below the bound, always less what an earlier block claimed. Sealing and verification both
/// ask here, so they cannot disagree.
#[derive(Clone, Debug, Default)]
pub struct Claims(BTreeMap<i64, Snapshot>);

impl Claims {
    /// What blocks hold of the incarnation of the newest one, which its snapshot says by itself; of
    /// other incarnations nothing is known.
    pub fn of_newest(incarnation: i64, snapshot: Snapshot) -> Self {
        Self(BTreeMap::from([(incarnation, snapshot)]))
    }

    /// What the blocks so far hold of an incarnation.
    pub fn of(&self, incarnation: i64) -> Snapshot {
        self.0.get(&incarnation).cloned().unwrap_or_default()
    }

    /// The bound with which a block takes over all events of another incarnation up to the one
    /// with the highest transaction id, without giving back what an earlier block claimed.
    pub fn adoption_bound(&self, incarnation: i64, highest_xid: i64) -> i64 {
        self.of(incarnation)
            .xmax()
            .max(highest_xid.saturating_add(1))
            .max(0)
    }

    /// Adds a block and returns what it holds, in the order its events have: adopted incarnations
    /// first. Within a claim events are ordered by transaction and ordinal.
    pub fn add_block(
        &mut self,
        incarnation: i64,
        snapshot: Snapshot,
        adopted: &Adopted,
    ) -> Vec<Claim> {
        let own = std::iter::once((incarnation, snapshot));
        adopted
            .iter()
            .chain(own)
            .map(|(incarnation, snapshot)| {
                let previous = self.of(incarnation);
                let xids = snapshot.ranges_since(&previous);
                self.0.insert(incarnation, snapshot);
                Claim { incarnation, xids }
            })
            .collect()
    }
}
