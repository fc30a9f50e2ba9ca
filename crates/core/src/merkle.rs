//! Merkle trees of RFC 6962 section 2.1, kept as a compact range.
//!
//! A tree that only grows needs no more than the roots of its complete subtrees: one for each bit
//! set in its size, so at most 64 hashes whatever it holds.

use sha2::{Digest, Sha256};

/// A SHA-256 value.
pub type Hash = [u8; 32];

const LEAF: u8 = 0x00;
const NODE: u8 = 0x01;

/// Hash of a leaf with the given content: `SHA-256(0x00 || content)`.
pub fn leaf_hash(content: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([LEAF])
        .chain_update(content)
        .finalize()
        .into()
}

/// Root of a tree without leaves: `SHA-256("")`.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Hash of a node: `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut content = [0; 65];
    content[0] = NODE;
    content[1..33].copy_from_slice(left);
    content[33..].copy_from_slice(right);
    Sha256::digest(content).into()
}

/// A growing tree: its size and the roots of its complete subtrees, the largest (leftmost) first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of `size` leaves whose [`state`](Self::state) is `state`; `None` when the state
    /// does not hold one hash for each bit set in `size`.
    pub fn from_state(size: u64, state: &[u8]) -> Option<Self> {
        let (subtrees, rest) = state.as_chunks::<32>();
        let fits = rest.is_empty() && subtrees.len() == size.count_ones() as usize;
        fits.then(|| Self {
            size,
            subtrees: subtrees.to_vec(),
        })
    }

    /// The hashes of the complete subtrees, one after the other, the largest subtree first.
    pub fn state(&self) -> &[u8] {
        self.subtrees.as_flattened()
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf, given by its hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Each trailing one bit of the old size is a complete subtree as large as what `hash`
        // covers by now: the two become one.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    /// The leaves from `start` on as a tree of their own, where the state shows them as one: they
    /// are a subtree, and not yet half of a larger complete one. `None` where they are not, or
    /// `start` lies past the end.
    pub fn since(&self, start: u64) -> Option<Self> {
        let size = self.size.checked_sub(start)?;
        // Adding the two sizes must not carry: then the state is that of the one and the other.
        let shown = size == 0
            || start.is_multiple_of(size.checked_next_power_of_two()?) && start & size == 0;
        let first = self
            .subtrees
            .len()
            .checked_sub(size.count_ones() as usize)?;
        shown.then(|| Self {
            size,
            subtrees: self.subtrees[first..].to_vec(),
        })
    }

    /// The Merkle tree hash of the leaves so far.
    pub fn root(&self) -> Hash {
        let mut smallest_first = self.subtrees.iter().rev();
        match smallest_first.next() {
            Some(last) => smallest_first.fold(*last, |right, left| node_hash(left, &right)),
            None => empty_root(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// MTH of RFC 6962 section 2.1, as it is written there.
    fn tree_hash(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(&tree_hash(left), &tree_hash(right))
            }
        }
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    proptest! {
        #[test]
        fn frontier_agrees_with_the_rfc(count in 0usize..600) {
            let leaves = leaves(count);
            let mut frontier = Frontier::new();
            leaves.iter().for_each(|leaf| frontier.append(*leaf));
            prop_assert_eq!(frontier.size(), count as u64);
            prop_assert_eq!(frontier.root(), tree_hash(&leaves));
        }

        #[test]
        fn a_stored_state_continues_the_same_tree(before in 0usize..200, after in 0usize..200) {
            let leaves = leaves(before + after);
            let mut frontier = Frontier::new();
            leaves[..before].iter().for_each(|leaf| frontier.append(*leaf));
            let stored = frontier.state().to_vec();
            let mut restored = Frontier::from_state(before as u64, &stored).expect("own state");
            prop_assert_eq!(&restored, &frontier);
            leaves[before..].iter().for_each(|leaf| restored.append(*leaf));
            prop_assert_eq!(restored.root(), tree_hash(&leaves));
        }
    }

    #[test]
    fn the_end_of_a_tree_is_a_tree_where_it_is_a_subtree() {
        for size in 0..70 {
            let leaves = leaves(size);
            let mut whole = Frontier::new();
            leaves.iter().for_each(|leaf| whole.append(*leaf));
            for start in 0..=size + 1 {
                let found = whole.since(start as u64);
                let length = size.checked_sub(start);
                let is_subtree = length.is_some_and(|length| {
                    length == 0
                        || start & length == 0 && start.is_multiple_of(length.next_power_of_two())
                });
                assert_eq!(found.is_some(), is_subtree, "{start} of {size}");
                if let Some(found) = found {
                    assert_eq!(
                        found.root(),
                        tree_hash(&leaves[start..]),
                        "{start} of {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_state_of_another_size_is_refused() {
        assert_eq!(Frontier::from_state(0, &[]), Some(Frontier::new()));
        assert_eq!(Frontier::from_state(1, &[]), None);
        assert_eq!(Frontier::from_state(3, &[0; 32]), None);
        assert_eq!(Frontier::from_state(1, &[0; 31]), None);
        assert_eq!(Frontier::from_state(1, &[0; 33]), None);
        assert_eq!(Frontier::from_state(2, &[0; 64]), None);
    }
}
