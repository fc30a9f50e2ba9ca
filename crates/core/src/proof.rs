//! Inclusion and consistency proofs of RFC 6962 section 2.1, made and verified.
//!
//! A proof is a list of roots of subtrees. Which ones is known from numbers alone, so a proof is made
//! in two steps: the ranges of leaves, here, and the root of each, from wherever the leaves are.

use std::ops::Range;

use crate::merkle::{Frontier, Hash, node_hash};

/// The ranges of leaves whose roots make the proof that leaf `index` is in the tree of `size`
/// leaves, from the leaf's sibling upwards. `None` when there is no such leaf.
pub fn inclusion_ranges(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if index >= size {
        return None;
    }
    let (mut start, mut end) = (0, size);
    let mut ranges = Vec::new();
    while end - start > 1 {
        let middle = start + left_leaves(end - start);
        if index < middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            start = middle;
        }
    }
    ranges.reverse();
    Some(ranges)
}

/// The ranges of leaves whose roots make the proof that the tree of `new` leaves begins with the
/// tree of `old` leaves. `None` unless 1 <= old <= new.
pub fn consistency_ranges(old: u64, new: u64) -> Option<Vec<Range<u64>>> {
    if old == 0 || old > new {
        return None;
    }
    let (mut start, mut end) = (0, new);
    // Whether the subtree that ends at `old` is known to whoever verifies: the whole old tree is.
    let mut known = true;
    let mut ranges = Vec::new();
    while old < end {
        let middle = start + left_leaves(end - start);
        if old <= middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            start = middle;
            known = false;
        }
    }
    if !known {
        ranges.push(start..end);
    }
    ranges.reverse();
    Some(ranges)
}

/// Leaves of the left subtree of a tree of more than one: the largest power of two below `size`.
fn left_leaves(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The root a tree of `size` leaves has if `proof` shows that `leaf` is its leaf `index` (RFC 9162
/// section 2.1.3.2). `None` when the proof is of another shape.
pub fn root_of_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut root) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            root = node_hash(sibling, &root);
            let skipped = at.trailing_zeros().min(63);
            at >>= skipped;
            last >>= skipped;
        } else {
            root = node_hash(&root, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

/// Whether `proof` shows that the tree of size and root `new` begins with the tree of size and
/// root `old` (RFC 9162 section 2.1.4.2). A tree of no leaves is not the beginning of any: there
/// would be nothing to show.
pub fn is_consistent(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 || old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    // The old tree, where it is whole, is no part of the proof.
    let (first, rest) = match (old_size.is_power_of_two(), proof.split_first()) {
        (true, _) => (old_root, proof),
        (false, Some((first, rest))) => (*first, rest),
        (false, None) => return false,
    };
    let skipped = (old_size - 1).trailing_ones();
    let (mut at, mut last) = ((old_size - 1) >> skipped, (new_size - 1) >> skipped);
    let (mut old_found, mut new_found) = (first, first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_found = node_hash(sibling, &old_found);
            new_found = node_hash(sibling, &new_found);
            let skipped = at.trailing_zeros().min(63);
            at >>= skipped;
            last >>= skipped;
        } else {
            new_found = node_hash(&new_found, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old_found == old_root && new_found == new_root
}

/// Computes the roots of ranges of leaves while the leaves pass by once, in order. Memory is that
/// of the roots, whatever the number of leaves.
#[derive(Clone, Debug)]
pub struct RangeRoots {
    /// The ranges from the first leaf on, each with its place in the proof.
    ranges: Vec<(Range<u64>, usize)>,
    roots: Vec<Hash>,
    /// Range in hand, and the tree over its leaves so far.
    current: usize,
    tree: Frontier,
    position: u64,
}

impl RangeRoots {
    /// Begins; the ranges must be disjoint and not empty, as those of a proof are.
    pub fn new(ranges: Vec<Range<u64>>) -> Self {
        let roots = vec![[0; 32]; ranges.len()];
        let mut ranges: Vec<_> = ranges.into_iter().zip(0..).collect();
        ranges.sort_unstable_by_key(|(range, _)| range.start);
        Self {
            ranges,
            roots,
            current: 0,
            tree: Frontier::new(),
            position: 0,
        }
    }

    /// Takes the next leaf.
    pub fn append(&mut self, leaf: Hash) {
        let position = self.position;
        self.position += 1;
        let Some((range, place)) = self.ranges.get(self.current) else {
            return;
        };
        if range.contains(&position) {
            self.tree.append(leaf);
            if self.position == range.end {
                self.roots[*place] = std::mem::take(&mut self.tree).root();
                self.current += 1;
            }
        }
    }

    /// The roots in the order of the proof; `None` when leaves are missing.
    pub fn finish(self) -> Option<Vec<Hash>> {
        (self.current == self.ranges.len()).then_some(self.roots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::leaf_hash;
    use proptest::prelude::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    fn root(leaves: &[Hash]) -> Hash {
        let mut tree = Frontier::new();
        leaves.iter().for_each(|leaf| tree.append(*leaf));
        tree.root()
    }

    /// PATH of RFC 6962 section 2.1.1, as it is written there.
    fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(k);
        let (mut rest, sibling) = match m < k {
            true => (path(m, left), root(right)),
            false => (path(m - k, right), root(left)),
        };
        rest.push(sibling);
        rest
    }

    /// SUBPROOF of RFC 6962 section 2.1.2, as it is written there.
    fn subproof(m: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if known {
                Vec::new()
            } else {
                vec![root(leaves)]
            };
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(k);
        let (mut rest, sibling) = match m <= k {
            true => (subproof(m, left, known), root(right)),
            false => (subproof(m - k, right, false), root(left)),
        };
        rest.push(sibling);
        rest
    }

    fn streamed(ranges: Option<Vec<Range<u64>>>, leaves: &[Hash]) -> Vec<Hash> {
        let mut roots = RangeRoots::new(ranges.expect("numbers in range"));
        leaves.iter().for_each(|leaf| roots.append(*leaf));
        roots.finish().expect("all leaves given")
    }

    proptest! {
        #[test]
        fn inclusion_is_what_the_rfc_defines(size in 1u64..300, seed: u64, other: u64, bit: u8) {
            let (index, all) = (seed % size, leaves(size));
            let leaf = all[index as usize];
            let proof = streamed(inclusion_ranges(index, size), &all);
            prop_assert_eq!(&proof, &path(index as usize, &all));
            let good = root(&all);
            prop_assert_eq!(root_of_inclusion(leaf, index, size, &proof), Some(good));
            // Of another leaf, at another place or with another proof it is not that root.
            let place = other % size;
            let elsewhere = root_of_inclusion(leaf, place, size, &proof);
            prop_assert!(place == index || elsewhere != Some(good));
            if !proof.is_empty() {
                let mut edited = proof.clone();
                edited[other as usize % proof.len()][usize::from(bit) % 32] ^= 1 << (bit % 8);
                prop_assert_ne!(root_of_inclusion(leaf, index, size, &edited), Some(good));
                let shorter = &proof[..proof.len() - 1];
                prop_assert_ne!(root_of_inclusion(leaf, index, size, shorter), Some(good));
            }
            let mut longer = proof.clone();
            longer.push(good);
            prop_assert_ne!(root_of_inclusion(leaf, index, size, &longer), Some(good));
        }

        #[test]
        fn consistency_is_what_the_rfc_defines(new in 1u64..300, seed: u64, edit: usize) {
            let (old, all) = (seed % new + 1, leaves(new));
            let proof = streamed(consistency_ranges(old, new), &all);
            prop_assert_eq!(&proof, &subproof(old as usize, &all, true));
            let before = (old, root(&all[..old as usize]));
            let after = (new, root(&all));
            prop_assert!(is_consistent(before, after, &proof));
            // Neither with another tree before, nor another after, nor another proof.
            prop_assert!(!is_consistent((old, [7; 32]), after, &proof));
            prop_assert!(!is_consistent(before, (new, [7; 32]), &proof));
            if !proof.is_empty() {
                let mut edited = proof.clone();
                edited[edit % proof.len()][edit % 32] ^= 1;
                prop_assert!(!is_consistent(before, after, &edited));
                prop_assert!(!is_consistent(before, after, &proof[1..]));
            }
            let mut longer = proof.clone();
            longer.push([0; 32]);
            prop_assert!(!is_consistent(before, after, &longer));
        }

        #[test]
        fn hostile_sizes_are_refused_and_never_fail(
            index: u64, size: u64, old: u64, new: u64, count in 0usize..70,
        ) {
            let proof = vec![[1; 32]; count];
            let _ = root_of_inclusion([0; 32], index, size, &proof);
            prop_assert!(!is_consistent((old, [2; 32]), (new, [3; 32]), &proof));
            prop_assert!(inclusion_ranges(index, size).is_none_or(|ranges| ranges.len() <= 64));
            prop_assert!(consistency_ranges(old, new).is_none_or(|ranges| ranges.len() <= 65));
        }
    }

    #[test]
    fn a_proof_of_leaves_that_are_not_there_is_not_finished() {
        let mut roots = RangeRoots::new(inclusion_ranges(0, 3).expect("in range"));
        roots.append([0; 32]);
        roots.append([1; 32]);
        assert_eq!(roots.finish(), None);
        assert_eq!(inclusion_ranges(3, 3), None);
        assert_eq!(consistency_ranges(0, 3), None);
        assert_eq!(consistency_ranges(4, 3), None);
    }
}
