//! Which transactions a block covers.

use std::fmt;
use std::str::FromStr;

/// The transactions a snapshot sees, in the form of PostgreSQL's `pg_snapshot`: all below `xmax`
/// but those in `xip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    xmin: i64,
    xmax: i64,
    xip: Vec<i64>,
}

/// Transaction ids that one snapshot sees and an earlier one did not: those in `from..until` that
/// are not in `except`, and those in `late`. Both lists are sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XidRanges {
    /// First id of the range.
    pub from: i64,
    /// First id after the range.
    pub until: i64,
    /// Ids in the range that the later snapshot does not see either.
    pub except: Vec<i64>,
    /// Ids below the range: in progress for the earlier snapshot, over for the later one.
    pub late: Vec<i64>,
}

impl XidRanges {
    /// Leaves out those below `xid`.
    pub fn skip_to(&mut self, xid: i64) {
        self.from = self.from.max(xid);
        self.late.retain(|late| *late >= xid);
    }

    /// Whether `xid` is one of them.
    pub fn contains(&self, xid: i64) -> bool {
        if xid < self.from {
            self.late.binary_search(&xid).is_ok()
        } else {
            xid < self.until && self.except.binary_search(&xid).is_err()
        }
    }
}

/// What stands before the first block of an incarnation. It sees nothing, not even ids below 0,
/// which no transaction has and only a forged event can.
impl Default for Snapshot {
    fn default() -> Self {
        Self::below(i64::MIN)
    }
}

impl Snapshot {
    /// The snapshot that sees every transaction below `xmax`.
    pub fn below(xmax: i64) -> Self {
        Self {
            xmin: xmax,
            xmax,
            xip: Vec::new(),
        }
    }

    /// First transaction id not yet assigned when the snapshot was taken.
    pub fn xmax(&self) -> i64 {
        self.xmax
    }

    /// The same, but with at most `most` transactions in its list: it ends before the first that
    /// has no place there. One taken later and cut alike sees all that this one sees.
    pub fn cut(mut self, most: usize) -> Self {
        if let Some(&first) = self.xip.get(most) {
            self.xmax = first;
            self.xip.truncate(most);
        }
        self
    }

    /// Whether the snapshot sees the transaction.
    pub fn contains(&self, xid: i64) -> bool {
        xid < self.xmax && self.xip.binary_search(&xid).is_err()
    }

    /// Whether the snapshot sees whatever `previous` does, as one taken later must.
    pub fn sees_all_of(&self, previous: &Self) -> bool {
        self.xmax >= previous.xmax && !self.xip.iter().any(|xid| previous.contains(*xid))
    }

    /// What this snapshot sees and `previous`, taken earlier, did not. The ids of the range form
    /// can be looked up in an index without visiting what came before.
    pub fn ranges_since(&self, previous: &Self) -> XidRanges {
        let from = previous.xmax;
        XidRanges {
            from,
            until: self.xmax,
            except: self
                .xip
                .iter()
                .copied()
                .filter(|xid| *xid >= from)
                .collect(),
            late: previous
                .xip
                .iter()
                .copied()
                .filter(|xid| self.contains(*xid))
                .collect(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (n, xid) in self.xip.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{xid}")?;
        }
        Ok(())
    }
}

/// The text is not a snapshot as PostgreSQL writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid snapshot")]
pub struct InvalidSnapshot;

impl FromStr for Snapshot {
    type Err = InvalidSnapshot;

    fn from_str(text: &str) -> Result<Self, InvalidSnapshot> {
        let parse = || {
            let mut parts = text.splitn(3, ':');
            let xmin = parts.next()?.parse().ok()?;
            let xmax = parts.next()?.parse().ok()?;
            let xip = match parts.next()? {
                "" => Vec::new(),
                list => list
                    .split(',')
                    .map(|xid| xid.parse().ok())
                    .collect::<Option<Vec<i64>>>()?,
            };
            let sorted = xip.is_sorted_by(|a, b| a < b);
            let inside = xip.iter().all(|xid| (xmin..xmax).contains(xid));
            let snapshot = Self { xmin, xmax, xip };
            // Comparing with the canonical text refuses signs and leading zeros.
            let canonical = snapshot.to_string() == text;
            (0 <= xmin && xmin <= xmax && sorted && inside && canonical).then_some(snapshot)
        };
        parse().ok_or(InvalidSnapshot)
    }
}

/// Incarnations whose events a block takes over although they were written elsewhere: those that
/// a dump carried along unsealed. Text form `<16 hex digits>:<bound>`, joined by commas, in
/// ascending order of the signed incarnation; empty when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted(Vec<(i64, i64)>);

impl Adopted {
    /// Takes pairs of an incarnation and the first transaction id it does *not* take over.
    /// `None` when an incarnation stands twice or an id is negative.
    pub fn new(mut bounds: Vec<(i64, i64)>) -> Option<Self> {
        bounds.sort_unstable();
        let distinct = bounds.is_sorted_by(|a, b| a.0 < b.0);
        (distinct && bounds.iter().all(|(_, xmax)| *xmax >= 0)).then_some(Self(bounds))
    }

    /// The incarnations in order, each with the snapshot that sees what is taken over of it.
    pub fn iter(&self) -> impl Iterator<Item = (i64, Snapshot)> {
        self.0
            .iter()
            .map(|(incarnation, xmax)| (*incarnation, Snapshot::below(*xmax)))
    }
}

impl fmt::Display for Adopted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (incarnation, xmax)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{incarnation:016x}:{xmax}")?;
        }
        Ok(())
    }
}

/// The text is not a list of adopted incarnations in its one canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid list of adopted incarnations")]
pub struct InvalidAdopted;

impl FromStr for Adopted {
    type Err = InvalidAdopted;

    fn from_str(text: &str) -> Result<Self, InvalidAdopted> {
        let pair = |item: &str| {
            let (incarnation, xmax) = item.split_once(':')?;
            let incarnation = u64::from_str_radix(incarnation, 16).ok()? as i64;
            Some((incarnation, xmax.parse().ok()?))
        };
        let parse = || {
            let items = if text.is_empty() {
                Vec::new()
            } else {
                text.split(',').collect()
            };
            let adopted = Self::new(items.into_iter().map(pair).collect::<Option<_>>()?)?;
            (adopted.to_string() == text).then_some(adopted)
        };
        parse().ok_or(InvalidAdopted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_forms_are_canonical() {
        for text in [
            "0:0:",
            "10:10:",
            "10:20:",
            "10:20:10,14,19",
            "1:9223372036854775807:5",
        ] {
            assert_eq!(
                text.parse::<Snapshot>().map(|s| s.to_string()).as_deref(),
                Ok(text)
            );
        }
        for text in [
            "",
            "10",
            "10:20",
            "20:10:",
            "+1:2:",
            "01:2:",
            "10:20:14,10",
            "10:20:10,10",
            "10:20:20",
            "10:20:9",
            "10:20:,",
            "10:20:10,",
            " 10:20:",
            "-1:2:",
        ] {
            assert_eq!(text.parse::<Snapshot>(), Err(InvalidSnapshot), "{text}");
        }
        for text in [
            "",
            "0000000000000001:5",
            "ffffffffffffffff:7,0000000000000001:5",
        ] {
            assert_eq!(
                text.parse::<Adopted>().map(|a| a.to_string()).as_deref(),
                Ok(text)
            );
        }
        for text in [
            ",",
            "1:5",
            "0000000000000001:-5",
            "0000000000000001",
            "000000000000000A:5",
            "0000000000000001:5,ffffffffffffffff:7",
            "0000000000000001:5,0000000000000001:6",
        ] {
            assert_eq!(text.parse::<Adopted>(), Err(InvalidAdopted), "{text}");
        }
    }

    #[test]
    fn a_long_list_is_cut() {
        let cut = |text: &str, most| text.parse().map(|s: Snapshot| s.cut(most).to_string());
        assert_eq!(cut("3:20:3,5,9", 3).as_deref(), Ok("3:20:3,5,9"));
        assert_eq!(cut("3:20:3,5,9", 2).as_deref(), Ok("3:9:3,5"));
        assert_eq!(cut("3:20:3,5,9", 0).as_deref(), Ok("3:3:"));
        assert_eq!(cut("20:20:", 0).as_deref(), Ok("20:20:"));
    }

    /// A history of transactions as (start, end) instants: ids are given out in order of start.
    fn history() -> impl Strategy<Value = Vec<(u32, u32)>> {
        prop::collection::vec((0u32..200, 1u32..80), 0..60).prop_map(|mut spans| {
            spans.sort_unstable();
            spans
                .into_iter()
                .map(|(start, length)| (start, start + length))
                .collect()
        })
    }

    fn snapshot_at(history: &[(u32, u32)], now: u32) -> Snapshot {
        let started = history.iter().take_while(|(start, _)| *start < now).count() as i64;
        let xip: Vec<i64> = (0..started)
            .filter(|xid| history[*xid as usize].1 >= now)
            .collect();
        Snapshot {
            xmin: xip.first().copied().unwrap_or(started),
            xmax: started,
            xip,
        }
    }

    proptest! {
        /// Sealing by snapshot difference neither loses nor repeats a transaction.
        #[test]
        fn each_finished_transaction_falls_into_exactly_one_block(
            history in history(),
            mut rounds in prop::collection::vec(0u32..300, 0..20),
            most in 0usize..40,
        ) {
            rounds.sort_unstable();
            rounds.push(1000);
            let mut covered = vec![0; history.len()];
            let mut previous = Snapshot::below(0);
            for now in rounds {
                let snapshot = snapshot_at(&history, now).cut(most);
                let ranges = snapshot.ranges_since(&previous);
                for (xid, (_, end)) in history.iter().enumerate() {
                    let xid = xid as i64;
                    let difference = snapshot.contains(xid) && !previous.contains(xid);
                    prop_assert_eq!(ranges.contains(xid), difference);
                    prop_assert!(!difference || *end < now);
                    covered[xid as usize] += u32::from(difference);
                }
                let text = snapshot.to_string();
                prop_assert_eq!(text.parse::<Snapshot>(), Ok(snapshot.clone()));
                previous = snapshot;
            }
            prop_assert!(covered.iter().all(|times| *times == 1), "{:?}", covered);
        }
    }
}
