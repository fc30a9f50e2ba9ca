//! When a sealer works, when it waits and when it leaves. Times are microseconds.

/// How often a sealer is asked to work.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two rounds while there is something to seal.
    pub interval: i64,
    /// How long it stays with nothing to do.
    pub idle: i64,
    /// After how long without a block it makes one without events; 0 for never.
    pub heartbeat: i64,
}

/// What a sealer sees when it looks around.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Somebody committed events since the last round.
    pub pending: bool,
    /// Somebody waits for a round.
    pub urgent: bool,
    /// Nobody else is connected to the database.
    pub alone: bool,
    /// A prepared transaction may bring events whoever commits it.
    pub prepared: bool,
    /// Another database's sealer finds no worker slot.
    pub crowded: bool,
}

/// What a sealer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A round, with a block even where there is nothing to seal if it is a heartbeat.
    Seal {
        /// Whether a block is due whatever there is.
        heartbeat: bool,
    },
    /// Look again after this time, or when woken.
    Wait(i64),
    /// End: the next commit with events starts another.
    Leave,
}

/// The least time between two rounds, however urgent: who waits for seals must not be able to
/// fill the ledger with blocks.
pub const SHORTEST_GAP: i64 = 50_000;
/// The longest time between two looks around. DROP DATABASE and its like wait five seconds for
/// sessions to go, and nothing wakes the sealer when the last of them has.
pub const LONGEST_WAIT: i64 = 500_000;
/// How long a database must be deserted before its sealer leaves: a client that connects for
/// each of its transactions should not start one each time.
pub const DESERTED: i64 = 1_000_000;
/// The longest time between two attempts where rounds fail.
pub const LONGEST_RETRY: i64 = 60_000_000;

/// The state of a sealer between its rounds.
#[derive(Clone, Debug)]
pub struct Schedule {
    last_round: Option<i64>,
    last_block: Option<i64>,
    quiet_since: i64,
    alone_since: Option<i64>,
    failures: u32,
}

impl Schedule {
    /// A sealer that starts now, after so many rounds that failed one after the other.
    pub fn new(now: i64, failures: u32) -> Self {
        Self {
            last_round: None,
            last_block: None,
            quiet_since: now,
            alone_since: None,
            failures,
        }
    }

    /// Notes a round that went well and when the newest block was made, if there is one.
    pub fn sealed(&mut self, now: i64, last_block: Option<i64>) {
        self.last_round = Some(now);
        self.last_block = last_block;
        self.failures = 0;
    }

    /// Notes a round that somebody else's kept from being one.
    pub fn busy(&mut self, now: i64) {
        self.last_round = Some(now);
    }

    /// Notes a round that failed.
    pub fn failed(&mut self, now: i64) {
        self.last_round = Some(now);
        self.failures = self.failures.saturating_add(1);
    }

    /// What to do now.
    pub fn step(&mut self, now: i64, pace: Pace, seen: Seen) -> Step {
        let work = seen.pending || seen.urgent;
        if work {
            self.quiet_since = now;
        }
        self.alone_since = seen.alone.then(|| self.alone_since.unwrap_or(now));
        let deserted = self
            .alone_since
            .is_some_and(|since| passed(since, now) >= DESERTED);
        let Some(last_round) = self.last_round else {
            return Step::Seal { heartbeat: false };
        };
        let idle = if seen.crowded { 0 } else { pace.idle };
        let is_over = deserted || passed(self.quiet_since, now) >= idle;

        if self.failures > 0 {
            let due = retry_after(self.failures) - passed(last_round, now);
            return match due {
                _ if deserted || is_over && !work => Step::Leave,
                1.. => Step::Wait(due.min(LONGEST_WAIT)),
                _ => Step::Seal { heartbeat: false },
            };
        }
        let heartbeat = pace.heartbeat > 0
            && self
                .last_block
                .is_some_and(|block| passed(block, now) >= pace.heartbeat);
        if work || seen.prepared || heartbeat {
            let gap = match seen.urgent {
                true => SHORTEST_GAP,
                // Not for prepared transactions, which stay and would have it go round and round.
                false if deserted && (seen.pending || heartbeat) => 0,
                false => pace.interval,
            };
            let due = gap - passed(last_round, now);
            return if due > 0 {
                Step::Wait(due.min(LONGEST_WAIT))
            } else {
                Step::Seal { heartbeat }
            };
        }
        if is_over {
            Step::Leave
        } else {
            Step::Wait(LONGEST_WAIT)
        }
    }
}

/// How long to wait after so many failures in a row: a second, then twice as long each time.
pub fn retry_after(failures: u32) -> i64 {
    let doubled = 1_000_000_i64.checked_shl(failures.saturating_sub(1).min(20));
    doubled.map_or(LONGEST_RETRY, |delay| delay.min(LONGEST_RETRY))
}

/// The time since `then`. A clock that was set back must not stop a sealer for as long.
fn passed(then: i64, now: i64) -> i64 {
    if now < then { i64::MAX } else { now - then }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const PACE: Pace = Pace {
        interval: SECOND,
        idle: 5 * SECOND,
        heartbeat: 0,
    };
    const SEAL: Step = Step::Seal { heartbeat: false };
    const QUIET: Seen = Seen {
        pending: false,
        urgent: false,
        alone: false,
        prepared: false,
        crowded: false,
    };
    const PENDING: Seen = Seen {
        pending: true,
        ..QUIET
    };
    const ALONE: Seen = Seen {
        alone: true,
        ..QUIET
    };

    /// A sealer whose first round, at 0, went well.
    fn after_a_round() -> Schedule {
        let mut schedule = Schedule::new(0, 0);
        assert_eq!(schedule.step(0, PACE, QUIET), SEAL);
        schedule.sealed(0, Some(0));
        schedule
    }

    #[test]
    fn rounds_are_an_interval_apart_while_there_is_work() {
        let mut schedule = after_a_round();
        assert_eq!(
            schedule.step(SECOND / 4, PACE, PENDING),
            Step::Wait(LONGEST_WAIT)
        );
        assert_eq!(
            schedule.step(SECOND * 3 / 4, PACE, PENDING),
            Step::Wait(SECOND / 4)
        );
        assert_eq!(schedule.step(SECOND, PACE, PENDING), SEAL);
    }

    #[test]
    fn urgent_round_waits_for_the_shortest_gap_only() {
        let urgent = Seen {
            urgent: true,
            ..QUIET
        };
        let mut schedule = after_a_round();
        assert_eq!(
            schedule.step(10_000, PACE, urgent),
            Step::Wait(SHORTEST_GAP - 10_000)
        );
        assert_eq!(schedule.step(SHORTEST_GAP, PACE, urgent), SEAL);
    }

    #[test]
    fn sealer_leaves_when_it_was_idle_and_not_before() {
        let mut schedule = after_a_round();
        assert_eq!(
            schedule.step(4 * SECOND, PACE, QUIET),
            Step::Wait(LONGEST_WAIT)
        );
        assert_eq!(schedule.step(5 * SECOND, PACE, QUIET), Step::Leave);
        let mut schedule = after_a_round();
        assert_eq!(schedule.step(4 * SECOND, PACE, PENDING), SEAL);
        schedule.sealed(4 * SECOND, Some(4 * SECOND));
        assert_eq!(
            schedule.step(8 * SECOND, PACE, QUIET),
            Step::Wait(LONGEST_WAIT)
        );
        assert_eq!(schedule.step(9 * SECOND, PACE, QUIET), Step::Leave);
    }

    #[test]
    fn sealer_of_a_deserted_database_seals_what_there_is_and_leaves_at_once() {
        let slow = Pace {
            interval: 60 * SECOND,
            idle: 60 * SECOND,
            heartbeat: 0,
        };
        let pending = Seen {
            pending: true,
            ..ALONE
        };
        let mut schedule = after_a_round();
        assert_eq!(schedule.step(1, slow, pending), Step::Wait(LONGEST_WAIT));
        assert_eq!(schedule.step(SECOND + 1, slow, pending), SEAL);
        schedule.sealed(SECOND + 1, Some(SECOND + 1));
        assert_eq!(schedule.step(SECOND + 2, slow, ALONE), Step::Leave);
        // A session that comes back keeps it.
        let mut schedule = after_a_round();
        schedule.step(1, slow, ALONE);
        schedule.step(2, slow, QUIET);
        assert_eq!(
            schedule.step(SECOND + 1, slow, ALONE),
            Step::Wait(LONGEST_WAIT)
        );
    }

    #[test]
    fn prepared_transactions_keep_the_sealer() {
        let prepared = Seen {
            prepared: true,
            ..ALONE
        };
        let mut schedule = after_a_round();
        assert_eq!(schedule.step(60 * SECOND, PACE, prepared), SEAL);
        schedule.sealed(60 * SECOND, Some(0));
        assert_eq!(schedule.step(61 * SECOND, PACE, ALONE), Step::Leave);
    }

    #[test]
    fn prepared_transaction_in_a_deserted_database_makes_no_busy_loop() {
        let prepared = Seen {
            prepared: true,
            ..ALONE
        };
        let mut schedule = after_a_round();
        schedule.step(0, PACE, prepared);
        assert_eq!(schedule.step(2 * SECOND, PACE, prepared), SEAL);
        schedule.sealed(2 * SECOND, Some(0));
        assert_eq!(
            schedule.step(2 * SECOND + 1, PACE, prepared),
            Step::Wait(LONGEST_WAIT)
        );
        assert_eq!(schedule.step(3 * SECOND, PACE, prepared), SEAL);
    }

    #[test]
    fn crowded_server_gets_an_idle_sealers_slot() {
        let crowded = Seen {
            crowded: true,
            ..QUIET
        };
        let mut schedule = after_a_round();
        assert_eq!(schedule.step(1, PACE, crowded), Step::Leave);
        let working = Seen {
            pending: true,
            ..crowded
        };
        assert_eq!(after_a_round().step(SECOND, PACE, working), SEAL);
    }

    #[test]
    fn heartbeat_comes_when_there_was_no_block_and_before_leaving() {
        let beating = Pace {
            heartbeat: 3 * SECOND,
            ..PACE
        };
        let mut schedule = after_a_round();
        assert_eq!(
            schedule.step(2 * SECOND, beating, QUIET),
            Step::Wait(LONGEST_WAIT)
        );
        let heartbeat = Step::Seal { heartbeat: true };
        assert_eq!(schedule.step(3 * SECOND, beating, QUIET), heartbeat);
        schedule.sealed(3 * SECOND, Some(3 * SECOND));
        // One that was started for it leaves after it, not before.
        let mut schedule = Schedule::new(100 * SECOND, 0);
        schedule.sealed(100 * SECOND, Some(0));
        schedule.step(100 * SECOND, beating, ALONE);
        assert_eq!(schedule.step(101 * SECOND, beating, ALONE), heartbeat);
        schedule.sealed(101 * SECOND, Some(101 * SECOND));
        assert_eq!(schedule.step(102 * SECOND, beating, ALONE), Step::Leave);
        // Without a first block there is no ledger that could be silent.
        let mut schedule = Schedule::new(0, 0);
        schedule.sealed(0, None);
        assert_eq!(
            schedule.step(4 * SECOND, beating, QUIET),
            Step::Wait(LONGEST_WAIT)
        );
    }

    #[test]
    fn failing_rounds_are_tried_ever_more_rarely() {
        assert_eq!(retry_after(1), SECOND);
        assert_eq!(retry_after(4), 8 * SECOND);
        assert_eq!(retry_after(7), LONGEST_RETRY);
        assert_eq!(retry_after(u32::MAX), LONGEST_RETRY);
        let mut schedule = after_a_round();
        schedule.failed(0);
        schedule.failed(0);
        assert_eq!(
            schedule.step(SECOND, PACE, PENDING),
            Step::Wait(LONGEST_WAIT)
        );
        assert_eq!(schedule.step(2 * SECOND, PACE, PENDING), SEAL);
        // The next one goes on counting, and none stays for a failure alone.
        let mut next = Schedule::new(0, 6);
        assert_eq!(next.step(0, PACE, PENDING), SEAL);
        next.failed(0);
        assert_eq!(
            next.step(59 * SECOND, PACE, PENDING),
            Step::Wait(LONGEST_WAIT)
        );
        let mut schedule = after_a_round();
        schedule.failed(0);
        assert_eq!(schedule.step(5 * SECOND, PACE, QUIET), Step::Leave);
    }

    #[test]
    fn clock_set_back_does_not_stop_sealing() {
        let mut schedule = after_a_round();
        schedule.sealed(100 * SECOND, Some(100 * SECOND));
        assert_eq!(schedule.step(SECOND, PACE, PENDING), SEAL);
    }
}
