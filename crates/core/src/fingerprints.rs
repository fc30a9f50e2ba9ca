//! A table from fingerprints of values to numbers, for a look-up a row: an entry is sixteen bytes, and
//! nearly every look-up reads one line of the processor's cache.

/// Numbers by fingerprint.
///
/// A fingerprint is kept as 96 bits of a mixture of all of it by the table's keys, so that two unlike
/// ones are taken for equal once in 2^96 pairs, which nobody who does not know the keys can choose.
#[derive(Clone, Debug)]
pub struct Table {
    keys: [u128; 3],
    /// 96 bits of the mixture above the number, of which one more is written: zero is an empty place.
    entries: Vec<u128>,
    length: usize,
}

/// Places of an empty table.
const FEWEST: usize = 16;

impl Table {
    /// An empty table. Keys are to be secret from whoever chooses fingerprints.
    pub fn new(keys: [u128; 3]) -> Self {
        Self {
            keys: [keys[0], keys[1] | 1, keys[2] | 1],
            entries: vec![0; FEWEST],
            length: 0,
        }
    }

    /// How many fingerprints there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The number of a fingerprint.
    #[inline]
    pub fn get(&self, fingerprint: u128) -> Option<u32> {
        let mixed = self.mixed(fingerprint);
        let entry = self.entries[self.place(mixed)];
        (entry != 0).then(|| (entry as u32).wrapping_sub(1))
    }

    /// Gives a fingerprint a number below [`u32::MAX`], in place of the one it had.
    pub fn insert(&mut self, fingerprint: u128, number: u32) {
        let mixed = self.mixed(fingerprint);
        let place = self.place(mixed);
        let is_new = self.entries[place] == 0;
        self.entries[place] = mixed >> 32 << 32 | u128::from(number.wrapping_add(1));
        if is_new {
            self.length += 1;
            if self.length * 2 > self.entries.len() {
                self.grow();
            }
        }
    }

    /// Depends on all bits of the fingerprint, and no two have the same.
    #[inline]
    fn mixed(&self, fingerprint: u128) -> u128 {
        let [first, second, third] = self.keys;
        let mut mixed = (fingerprint ^ first).wrapping_mul(second);
        mixed ^= mixed >> 64;
        mixed = mixed.wrapping_mul(third);
        mixed ^ mixed >> 64
    }

    /// Where an entry of this mixture is, or the empty place where it would be.
    #[inline]
    fn place(&self, mixed: u128) -> usize {
        let last = self.entries.len() - 1;
        let mut place = (mixed >> 32) as usize & last;
        loop {
            let entry = self.entries[place];
            if entry == 0 || entry >> 32 == mixed >> 32 {
                return place;
            }
            place = (place + 1) & last;
        }
    }

    fn grow(&mut self) {
        let twice = vec![0; self.entries.len() * 2];
        for entry in std::mem::replace(&mut self.entries, twice) {
            if entry != 0 {
                let place = self.place(entry);
                self.entries[place] = entry;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [u128; 3] = [
        0x1234_5678_9abc_def0_0fed_cba9_8765_4321,
        0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834,
        0xc2b2_ae3d_27d4_eb4f_1656_67b1_9e37_79f9,
    ];

    #[test]
    fn numbers_are_found_by_all_of_the_fingerprint() {
        let mut table = Table::new(KEYS);
        assert!(table.is_empty());
        // Keys that differ in the lowest, the middle and the highest bits alone.
        let of = |n: u128| [n, n << 40, n << 96];
        for n in 1..=3_000_u32 {
            for (kind, fingerprint) in (0..).zip(of(n.into())) {
                table.insert(fingerprint, n * 3 + kind);
            }
        }
        assert_eq!(table.len(), 9_000);
        for n in 1..=3_000_u32 {
            for (kind, fingerprint) in (0..).zip(of(n.into())) {
                assert_eq!(table.get(fingerprint), Some(n * 3 + kind));
            }
        }
        for n in 3_001..=6_000_u32 {
            assert!(
                of(n.into())
                    .iter()
                    .all(|absent| table.get(*absent).is_none())
            );
        }
    }

    #[test]
    fn the_last_number_counts() {
        let mut table = Table::new(KEYS);
        table.insert(0, 7);
        table.insert(0, 0);
        table.insert(u128::MAX, u32::MAX - 1);
        assert_eq!(table.len(), 2);
        assert_eq!(table.get(0), Some(0));
        assert_eq!(table.get(u128::MAX), Some(u32::MAX - 1));
    }

    #[test]
    fn look_ups_stay_short_for_rows_of_numbers() {
        let mut table = Table::new(KEYS);
        for n in 0..50_000_u128 {
            table.insert(n * 1_000_003, n as u32);
        }
        let last = table.entries.len() - 1;
        let far = { table.entries.iter().enumerate() }
            .filter(|(_, entry)| **entry != 0)
            .map(|(place, entry)| place.wrapping_sub((entry >> 32) as usize & last) & last);
        assert!(far.max().is_some_and(|steps| steps < 64));
    }
}
