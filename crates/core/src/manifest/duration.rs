//! Lengths of time as ISO 8601 writes them, which PostgreSQL reads as `interval`.

const SECOND: i64 = 1_000_000;

/// The units in the order they stand in, with their length in microseconds; none for the `T` that
/// parts days from the rest.
const UNITS: [(char, Option<i64>); 5] = [
    ('D', Some(86_400 * SECOND)),
    ('T', None),
    ('H', Some(3_600 * SECOND)),
    ('M', Some(60 * SECOND)),
    ('S', Some(SECOND)),
];

/// The longest time, a million days: what the issuers' intervals may hold.
const LONGEST: i64 = 1_000_000 * 86_400 * SECOND;

/// Microseconds of a duration such as `PT30S` or `P1DT12H`. Months and years have no fixed length.
pub(super) fn parse(text: &str) -> Option<i64> {
    let mut rest = text.strip_prefix('P')?;
    let mut units = UNITS.iter();
    let mut total: Option<i64> = None;
    let mut in_time = false;
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            units.find(|(unit, _)| *unit == 'T')?;
            (rest, in_time) = (time, true);
            if rest.is_empty() {
                return None;
            }
            continue;
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let whole: i64 = rest[..digits].parse().ok()?;
        let (fraction, after) = match rest[digits..].strip_prefix('.') {
            Some(decimals) => {
                let (value, after) = fraction(decimals)?;
                (Some(value), after)
            }
            None => (None, &rest[digits..]),
        };
        let unit = after.chars().next()?;
        let (_, length) = units.find(|(known, _)| *known == unit)?;
        if fraction.is_some() && unit != 'S' || in_time != (unit != 'D') {
            return None;
        }
        let part = whole
            .checked_mul((*length)?)?
            .checked_add(fraction.unwrap_or(0))?;
        total = Some(total.unwrap_or(0).checked_add(part)?);
        rest = &after[unit.len_utf8()..];
    }
    total.filter(|total| *total <= LONGEST)
}

/// Microseconds of one to six decimals, and what follows them.
fn fraction(decimals: &str) -> Option<(i64, &str)> {
    let digits = decimals.find(|c: char| !c.is_ascii_digit())?;
    if !(1..=6).contains(&digits) {
        return None;
    }
    let value: i64 = decimals[..digits].parse().ok()?;
    let scale = 10_i64.pow(6 - digits as u32);
    Some((value * scale, &decimals[digits..]))
}

/// The duration in its shortest form.
pub(super) fn print(microseconds: i64) -> String {
    if microseconds == 0 {
        return "PT0S".into();
    }
    let mut text = String::from("P");
    let mut rest = microseconds;
    for (unit, length) in UNITS {
        let Some(length) = length else {
            if rest != 0 {
                text.push('T');
            }
            continue;
        };
        let (whole, fraction) = (rest / length, rest % length);
        if unit != 'S' {
            rest = fraction;
        }
        let decimals = if unit == 'S' && fraction != 0 {
            format!(".{fraction:06}").trim_end_matches('0').to_owned()
        } else {
            String::new()
        };
        if whole != 0 || !decimals.is_empty() {
            text += &format!("{whole}{decimals}{unit}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, parse, print};
    use proptest::prelude::*;

    #[test]
    fn durations_have_one_normal_form() {
        for (text, microseconds, normal) in [
            ("PT30S", 30_000_000, "PT30S"),
            ("PT90S", 90_000_000, "PT1M30S"),
            ("P1D", 86_400_000_000, "P1D"),
            ("PT24H", 86_400_000_000, "P1D"),
            ("P1DT2H3M4.5S", 93_784_500_000, "P1DT2H3M4.5S"),
            ("PT0.000001S", 1, "PT0.000001S"),
            ("PT0S", 0, "PT0S"),
            ("P0D", 0, "PT0S"),
        ] {
            assert_eq!(parse(text), Some(microseconds), "{text}");
            assert_eq!(print(microseconds), normal);
        }
    }

    #[test]
    fn what_has_no_fixed_length_or_is_no_duration_is_refused() {
        for text in [
            "",
            "P",
            "PT",
            "30 s",
            "PT30",
            "30S",
            "P1M",
            "P1Y",
            "P1W",
            "PT1S1M",
            "P1H",
            "PT1D",
            "P1DT",
            "PT1.5H",
            "PT1.0H",
            "PT1.S",
            "PT.5S",
            "PT1.1234567S",
            "PT-1S",
            "-PT1S",
            "P1D1D",
            "PT99999999999999999999S",
            "P1000001D",
            "PT1S ",
            "pt1s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(microseconds in 0..=LONGEST) {
            prop_assert_eq!(parse(&print(microseconds)), Some(microseconds));
        }
    }
}
