//! Months of UTC, by which the log is partitioned, and the partition a time belongs to.

const DAY_US: i64 = 86_400_000_000;

/// A calendar month of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: i64,
    /// 1 to 12.
    month: i64,
}

impl Month {
    /// The month of a time in Unix microseconds.
    pub fn of(unix_us: i64) -> Self {
        // Days since 0000-03-01, in eras of 400 years: so leap days come last.
        let days = unix_us.div_euclid(DAY_US) + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let in_year = day - (365 * year + year / 4 - year / 100);
        // Counted from March.
        let month = (5 * in_year + 2) / 153;
        Self {
            year: era * 400 + year + i64::from(month >= 10),
            month: if month < 10 { month + 3 } else { month - 9 },
        }
    }

    /// The month after it.
    pub fn next(self) -> Self {
        match self.month {
            12 => Self {
                year: self.year + 1,
                month: 1,
            },
            month => Self {
                month: month + 1,
                ..self
            },
        }
    }

    /// Its first moment, Unix microseconds.
    pub fn start(self) -> i64 {
        let from_march = (self.month + 9) % 12;
        let year = self.year - i64::from(self.month <= 2);
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day = 365 * of_era + of_era / 4 - of_era / 100 + (153 * from_march + 2) / 5;
        (era * 146_097 + day - 719_468) * DAY_US
    }

    /// Its first moment as PostgreSQL reads it under any setting.
    pub fn start_text(self) -> String {
        format!("{:04}-{:02}-01 00:00:00+00", self.year, self.month)
    }

    /// The name of its partition of `table`.
    pub fn partition_of(self, table: &str) -> String {
        format!("{table}_{:04}_{:02}", self.year, self.month)
    }
}

/// The name of the partition that takes what no other does.
pub fn default_partition_of(table: &str) -> String {
    format!("{table}_default")
}

/// Whether `name` is that of a partition of `table`, as our code names them.
pub fn names_partition(name: &str, table: &str) -> bool {
    let Some(rest) = name.strip_prefix(table).and_then(|r| r.strip_prefix('_')) else {
        return false;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    rest == "default"
        || rest.split_once('_').is_some_and(|(year, month)| {
            year.len() >= 4 && month.len() == 2 && digits(year) && digits(month)
        })
}

/// The stretch of `bounds`, in ascending order, that a time falls into: how many bounds are not above
/// it, and the bounds around it, the first of which belongs to the stretch.
pub fn stretch(bounds: &[i64], time: i64) -> (usize, i64, i64) {
    let below = bounds.partition_point(|bound| *bound <= time);
    let from = below.checked_sub(1).map_or(i64::MIN, |at| bounds[at]);
    let until = bounds.get(below).copied().unwrap_or(i64::MAX);
    (below, from, until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(year: i64, month: i64) -> Month {
        Month { year, month }
    }

    #[test]
    fn month_begins_at_midnight_in_utc() {
        // 2024-03-01 00:00:00 UTC, after a leap day.
        let march = 1_709_251_200_000_000;
        assert_eq!(Month::of(march), month(2024, 3));
        assert_eq!(Month::of(march - 1), month(2024, 2));
        assert_eq!(month(2024, 3).start(), march);
        assert_eq!(Month::of(0), month(1970, 1));
        assert_eq!(Month::of(-1), month(1969, 12));
        assert_eq!(month(2000, 1).start(), 946_684_800_000_000);
        assert_eq!(month(2024, 3).start_text(), "2024-03-01 00:00:00+00");
    }

    #[test]
    fn months_follow_each_other_without_a_gap() {
        let mut at = month(1899, 11);
        for _ in 0..4_800 {
            let next = at.next();
            assert!(at < next);
            let days = (next.start() - at.start()) / DAY_US;
            assert!((28..=31).contains(&days), "{at:?} has {days} days");
            assert_eq!(Month::of(at.start()), at);
            assert_eq!(Month::of(next.start() - 1), at);
            at = next;
        }
        assert_eq!(at, month(2299, 11));
    }

    #[test]
    fn names_of_partitions_are_told_from_others() {
        assert_eq!(
            month(2026, 1).partition_of("audit_log"),
            "audit_log_2026_01"
        );
        for name in [
            "audit_log_2026_01",
            "audit_log_12026_12",
            "audit_log_default",
        ] {
            assert!(names_partition(name, "audit_log"), "{name}");
            assert!(!names_partition(name, "audit_context"), "{name}");
        }
        for name in [
            "audit_log",
            "audit_log_",
            "audit_log_2026",
            "audit_log_2026_1",
            "audit_log_2026_01_pkey",
            "audit_logs_2026_01",
            "audit_log_20x6_01",
        ] {
            assert!(!names_partition(name, "audit_log"), "{name}");
        }
    }

    #[test]
    fn bound_belongs_to_what_begins_with_it() {
        let bounds = [10, 20, 40];
        for (time, expected) in [
            (i64::MIN, (0, i64::MIN, 10)),
            (9, (0, i64::MIN, 10)),
            (10, (1, 10, 20)),
            (19, (1, 10, 20)),
            (20, (2, 20, 40)),
            (40, (3, 40, i64::MAX)),
            (i64::MAX, (3, 40, i64::MAX)),
        ] {
            assert_eq!(stretch(&bounds, time), expected, "{time}");
        }
        assert_eq!(stretch(&[], 5), (0, i64::MIN, i64::MAX));
    }
}
