//! Sets of numbers made of ranges.

use std::collections::BTreeMap;

/// Ranges that do not touch, by their first number.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<usize, usize>);

impl Spans {
    /// Adds the numbers from `first` to `last`; the ranges of those that were not in it before.
    pub(super) fn add(&mut self, first: usize, last: usize) -> Vec<(usize, usize)> {
        let mut new = Vec::new();
        if first > last {
            return new;
        }
        let before = self.0.range(..first).next_back();
        let mut begin = match before {
            Some((begin, end)) if end.checked_add(1).is_none_or(|next| next >= first) => *begin,
            _ => first,
        };
        let (mut next, mut end) = (Some(first), last);
        while let Some((from, to)) = { self.0.range(begin..) }
            .next()
            .map(|(from, to)| (*from, *to))
            .filter(|(from, _)| *from <= last.saturating_add(1))
        {
            if let Some(gap) = next
                && gap < from
            {
                new.push((gap, from - 1));
            }
            // Nothing is behind the last number there is.
            next = next.and_then(|gap| Some(gap.max(to.checked_add(1)?)));
            self.0.remove(&from);
            begin = begin.min(from);
            end = end.max(to);
        }
        if let Some(gap) = next.filter(|gap| *gap <= last) {
            new.push((gap, last));
        }
        self.0.insert(begin, end);
        new
    }

    /// Whether a number is in it.
    pub(super) fn contains(&self, number: usize) -> bool {
        let before = self.0.range(..=number).next_back();
        before.is_some_and(|(_, last)| number <= *last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_new_is_told_once(ranges in prop::collection::vec((0_usize..40, 0_usize..12), 0..30)) {
            let (mut spans, mut all) = (Spans::default(), BTreeSet::new());
            for (first, length) in ranges {
                let fresh: Vec<_> = (first..=first + length).filter(|n| !all.contains(n)).collect();
                all.extend(fresh.iter().copied());
                let told = spans.add(first, first + length).into_iter();
                prop_assert_eq!(told.flat_map(|(a, b)| a..=b).collect::<Vec<_>>(), fresh);
            }
            for number in 0..60 {
                prop_assert_eq!(spans.contains(number), all.contains(&number));
            }
        }
    }

    #[test]
    fn ranges_reach_to_the_end_of_numbers() {
        let mut spans = Spans::default();
        assert_eq!(spans.add(5, usize::MAX), [(5, usize::MAX)]);
        assert_eq!(spans.add(0, usize::MAX), [(0, 4)]);
        assert_eq!(spans.add(9, usize::MAX), []);
        assert_eq!(spans.add(3, 2), []);
        assert!(spans.contains(usize::MAX) && spans.contains(0));
    }
}
