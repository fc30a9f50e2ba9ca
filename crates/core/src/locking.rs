//! When to wait for locks on tables, and how long, so that nobody else pays with a deadlock.
//!
//! A session that has waited for `deadlock_timeout` looks for a deadlock, once, and ends its own
//! statement if it finds one. So nobody is ended on our account if we never stand in a queue at a
//! moment in which anybody looks. A turn in the queue is shorter than the time after which those
//! look who begin to wait during it, and it ends before those look who waited when it began.

use std::time::Duration;

/// How long is waited where `lock_timeout` sets no limit.
pub const DEFAULT_BUDGET: Duration = Duration::from_secs(60);

/// The first turn; each later one is twice as long as the one before.
const FIRST_TURN: Duration = Duration::from_millis(20);

/// No turn is longer: meanwhile everybody else stands behind us.
const LONGEST_TURN: Duration = Duration::from_secs(5);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Less than this is no turn.
const SHORTEST_TURN: Duration = Duration::from_millis(1);

/// The attempts of one call to have its locks.
#[derive(Debug)]
pub struct Schedule {
    budget: Duration,
    deadlock_timeout: Duration,
    turns: u32,
    /// Until then locks are only tried, which nobody waits behind.
    resting_until: Duration,
}

impl Schedule {
    /// Attempts until `lock_timeout` has passed, or the default where it is zero.
    pub fn new(lock_timeout: Duration, deadlock_timeout: Duration) -> Self {
        Self {
            budget: if lock_timeout.is_zero() {
                DEFAULT_BUDGET
            } else {
                lock_timeout
            },
            deadlock_timeout,
            turns: 0,
            resting_until: SHORTEST_TURN,
        }
    }

    /// How long all attempts may take together.
    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// How long the next attempt may stand in queues; zero: it takes what is free or nothing.
    ///
    /// `waits` is asked how long each lock wait of another session has lasted by now.
    pub fn turn(&self, elapsed: Duration, waits: impl FnOnce() -> Vec<Duration>) -> Duration {
        if elapsed < self.resting_until {
            return Duration::ZERO;
        }
        let turn = self
            .longest()
            .min(FIRST_TURN.saturating_mul(1 << self.turns.min(16)))
            .min(self.budget.saturating_sub(elapsed));
        let turn = waits()
            .into_iter()
            .map(|wait| self.until_look(wait))
            .fold(turn, Duration::min);
        if turn < SHORTEST_TURN {
            Duration::ZERO
        } else {
            turn
        }
    }

    /// How long to pause after an attempt that failed, or `None` when time is up. `turn` is what
    /// the attempt had; `random` spreads the pauses, so that two sessions do not keep step.
    pub fn pause(&mut self, turn: Duration, elapsed: Duration, random: u32) -> Option<Duration> {
        let left = self.budget.checked_sub(elapsed)?;
        if left.is_zero() {
            return None;
        }
        if !turn.is_zero() {
            self.turns = self.turns.saturating_add(1);
            // Everybody else has the time of one to two turns to get on.
            self.resting_until = elapsed + spread(turn * 2, random);
        }
        Some(spread(PAUSE, random).min(left))
    }

    fn longest(&self) -> Duration {
        (self.deadlock_timeout / 2).min(LONGEST_TURN)
    }

    /// How long nobody looks for a deadlock who has waited for `wait`.
    ///
    /// Timers and busy processors are late, so a look takes place within a tenth of the timeout
    /// before and after its time. After that it is past: there is no second.
    fn until_look(&self, wait: Duration) -> Duration {
        let slack = self.deadlock_timeout / 10;
        if wait > self.deadlock_timeout + slack {
            Duration::MAX
        } else {
            self.deadlock_timeout.saturating_sub(wait + slack)
        }
    }
}

/// Between half of `most` and all of it.
fn spread(most: Duration, random: u32) -> Duration {
    most.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn schedule() -> Schedule {
        Schedule::new(Duration::ZERO, SECOND)
    }

    /// The lengths of the first `count` turns, nobody else waiting.
    fn turns(schedule: &mut Schedule, count: usize) -> Vec<Duration> {
        let (mut elapsed, mut turns) = (Duration::ZERO, Vec::new());
        while turns.len() < count {
            let turn = schedule.turn(elapsed, Vec::new);
            elapsed += turn;
            if !turn.is_zero() {
                turns.push(turn);
            }
            elapsed += schedule.pause(turn, elapsed, u32::MAX).unwrap();
        }
        turns
    }

    #[test]
    fn first_attempt_takes_what_is_free_and_asks_for_no_waits() {
        let unasked = || -> Vec<Duration> { panic!("asked for the waits of others") };
        assert_eq!(schedule().turn(Duration::ZERO, unasked), Duration::ZERO);
    }

    #[test]
    fn turns_double_up_to_half_of_the_deadlock_timeout() {
        assert_eq!(
            turns(&mut schedule(), 7),
            [20, 40, 80, 160, 320, 500, 500].map(ms)
        );
        let mut short = Schedule::new(Duration::ZERO, ms(50));
        assert_eq!(turns(&mut short, 3), [20, 25, 25].map(ms));
        let mut long = Schedule::new(SECOND * 3600, SECOND * 600);
        assert_eq!(turns(&mut long, 12)[11], LONGEST_TURN);
    }

    #[test]
    fn deadlock_timeout_of_a_millisecond_leaves_tries_only() {
        let mut schedule = Schedule::new(Duration::ZERO, ms(1));
        for elapsed in [0, 10, 1000, 59_999].map(ms) {
            assert_eq!(schedule.turn(elapsed, Vec::new), Duration::ZERO);
            assert!(schedule.pause(Duration::ZERO, elapsed, 0).is_some());
        }
    }

    #[test]
    fn everybody_else_gets_at_least_the_time_of_the_turn() {
        for random in [0, u32::MAX / 3, u32::MAX] {
            let mut schedule = schedule();
            schedule.pause(ms(500), SECOND, random).unwrap();
            let resting = schedule.resting_until - SECOND;
            assert!((ms(500)..=SECOND).contains(&resting), "{resting:?}");
            let tried = schedule.turn(SECOND + resting - ms(1), Vec::new);
            assert_eq!(tried, Duration::ZERO);
            assert!(schedule.turn(SECOND + resting, Vec::new) > Duration::ZERO);
        }
    }

    #[test]
    fn turn_ends_before_anybody_looks_for_a_deadlock() {
        let mut schedule = schedule();
        turns(&mut schedule, 6);
        let now = SECOND * 30;
        let turn = |waits: &[u64]| {
            schedule.turn(now, || {
                waits
                    .iter()
                    .map(|wait| Duration::from_millis(*wait))
                    .collect()
            })
        };
        assert_eq!(turn(&[]), ms(500));
        // One that has waited for 100 ms looks in 900.
        assert_eq!(turn(&[100]), ms(500));
        assert_eq!(turn(&[600]), ms(300));
        assert_eq!(turn(&[100, 600, 30]), ms(300));
        // About to look, or late.
        for wait in [899, 950, 1_000, 1_100] {
            assert_eq!(turn(&[wait]), Duration::from_millis(u64::from(wait == 899)));
        }
        // Looked, and does not look again.
        assert_eq!(turn(&[1_101, 5_000]), ms(500));
    }

    #[test]
    fn nothing_goes_beyond_the_budget() {
        let mut schedule = Schedule::new(ms(300), SECOND);
        assert_eq!(schedule.turn(ms(295), Vec::new), ms(5));
        assert_eq!(schedule.pause(Duration::ZERO, ms(297), 0), Some(ms(3)));
        assert_eq!(schedule.pause(Duration::ZERO, ms(300), 0), None);
        assert_eq!(schedule.pause(ms(20), ms(301), 0), None);
    }

    #[test]
    fn whole_call_ends_with_its_budget() {
        let mut schedule = Schedule::new(ms(300), SECOND);
        let (mut elapsed, mut attempts) = (Duration::ZERO, 0);
        loop {
            let turn = schedule.turn(elapsed, Vec::new);
            elapsed += turn;
            attempts += 1;
            match schedule.pause(turn, elapsed, 7) {
                Some(pause) => elapsed += pause,
                None => break,
            }
        }
        assert_eq!(elapsed, ms(300));
        assert!((5..60).contains(&attempts), "{attempts}");
    }
}
