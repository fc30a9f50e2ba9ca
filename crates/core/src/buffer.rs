//! A ring of records in memory that several processes share: what is to go to the log, kept until it
//! is there, whatever becomes of the transaction that it comes from.
//!
//! The caller holds a lock around each call. Nothing here allocates as long as records are added.

/// Bytes of the ring's own state, at its beginning.
const HEADER: usize = 64;
/// Bytes of a record before its content.
const PREFIX: usize = 48;
const ALIGNMENT: usize = 8;

/// Smallest ring, in bytes.
pub const SMALLEST: usize = 4096;

/// Where a record stands: never that of another one, as long as the ring is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    /// A number for it, that of no other place of the ring.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What is counted of a record while it is in the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often it happened.
    pub times: u64,
    /// Of these, how many have not ended.
    pub open: u64,
    /// Of these, how many ended without a count of rows.
    pub unknown: u64,
    /// Rows of the others, together.
    pub rows: u64,
    /// Whether one of them had more rows than an export has.
    pub large: bool,
}

/// A record on its way out of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The number of its [`Place`].
    pub number: u64,
    /// When it was added, as the caller counts time.
    pub added_at: i64,
    /// What was counted.
    pub counts: Counts,
    /// The content it was added with.
    pub content: Vec<u8>,
}

/// The ring in its memory.
pub struct Ring<'a>(&'a mut [u8]);

/// Fields of the header.
#[derive(Clone, Copy)]
enum Field {
    /// Bytes ever written.
    Head = 0,
    /// Bytes ever given free.
    Tail = 1,
    /// Records that found no room and were not reported yet.
    Lost = 2,
    /// All records that ever found none.
    LostEver = 3,
}

/// Fields of a record.
#[derive(Clone, Copy)]
enum Part {
    /// Bytes it takes, prefix and padding included; with [`FILLER`] where it is none.
    Size = 0,
    /// Bytes of content.
    Length = 4,
    /// Since when one of its facts has not ended.
    OpenSince = 8,
    AddedAt = 16,
    Times = 24,
    Open = 28,
    Unknown = 32,
    /// Flags: [`LARGE`], [`TAKEN`], [`DONE`].
    Flags = 36,
    Rows = 40,
}

const FILLER: u32 = 1 << 31;
const LARGE: u32 = 1;
const TAKEN: u32 = 2;
const DONE: u32 = 4;

impl<'a> Ring<'a> {
    /// Makes a ring of memory that holds anything.
    pub fn format(memory: &'a mut [u8]) -> Self {
        memory[..HEADER].fill(0);
        Self(memory)
    }

    /// The ring that [`format`](Self::format) made.
    pub fn of(memory: &'a mut [u8]) -> Self {
        Self(memory)
    }

    /// Bytes there are for records.
    pub fn capacity(&self) -> usize {
        (self.0.len() - HEADER) / ALIGNMENT * ALIGNMENT
    }

    /// Bytes that records take now.
    pub fn used(&self) -> usize {
        (self.get(Field::Head) - self.get(Field::Tail)) as usize
    }

    /// Records that found no room, in all.
    pub fn lost_ever(&self) -> u64 {
        self.get(Field::LostEver)
    }

    /// Records that found no room since this was asked last.
    pub fn lost(&self) -> u64 {
        self.get(Field::Lost)
    }

    /// Counts records as reported.
    pub fn forget_lost(&mut self, reported: u64) {
        let left = self.get(Field::Lost).saturating_sub(reported);
        self.set(Field::Lost, left);
    }

    /// Counts a record that could not even be made.
    pub fn lose(&mut self) {
        self.set(Field::Lost, self.get(Field::Lost) + 1);
        self.set(Field::LostEver, self.get(Field::LostEver) + 1);
    }

    /// Adds a record that has begun; none, and counted, where there is no room. No record takes more
    /// than a sixteenth of the ring.
    pub fn add(&mut self, content: &[u8], now: i64) -> Option<Place> {
        let size = (PREFIX + content.len()).next_multiple_of(ALIGNMENT);
        let room = (size <= self.capacity() / 16).then(|| self.make_room(size));
        let Some(place) = room.flatten() else {
            self.lose();
            return None;
        };
        let at = self.offset(place);
        self.put_u32(at, Part::Size, size as u32);
        self.put_u32(at, Part::Length, content.len() as u32);
        self.put_u64(at, Part::OpenSince, now as u64);
        self.put_u64(at, Part::AddedAt, now as u64);
        self.put_u32(at, Part::Times, 1);
        self.put_u32(at, Part::Open, 1);
        self.put_u32(at, Part::Unknown, 0);
        self.put_u32(at, Part::Flags, 0);
        self.put_u64(at, Part::Rows, 0);
        self.0[at + PREFIX..at + PREFIX + content.len()].copy_from_slice(content);
        // Only now is it a record.
        self.set(Field::Head, place + size as u64);
        Some(Place(place))
    }

    /// Counts that a record's fact begins once more; false where it is on its way out.
    pub fn again(&mut self, place: Place, now: i64) -> bool {
        let Some(at) = self.present(place) else {
            return false;
        };
        let (times, open) = (self.u32(at, Part::Times), self.u32(at, Part::Open));
        if times == u32::MAX {
            return false;
        }
        self.put_u32(at, Part::Times, times + 1);
        self.put_u32(at, Part::Open, open + 1);
        if open == 0 {
            self.put_u64(at, Part::OpenSince, now as u64);
        }
        true
    }

    /// Counts the end of one of a record's facts, with its rows where they are known; false where the
    /// record is on its way out.
    pub fn end(&mut self, place: Place, rows: Option<u64>, large: bool) -> bool {
        let Some(at) = self.present(place) else {
            return false;
        };
        let open = self.u32(at, Part::Open).saturating_sub(1);
        self.put_u32(at, Part::Open, open);
        match rows {
            Some(rows) => {
                let all = self.u64(at, Part::Rows).saturating_add(rows);
                self.put_u64(at, Part::Rows, all);
            }
            None => {
                let unknown = self.u32(at, Part::Unknown).saturating_add(1);
                self.put_u32(at, Part::Unknown, unknown);
            }
        }
        if large {
            let flags = self.u32(at, Part::Flags);
            self.put_u32(at, Part::Flags, flags | LARGE);
        }
        true
    }

    /// The record with this content that was added last and is not on its way out.
    pub fn find(&self, content: &[u8]) -> Option<Place> {
        let same = |at: usize| {
            let length = self.u32(at, Part::Length) as usize;
            self.u32(at, Part::Flags) & (TAKEN | DONE) == 0
                && length == content.len()
                && self.0[at + PREFIX..at + PREFIX + length] == *content
        };
        let found = self.places().filter(|&place| same(self.offset(place)));
        found.last().map(Place)
    }

    /// At most `most` records for the log, which stay until [`release`](Self::release): those that
    /// have ended or were begun before `until`, in the order they were added. What was taken before and
    /// not released waits again.
    pub fn take(&mut self, until: i64, most: usize) -> Vec<Taken> {
        let mut taken = Vec::new();
        let places: Vec<_> = self.places().collect();
        for &place in &places {
            let at = self.offset(place);
            let flags = self.u32(at, Part::Flags);
            self.put_u32(at, Part::Flags, flags & !TAKEN);
        }
        for place in places {
            if taken.len() >= most {
                break;
            }
            let at = self.offset(place);
            let flags = self.u32(at, Part::Flags);
            let open = self.u32(at, Part::Open);
            let runs = open > 0 && self.u64(at, Part::OpenSince) as i64 >= until;
            if flags & DONE != 0 || runs {
                continue;
            }
            self.put_u32(at, Part::Flags, flags | TAKEN);
            let length = self.u32(at, Part::Length) as usize;
            taken.push(Taken {
                number: place,
                added_at: self.u64(at, Part::AddedAt) as i64,
                counts: Counts {
                    times: self.u32(at, Part::Times).into(),
                    open: open.into(),
                    unknown: self.u32(at, Part::Unknown).into(),
                    rows: self.u64(at, Part::Rows),
                    large: flags & LARGE != 0,
                },
                content: self.0[at + PREFIX..at + PREFIX + length].to_vec(),
            });
        }
        taken
    }

    /// What was taken is in the log: its room is free as soon as nothing older stands before it.
    pub fn release(&mut self) {
        let places: Vec<_> = self.places().collect();
        let mut tail = None;
        for place in places {
            let at = self.offset(place);
            let mut flags = self.u32(at, Part::Flags);
            if flags & TAKEN != 0 {
                flags = flags & !TAKEN | DONE;
                self.put_u32(at, Part::Flags, flags);
            }
            if flags & DONE == 0 {
                tail = tail.or(Some(place));
            }
        }
        let head = self.get(Field::Head);
        self.set(Field::Tail, tail.unwrap_or(head));
    }

    /// Whether a record waits that was not released.
    pub fn has_records(&self) -> bool {
        self.places()
            .any(|place| self.u32(self.offset(place), Part::Flags) & DONE == 0)
    }

    /// Whether one waits that is not even on its way out.
    pub fn has_others(&self) -> bool {
        self.places()
            .any(|place| self.u32(self.offset(place), Part::Flags) & (TAKEN | DONE) == 0)
    }

    /// The positions of all records.
    fn places(&self) -> impl Iterator<Item = u64> + '_ {
        let head = self.get(Field::Head);
        let mut place = self.get(Field::Tail);
        std::iter::from_fn(move || {
            while place < head {
                let this = place;
                let size = self.u32(self.offset(this), Part::Size);
                place += u64::from(size & !FILLER).max(ALIGNMENT as u64);
                if size & FILLER == 0 {
                    return Some(this);
                }
            }
            None
        })
    }

    /// Where a record of this size can stand in one piece: the end of the memory is left out.
    fn make_room(&mut self, size: usize) -> Option<u64> {
        let capacity = self.capacity();
        let head = self.get(Field::Head);
        let behind = capacity - (head % capacity as u64) as usize;
        let skipped = if behind < size { behind } else { 0 };
        if self.used() + skipped + size > capacity {
            return None;
        }
        if skipped > 0 {
            self.put_u32(self.offset(head), Part::Size, skipped as u32 | FILLER);
            self.set(Field::Head, head + skipped as u64);
        }
        Some(head + skipped as u64)
    }

    /// The offset of a record that is there and not on its way out.
    fn present(&self, Place(place): Place) -> Option<usize> {
        let there = (self.get(Field::Tail)..self.get(Field::Head)).contains(&place);
        let at = self.offset(place);
        (there && self.u32(at, Part::Flags) & (TAKEN | DONE) == 0).then_some(at)
    }

    fn offset(&self, place: u64) -> usize {
        HEADER + (place % self.capacity() as u64) as usize
    }

    fn get(&self, field: Field) -> u64 {
        read_u64(self.0, field as usize * 8)
    }

    fn set(&mut self, field: Field, value: u64) {
        write(self.0, field as usize * 8, &value.to_ne_bytes());
    }

    fn u32(&self, at: usize, part: Part) -> u32 {
        let at = at + part as usize;
        self.0[at..at + 4].try_into().map_or(0, u32::from_ne_bytes)
    }

    fn u64(&self, at: usize, part: Part) -> u64 {
        read_u64(self.0, at + part as usize)
    }

    fn put_u32(&mut self, at: usize, part: Part, value: u32) {
        write(self.0, at + part as usize, &value.to_ne_bytes());
    }

    fn put_u64(&mut self, at: usize, part: Part, value: u64) {
        write(self.0, at + part as usize, &value.to_ne_bytes());
    }
}

fn read_u64(memory: &[u8], at: usize) -> u64 {
    memory[at..at + 8].try_into().map_or(0, u64::from_ne_bytes)
}

fn write(memory: &mut [u8], at: usize, value: &[u8]) {
    memory[at..at + value.len()].copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const NEVER: i64 = i64::MIN;

    fn contents(taken: &[Taken]) -> Vec<&[u8]> {
        taken.iter().map(|taken| taken.content.as_slice()).collect()
    }

    #[test]
    fn what_ended_is_taken_once_it_is_released() {
        let mut memory = vec![9; SMALLEST];
        let mut ring = Ring::format(&mut memory);
        let place = ring.add(b"one", 5).unwrap();
        assert!(ring.take(5, 9).is_empty(), "it runs");
        assert!(ring.again(place, 5));
        assert!(ring.end(place, Some(3), false));
        assert!(ring.end(place, None, true));
        let taken = ring.take(NEVER, 9);
        let counts = Counts {
            times: 2,
            open: 0,
            unknown: 1,
            rows: 3,
            large: true,
        };
        let expected = Taken {
            number: 0,
            added_at: 5,
            counts,
            content: b"one".to_vec(),
        };
        assert_eq!(taken, [expected]);
        assert_eq!(ring.take(NEVER, 9), taken, "not released");
        ring.release();
        assert!(ring.take(NEVER, 9).is_empty());
        assert_eq!(ring.used(), 0);
    }

    #[test]
    fn what_runs_for_long_is_taken_before_it_ends() {
        let mut memory = vec![0; SMALLEST];
        let mut ring = Ring::format(&mut memory);
        let place = ring.add(b"one", 5).unwrap();
        let taken = ring.take(6, 9);
        assert_eq!((taken[0].counts.times, taken[0].counts.open), (1, 1));
        assert!(
            !ring.end(place, Some(1), false),
            "its end is another record"
        );
        assert!(!ring.again(place, 5));
        ring.release();
        assert!(!ring.end(place, Some(1), false));
    }

    #[test]
    fn what_runs_keeps_nobody_waiting() {
        let mut memory = vec![0; SMALLEST];
        let mut ring = Ring::format(&mut memory);
        let first = ring.add(b"1", 1).unwrap();
        let second = ring.add(b"2", 2).unwrap();
        ring.end(second, None, false);
        assert_eq!(contents(&ring.take(1, 9)), [b"2"]);
        ring.release();
        assert!(ring.take(1, 9).is_empty());
        assert!(ring.used() > 0 && ring.has_records());
        assert!(ring.end(first, None, false));
        assert_eq!(contents(&ring.take(1, 9)), [b"1"]);
        ring.release();
        assert!(ring.used() == 0 && !ring.has_records());
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut memory = vec![0; SMALLEST];
        let mut ring = Ring::format(&mut memory);
        let mut added = 0;
        while ring.add(&[7; 100], 0).is_some() {
            added += 1;
        }
        assert_eq!(added, (SMALLEST - HEADER) / 152);
        assert_eq!(ring.add(&[0; SMALLEST], 0), None);
        assert_eq!((ring.lost(), ring.lost_ever()), (2, 2));
        ring.forget_lost(2);
        assert_eq!((ring.lost(), ring.lost_ever()), (0, 2));
        assert_eq!(ring.take(1, 3).len(), 3);
        ring.release();
        assert!(ring.add(b"room", 0).is_some());
    }

    #[test]
    fn equal_records_are_found() {
        let mut memory = vec![0; SMALLEST];
        let mut ring = Ring::format(&mut memory);
        ring.add(b"a", 0);
        let place = ring.add(b"b", 0);
        assert_eq!(ring.find(b"b"), place);
        assert_eq!(ring.find(b"c"), None);
        ring.take(1, 9);
        assert_eq!(ring.find(b"b"), None);
    }

    proptest! {
        /// Against a queue that has no bound.
        #[test]
        fn nothing_that_was_added_is_lost(
            steps in prop::collection::vec((0..4_u8, 0..200_usize), 1..400),
        ) {
            let mut memory = vec![0; SMALLEST];
            let mut ring = Ring::format(&mut memory);
            let mut model: VecDeque<(Vec<u8>, Place, u64)> = VecDeque::new();
            for (number, (step, size)) in steps.into_iter().enumerate() {
                match step {
                    0 | 1 => {
                        let content = vec![number as u8; size];
                        if let Some(place) = ring.add(&content, number as i64) {
                            model.push_back((content, place, 1));
                        }
                    }
                    2 => {
                        let n = size.checked_rem(model.len());
                        if let Some((_, place, times)) = n.and_then(|n| model.get_mut(n)) {
                            prop_assert!(ring.again(*place, 0));
                            *times += 1;
                        }
                    }
                    _ => {
                        let taken = ring.take(i64::MAX, size % 10);
                        for taken in &taken {
                            let (content, _, times) = model.pop_front().unwrap();
                            prop_assert_eq!(&taken.content, &content);
                            prop_assert_eq!(taken.counts.times, times);
                        }
                        ring.release();
                    }
                }
                prop_assert!(ring.used() <= ring.capacity());
            }
            let rest = ring.take(i64::MAX, usize::MAX);
            let expected: Vec<_> = model.iter().map(|(content, ..)| content.as_slice()).collect();
            prop_assert_eq!(contents(&rest), expected);
        }
    }
}
