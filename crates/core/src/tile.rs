//! The layout of a log as files, C2SP `tlog-tiles` (<https://c2sp.org/tlog-tiles>).

use crate::merkle::{Frontier, Hash};

/// Hashes, or entries, of a whole tile.
const WIDTH: usize = 256;

/// A number as elements of a path: `x001/x234/067`.
pub fn number_path(number: u64) -> String {
    let mut path = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

/// Cuts the leaves of a growing tree into tiles. Holds the unfinished tile of each level.
#[derive(Clone, Debug, Default)]
pub struct Tiles {
    levels: Vec<Level>,
    entries: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Level {
    /// Whole tiles so far.
    done: u64,
    hashes: Vec<Hash>,
}

/// An entry is longer than the layout can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry of more than 65535 bytes")]
pub struct LongEntry;

impl Tiles {
    /// Takes the next leaf with the entry it is the hash of, and hands over each file that is
    /// whole by now: path below the prefix of the log, and content.
    pub fn append(
        &mut self,
        leaf: Hash,
        entry: &[u8],
        mut whole: impl FnMut(String, &[u8]),
    ) -> Result<(), LongEntry> {
        let length = u16::try_from(entry.len()).map_err(|_| LongEntry)?;
        self.entries.extend(length.to_be_bytes());
        self.entries.extend(entry);
        let mut hash = leaf;
        for number in 0.. {
            if self.levels.len() == number {
                self.levels.push(Level::default());
            }
            let level = &mut self.levels[number];
            level.hashes.push(hash);
            if level.hashes.len() < WIDTH {
                break;
            }
            let path = number_path(level.done);
            if number == 0 {
                whole(format!("tile/entries/{path}"), &self.entries);
                self.entries.clear();
            }
            whole(format!("tile/{number}/{path}"), level.hashes.as_flattened());
            level.done += 1;
            hash = root(&level.hashes);
            level.hashes.clear();
        }
        Ok(())
    }

    /// Hands over the tiles that are not whole at the end.
    pub fn finish(self, mut partial: impl FnMut(String, &[u8])) {
        for (number, level) in self.levels.iter().enumerate() {
            let width = level.hashes.len();
            if width == 0 {
                continue;
            }
            let path = format!("{}.p/{width}", number_path(level.done));
            if number == 0 {
                partial(format!("tile/entries/{path}"), &self.entries);
            }
            partial(format!("tile/{number}/{path}"), level.hashes.as_flattened());
        }
    }
}

fn root(hashes: &[Hash]) -> Hash {
    let mut tree = Frontier::new();
    hashes.iter().for_each(|hash| tree.append(*hash));
    tree.root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::leaf_hash;
    use std::collections::BTreeMap;

    #[test]
    fn numbers_are_paths_as_the_specification_says() {
        let known = [
            (0, "000"),
            (67, "067"),
            (1_000, "x001/000"),
            (1_234_067, "x001/x234/067"),
        ];
        for (number, path) in known {
            assert_eq!(number_path(number), path);
        }
    }

    fn files(leaves: u64) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut add = |path, content: &[u8]| {
            assert_eq!(files.insert(path, content.to_vec()), None);
        };
        let mut tiles = Tiles::default();
        for n in 0..leaves {
            let entry = n.to_be_bytes();
            tiles
                .append(leaf_hash(&entry), &entry, &mut add)
                .expect("a short entry");
        }
        tiles.finish(&mut add);
        files
    }

    /// The two examples of the specification.
    #[test]
    fn a_tree_has_the_tiles_the_specification_counts() {
        let widths = |size| -> BTreeMap<(String, usize), usize> {
            let mut widths = BTreeMap::new();
            for (path, content) in files(size) {
                let level = path.split('/').nth(1).expect("a level").to_owned();
                if level != "entries" {
                    *widths.entry((level, content.len() / 32)).or_default() += 1;
                }
            }
            widths
        };
        let level = |n: usize, width| (n.to_string(), width);
        let large = [
            (level(0, 256), 273),
            (level(0, 112), 1),
            (level(1, 256), 1),
            (level(1, 17), 1),
            (level(2, 1), 1),
        ];
        assert_eq!(widths(70_000), large.into());
        let small = [(level(0, 256), 1), (level(1, 1), 1)];
        assert_eq!(widths(256), small.into());
        assert_eq!(widths(0), BTreeMap::new());
    }

    #[test]
    fn entries_hash_to_their_leaves_and_tiles_to_those_above() {
        let files = files(600);
        let entries = &files["tile/entries/001"];
        assert_eq!(&entries[..10], b"\0\x08\0\0\0\0\0\0\x01\0");
        assert_eq!(files["tile/entries/002.p/88"].len(), 88 * 10);
        let below = &files["tile/0/001"];
        let (hashes, []) = below.as_chunks::<32>() else {
            panic!("a tile holds whole hashes");
        };
        assert_eq!(files["tile/1/000.p/2"][32..], root(hashes));
    }

    #[test]
    fn an_entry_too_long_for_its_length_is_refused() {
        let mut tiles = Tiles::default();
        let long = vec![0; 65_536];
        assert_eq!(tiles.append([0; 32], &long, |_, _| {}), Err(LongEntry));
    }
}
