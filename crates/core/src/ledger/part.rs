//! Dividing a verification between several sessions.

/// One of several parts of a verification, which together find what the whole one finds.
///
/// The first looks at all that stands in an order: blocks, leaves, trees and accounts. It takes an
/// event's leaf hash as it is stored, and reads the events of a block themselves only where that
/// does not give the sealed trees. The others compare each event with its leaf hash, each those of
/// its own blocks. An event that was changed is found there, a leaf hash that was changed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    number: i64,
    of: i64,
}

/// What is read of the events of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The events and their contexts.
    Events,
    /// Account and leaf hash of each event, as stored.
    Leaves,
    /// Nothing.
    Nothing,
}

impl Part {
    /// All there is.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// Most parts there can be: more than a server has processors.
    pub const MOST: i32 = 1024;

    /// Part `number`, counted from 1, `of` so many; none where there is no such part.
    pub fn new(number: i32, of: i32) -> Option<Self> {
        let possible = 1 <= number && number <= of && of <= Self::MOST;
        possible.then_some(Self {
            number: number.into(),
            of: of.into(),
        })
    }

    /// Whether this is the part of blocks, leaves, trees and accounts.
    pub fn has_trees(self) -> bool {
        self.number == 1
    }

    /// How the events of a block are read.
    pub fn depth(self, block: i64) -> Depth {
        match (self.compares_events(block), self.has_trees()) {
            (true, _) => Depth::Events,
            (false, true) => Depth::Leaves,
            (false, false) => Depth::Nothing,
        }
    }

    /// Trees are taken to need about two thirds of the time of comparing events. So of two parts the first
    /// compares the events of each fourth block, of more it compares none.
    fn compares_events(self, block: i64) -> bool {
        match self.of {
            1 => true,
            2 => (block.rem_euclid(4) == 0) == self.has_trees(),
            of => block.rem_euclid(of - 1) == self.number - 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_each_block_are_compared_by_one_part() {
        for of in 1..9 {
            for block in -9..99 {
                let parts = (1..=of).map(|number| Part::new(number, of).expect("a part"));
                let depths: Vec<Depth> = parts.map(|part| part.depth(block)).collect();
                let compared = depths.iter().filter(|depth| **depth == Depth::Events);
                assert_eq!(compared.count(), 1, "{of} parts, block {block}");
                assert_ne!(depths[0], Depth::Nothing);
            }
        }
    }

    #[test]
    fn there_is_no_other_part() {
        for (number, of) in [(0, 1), (2, 1), (-1, 2), (1, 0), (1, Part::MOST + 1)] {
            assert_eq!(Part::new(number, of), None, "{number} of {of}");
        }
        assert_eq!(Part::new(1, 1), Some(Part::WHOLE));
    }
}
