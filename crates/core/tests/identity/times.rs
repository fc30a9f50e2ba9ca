//! From which second to which a token is valid (RFC 7519 sections 4.1.4 to 4.1.6).

use serde_json::{Value, json};
use tenant_guard_core::issuer::{Issuer, IssuerSettings, Issuers};

use crate::keys::{ISSUER, NOW, key, outcome, settings};

const SECOND: i64 = 1_000_000;
const LAST: i64 = 253_402_300_799;

/// An issuer with this leeway and maximum age in seconds, who need not set `exp`.
fn issuers(leeway: i64, max_age: Option<i64>) -> Issuers {
    let settings = IssuerSettings {
        leeway_us: leeway * SECOND,
        max_age_us: max_age.map(|age| age.saturating_mul(SECOND)),
        require_exp: false,
        ..settings()
    };
    Issuers::new([Issuer::new(settings).unwrap()])
}

fn token(times: &Value) -> String {
    let mut claims = times.clone();
    claims["iss"] = json!(ISSUER);
    claims["account_id"] = json!(7);
    key("HS256").token(&claims)
}

/// Leeway, maximum age, times; the first second, and the first one too late with its reason.
type Row = (
    i64,
    Option<i64>,
    Value,
    Option<i64>,
    Option<(i64, &'static str)>,
);

#[test]
fn validity_is_exact_to_the_second() {
    let rows: Vec<Row> = vec![
        // No times, no limits.
        (0, None, json!({}), None, None),
        // Leeway eases each end once.
        (0, None, json!({ "exp": NOW }), None, Some((NOW, "expired"))),
        (
            1,
            None,
            json!({ "exp": NOW }),
            None,
            Some((NOW + 1, "expired")),
        ),
        (
            30,
            None,
            json!({ "exp": NOW }),
            None,
            Some((NOW + 30, "expired")),
        ),
        (
            86_400,
            None,
            json!({ "exp": NOW }),
            None,
            Some((NOW + 86_400, "expired")),
        ),
        (0, None, json!({ "nbf": NOW }), Some(NOW), None),
        (1, None, json!({ "nbf": NOW }), Some(NOW - 1), None),
        (30, None, json!({ "iat": NOW }), Some(NOW - 30), None),
        (
            86_400,
            None,
            json!({ "iat": NOW }),
            Some(NOW - 86_400),
            None,
        ),
        // The later of nbf and iat begins.
        (
            30,
            None,
            json!({ "nbf": NOW, "iat": NOW + 5 }),
            Some(NOW - 25),
            None,
        ),
        (
            30,
            None,
            json!({ "nbf": NOW + 5, "iat": NOW }),
            Some(NOW - 25),
            None,
        ),
        // A maximum age is not eased, the earlier of age and expiry ends.
        (
            30,
            Some(60),
            json!({ "iat": NOW }),
            Some(NOW - 30),
            Some((NOW + 60, "too_old")),
        ),
        (
            30,
            Some(60),
            json!({ "iat": NOW, "exp": NOW + 29 }),
            Some(NOW - 30),
            Some((NOW + 59, "expired")),
        ),
        (
            30,
            Some(60),
            json!({ "iat": NOW, "exp": NOW + 30 }),
            Some(NOW - 30),
            Some((NOW + 60, "expired")),
        ),
        (
            30,
            Some(60),
            json!({ "iat": NOW, "exp": NOW + 31 }),
            Some(NOW - 30),
            Some((NOW + 60, "too_old")),
        ),
        (
            0,
            Some(1),
            json!({ "iat": NOW }),
            Some(NOW),
            Some((NOW + 1, "too_old")),
        ),
        // Only the leeway keeps a token alive that ends before it begins.
        (
            30,
            None,
            json!({ "exp": NOW, "nbf": NOW + 10 }),
            Some(NOW - 20),
            Some((NOW + 30, "expired")),
        ),
        // The ends of what a time can be.
        (0, None, json!({ "exp": 0 }), None, Some((0, "expired"))),
        (
            30,
            None,
            json!({ "nbf": 0, "exp": 0 }),
            Some(-30),
            Some((30, "expired")),
        ),
        (
            86_400,
            None,
            json!({ "exp": LAST }),
            None,
            Some((LAST + 86_400, "expired")),
        ),
        (
            86_400,
            None,
            json!({ "nbf": LAST }),
            Some(LAST - 86_400),
            None,
        ),
        (0, Some(i64::MAX), json!({ "iat": 0 }), Some(0), None),
    ];
    for (leeway, max_age, times, first, late) in rows {
        let issuers = issuers(leeway, max_age);
        let token = token(&times);
        let at = |now_us: i64| outcome(issuers.verify(&token, None, now_us));
        let row = format!("{times}, leeway {leeway}, maximum age {max_age:?}");
        if let Some(first) = first {
            assert_eq!(at((first - 1) * SECOND), "not_yet_valid", "{row}");
            assert_eq!(at(first * SECOND), "accepted", "{row}");
        }
        if let Some((late, reason)) = late {
            assert_eq!(at((late - 1) * SECOND), "accepted", "{row}");
            assert_eq!(at(late * SECOND), reason, "{row}");
        }
        // Clocks that are quite wrong.
        let before = if first.is_some() {
            "not_yet_valid"
        } else {
            "accepted"
        };
        assert_eq!(at(i64::MIN), before, "{row}");
        let endless = late.is_none();
        assert_eq!(at(i64::MAX - 1) == "accepted", endless, "{row}");
    }
}

/// Times that contradict each other by more than the leeway leave no second to accept.
#[test]
fn contradicting_times_are_never_valid() {
    for (leeway, max_age, times) in [
        (0, None, json!({ "exp": NOW, "nbf": NOW })),
        (0, None, json!({ "exp": NOW, "iat": NOW })),
        (0, None, json!({ "exp": NOW, "nbf": NOW + 10 })),
        (5, None, json!({ "exp": NOW, "nbf": NOW + 10 })),
        (0, Some(10), json!({ "iat": NOW, "nbf": NOW + 10 })),
        (0, Some(i64::MAX), json!({ "iat": LAST, "exp": LAST })),
    ] {
        let (issuers, token) = (issuers(leeway, max_age), token(&times));
        for second in [
            0,
            NOW - 1,
            NOW,
            NOW + 4,
            NOW + 5,
            NOW + 9,
            NOW + 10,
            LAST - 1,
            LAST,
        ] {
            let judged = outcome(issuers.verify(&token, None, second * SECOND));
            assert_ne!(judged, "accepted", "{times} at {second}");
        }
    }
}

/// Nothing is remembered of an earlier, later clock: a token is judged by the time it is told.
#[test]
fn a_clock_set_back_refuses_and_set_right_accepts() {
    let issuers = issuers(30, Some(3600));
    let token = token(&json!({ "iat": NOW, "nbf": NOW, "exp": NOW + 600 }));
    for (now, expected) in [
        (NOW, "accepted"),
        (NOW - 31, "not_yet_valid"),
        (NOW - 30, "accepted"),
        (NOW + 630, "expired"),
        (NOW + 629, "accepted"),
        (NOW - 86_400, "not_yet_valid"),
        (NOW, "accepted"),
    ] {
        assert_eq!(
            outcome(issuers.verify(&token, None, now * SECOND)),
            expected,
            "at {now}"
        );
    }
}
