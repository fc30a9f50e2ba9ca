//! Which blocks may be spoken of where a failover must not take back what was said: those that a
//! standby has flushed. Positions are those of the write-ahead log.

/// How a receiver of the write-ahead log counts for synchronous replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// One of the standbys that FIRST waits for.
    Sync,
    /// One of those ANY chooses from.
    Quorum,
    /// Neither.
    Other,
}

/// A receiver of the write-ahead log that is connected.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    /// Its part in synchronous replication.
    pub standing: Standing,
    /// It applies what it receives: a server, not a program that keeps files.
    pub replays: bool,
    /// Up to where it says it has flushed.
    pub flushed: Option<u64>,
}

/// Who must have flushed a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Any server that replays: no standby is synchronous.
    Any,
    /// That many synchronous standbys, `FIRST n (...)`.
    First(usize),
    /// That many of the quorum, `ANY n (...)`.
    Quorum(usize),
}

impl Rule {
    /// The position up to which the receivers keep everything, as the rule asks; none where too
    /// few of those that count are connected.
    pub fn secured(self, receivers: &[Receiver]) -> Option<u64> {
        let of = |standing| {
            let counted = receivers.iter().filter(move |r| r.standing == standing);
            let mut flushed: Vec<u64> = counted.filter_map(|receiver| receiver.flushed).collect();
            flushed.sort_unstable_by(|one, other| other.cmp(one));
            flushed
        };
        let (flushed, number) = match self {
            Self::Any => {
                let counted = receivers.iter().filter(|receiver| receiver.replays);
                return counted.filter_map(|receiver| receiver.flushed).max();
            }
            Self::First(number) => (of(Standing::Sync), number),
            Self::Quorum(number) => (of(Standing::Quorum), number),
        };
        flushed.get(number.checked_sub(1)?).copied()
    }
}

/// A block that was sealed, as far as it tells one from another of the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// Its number.
    pub block: i64,
    /// The beginning of its hash.
    tag: u64,
}

impl Sealed {
    /// Of a block's number and hash, which damage may have cut short.
    pub fn new(block: i64, hash: &[u8]) -> Self {
        let mut tag = [0; 8];
        tag.iter_mut()
            .zip(hash)
            .for_each(|(tag, byte)| *tag = *byte);
        Self {
            block,
            tag: u64::from_le_bytes(tag),
        }
    }
}

/// Blocks that wait for a standby: more than sealers make while one answers.
const WAITING: usize = 8;

/// What is known of a ledger's blocks and the log: the newest published block, and some that are
/// not yet, each with a position before which it is in the log. All zero knows nothing.
///
/// Everything forgotten only delays publication.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Marks {
    published: Sealed,
    waiting: [(Sealed, u64); WAITING],
    length: u8,
}

impl Marks {
    fn waiting(&self) -> &[(Sealed, u64)] {
        &self.waiting[..usize::from(self.length).min(WAITING)]
    }

    /// The newest block known of.
    fn newest(&self) -> Sealed {
        self.waiting()
            .last()
            .map_or(self.published, |(sealed, _)| *sealed)
    }

    /// The newest published block.
    pub fn published(&self) -> Option<Sealed> {
        (self.published.block > 0).then_some(self.published)
    }

    /// The position that the oldest waiting block waits for.
    pub fn awaited(&self) -> Option<u64> {
        self.waiting().first().map(|(_, position)| *position)
    }

    /// Notes that a block is committed and stands before a position of the log. Where there is no
    /// room it takes the place of the newest that waits, which is published with it then.
    pub fn add(&mut self, sealed: Sealed, position: u64) {
        if sealed.block <= self.newest().block {
            return;
        }
        let at = usize::from(self.length).min(WAITING - 1);
        self.waiting[at] = (sealed, position);
        self.length = at as u8 + 1;
    }

    /// Notes which block the ledger says is the newest. `before` is what was known when the ledger
    /// was not yet looked at, `position` is one after the look. Another block of a known number
    /// is another ledger.
    pub fn confirm(&mut self, before: Self, newest: Sealed, position: u64) {
        let known = before.newest();
        if known.block > newest.block || (known.block == newest.block && known != newest) {
            *self = Self::default();
        }
        self.add(newest, position);
    }

    /// Publishes what is secured.
    pub fn advance(&mut self, secured: Option<u64>) {
        let Some(secured) = secured else { return };
        let done = self
            .waiting()
            .iter()
            .take_while(|(_, position)| *position <= secured)
            .count();
        if done > 0 {
            self.published = self.waiting[done - 1].0;
            self.waiting.copy_within(done.., 0);
            self.length -= done as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(standing: Standing, replays: bool, flushed: u64) -> Receiver {
        Receiver {
            standing,
            replays,
            flushed: (flushed > 0).then_some(flushed),
        }
    }

    fn block(number: i64) -> Sealed {
        Sealed::new(number, &[number as u8; 32])
    }

    #[test]
    fn any_server_that_replays_secures() {
        let other = |replays, flushed| receiver(Standing::Other, replays, flushed);
        assert_eq!(Rule::Any.secured(&[]), None);
        assert_eq!(Rule::Any.secured(&[other(false, 9)]), None);
        assert_eq!(Rule::Any.secured(&[other(true, 0)]), None);
        let some = [other(false, 9), other(true, 3), other(true, 5)];
        assert_eq!(Rule::Any.secured(&some), Some(5));
    }

    #[test]
    fn synchronous_standbys_secure_what_all_of_them_have() {
        let sync = |flushed| receiver(Standing::Sync, true, flushed);
        let asynchronous = receiver(Standing::Other, true, 99);
        assert_eq!(Rule::First(1).secured(&[asynchronous]), None);
        assert_eq!(Rule::First(2).secured(&[sync(7), asynchronous]), None);
        assert_eq!(Rule::First(2).secured(&[sync(7), sync(0)]), None);
        assert_eq!(Rule::First(2).secured(&[sync(7), sync(4)]), Some(4));
        assert_eq!(Rule::First(0).secured(&[sync(7)]), None);
    }

    #[test]
    fn quorum_secures_what_enough_have() {
        let quorum = |flushed| receiver(Standing::Quorum, true, flushed);
        let all = [quorum(2), quorum(8), quorum(5)];
        assert_eq!(Rule::Quorum(1).secured(&all), Some(8));
        assert_eq!(Rule::Quorum(2).secured(&all), Some(5));
        assert_eq!(Rule::Quorum(3).secured(&all), Some(2));
        assert_eq!(Rule::Quorum(4).secured(&all), None);
        assert_eq!(Rule::First(1).secured(&all), None);
    }

    #[test]
    fn blocks_are_published_in_order_as_they_are_secured() {
        let mut marks = Marks::default();
        assert_eq!(marks.published(), None);
        for number in 1..=3 {
            marks.add(block(number), 100 * number as u64);
        }
        marks.advance(None);
        marks.advance(Some(99));
        assert_eq!((marks.published(), marks.awaited()), (None, Some(100)));
        marks.advance(Some(200));
        assert_eq!(
            (marks.published(), marks.awaited()),
            (Some(block(2)), Some(300))
        );
        // Nothing is taken back, and what comes late says nothing new.
        marks.add(block(1), 900);
        marks.advance(Some(100));
        assert_eq!(
            (marks.published(), marks.awaited()),
            (Some(block(2)), Some(300))
        );
        marks.advance(Some(300));
        assert_eq!((marks.published(), marks.awaited()), (Some(block(3)), None));
    }

    #[test]
    fn what_finds_no_room_delays_no_earlier_block() {
        let mut marks = Marks::default();
        for number in 1..=100 {
            marks.add(block(number), number as u64);
        }
        marks.advance(Some(99));
        assert_eq!(marks.published(), Some(block(7)));
        assert_eq!(marks.awaited(), Some(100));
        marks.advance(Some(100));
        assert_eq!(marks.published(), Some(block(100)));
    }

    #[test]
    fn another_ledger_forgets_what_was_published() {
        let mut marks = Marks::default();
        marks.confirm(marks, block(5), 10);
        marks.advance(Some(10));
        marks.confirm(marks, block(5), 99);
        assert_eq!((marks.published(), marks.awaited()), (Some(block(5)), None));
        for other in [block(4), Sealed::new(5, &[0xff; 32])] {
            let mut marks = marks;
            marks.confirm(marks, other, 20);
            assert_eq!((marks.published(), marks.awaited()), (None, Some(20)));
        }
    }

    /// Somebody may have sealed since the look.
    #[test]
    fn newer_block_of_another_session_is_no_other_ledger() {
        let mut marks = Marks::default();
        marks.add(block(1), 10);
        let before = marks;
        marks.add(block(2), 20);
        marks.confirm(before, block(1), 30);
        assert_eq!(marks.awaited(), Some(10));
        marks.advance(Some(20));
        assert_eq!(marks.published(), Some(block(2)));
    }
}
