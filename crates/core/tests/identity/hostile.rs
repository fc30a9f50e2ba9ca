//! The hostile tokens of `tests/vectors/jwt/hostile.json`, grouped by the rule they break.
//!
//! Two cases are different when one mistake in a verifier could let the one through and still
//! refuse the other: they break another rule, break it in another part or claim, are judged by
//! another algorithm's code, or only a less strict reading of the same rule would accept one. A
//! value that differs and nothing else, such as a second unknown issuer, is no case of its own.

use std::collections::HashSet;

use serde_json::json;
use tenant_guard_core::issuer::{Issuer, IssuerSettings, Issuers};

use crate::keys::NOW;
use crate::tokens::{Registered, Suite};

/// Fewer would mean that cases were lost.
const LEAST: usize = 290;

const DAY_US: i64 = 86_400_000_000;

fn issuer(registered: &Registered) -> Issuer {
    let issuer = Issuer::new(IssuerSettings {
        issuer: registered.issuer.clone(),
        keys: registered.jwks().to_string(),
        algorithms: registered.algorithms.clone(),
        audiences: registered.audiences.clone(),
        claim_paths: json!(registered.claim_paths).to_string(),
        leeway_us: 0,
        max_age_us: registered.max_age_days.map(|days| i64::from(days) * DAY_US),
        require_exp: registered.require_exp,
    });
    issuer.unwrap_or_else(|error| panic!("{}: {error}", registered.issuer))
}

#[test]
fn hostile_tokens_are_refused_for_their_reason() {
    let suite = Suite::read();
    let issuers = Issuers::new(suite.issuers.iter().map(issuer));
    let mut failures = Vec::new();
    let mut total = 0;
    for rule in &suite.rules {
        println!("{:4} {}: {}", rule.cases.len(), rule.rule, rule.says);
        total += rule.cases.len();
        for case in &rule.cases {
            let (hostile, valid) = suite.tokens(case);
            let verify = |token: &str, account| {
                let verified = issuers.verify(token, account, NOW * 1_000_000);
                verified
                    .map(drop)
                    .map_err(|refusal| (refusal.code(), refusal.to_string()))
            };
            // The edit is what is refused: without it the token is good.
            let valid = verify(&valid, None);
            let outcome = verify(&hostile, case.account.as_deref());
            if valid != Ok(()) || outcome != Err((&case.refusal, suite.message(case))) {
                failures.push(format!(
                    "{}, {}: {valid:?}, {outcome:?}",
                    rule.rule, case.name
                ));
            }
        }
    }
    println!("{total:4} in all");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(total >= LEAST, "{total} cases");
}

/// No case stands in the file twice, under one name or under two.
#[test]
fn hostile_cases_are_distinct() {
    let text = include_str!("../../../../tests/vectors/jwt/hostile.json");
    let suite: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut recipes = HashSet::new();
    for rule in suite["rules"].as_array().unwrap() {
        let mut names = HashSet::new();
        for case in rule["cases"].as_array().unwrap() {
            assert!(
                names.insert(case["name"].clone()),
                "{}: {}",
                rule["rule"],
                case["name"]
            );
            let mut recipe = case.clone();
            recipe.as_object_mut().unwrap().remove("name");
            assert!(
                recipes.insert(recipe.to_string()),
                "{}: {}",
                rule["rule"],
                case["name"]
            );
        }
    }
}
