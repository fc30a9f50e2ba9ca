//! What holds for every token and every change of one.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use crate::keys::{ALGORITHMS, base64url, claims, claims_with, key, outcome, verify};

static GOOD: LazyLock<Vec<String>> = LazyLock::new(|| {
    ALGORITHMS
        .map(|algorithm| key(algorithm).token(&claims()))
        .into()
});

/// Every bit of every character, those that base64url decoding would drop included.
#[test]
fn no_bit_of_a_token_can_be_changed() {
    for good in GOOD.iter() {
        for at in 0..good.len() {
            for bit in 0..7 {
                let mut bytes = good.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let token = String::from_utf8(bytes).expect("seven bits stay ASCII");
                assert_ne!(
                    outcome(verify(&token)),
                    "accepted",
                    "bit {bit} of byte {at}"
                );
            }
        }
    }
}

#[test]
fn no_prefix_of_a_token_is_accepted() {
    for good in GOOD.iter() {
        for length in 0..good.len() {
            assert_ne!(
                outcome(verify(&good[..length])),
                "accepted",
                "first {length} bytes"
            );
        }
    }
}

/// Parts of two good tokens never make a third.
#[test]
fn parts_of_tokens_do_not_mix() {
    let other = key("HS256").token(&claims_with(json!({ "account_id": "other" })));
    let own: Vec<_> = GOOD[0].split('.').collect();
    let other: Vec<_> = other.split('.').collect();
    let mixed = format!("{}.{}.{}", own[0], other[1], own[2]);
    assert_eq!(outcome(verify(&mixed)), "signature");
    let mixed = format!("{}.{}.{}", own[0], own[1], other[2]);
    assert_eq!(outcome(verify(&mixed)), "signature");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn one_character_changed(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        with in any::<char>(),
    ) {
        let good = which.get(&GOOD);
        let mut token: Vec<char> = good.chars().collect();
        *at.get_mut(&mut token) = with;
        let token: String = token.into_iter().collect();
        prop_assume!(token != *good);
        prop_assert_ne!(outcome(verify(&token)), "accepted");
    }

    #[test]
    fn characters_inserted_or_removed(
        which in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        removed in 0usize..4,
        inserted in "[A-Za-z0-9_.=-]{0,4}",
    ) {
        let good = which.get(&GOOD);
        let from = from.index(good.len());
        let to = (from + removed).min(good.len());
        let token = [&good[..from], &inserted, &good[to..]].concat();
        prop_assume!(token != *good);
        prop_assert_ne!(outcome(verify(&token)), "accepted");
    }

    #[test]
    fn any_text_is_refused(token in any::<String>()) {
        prop_assert_ne!(outcome(verify(&token)), "accepted");
    }

    #[test]
    fn any_three_parts_are_refused(
        header in prop::collection::vec(any::<u8>(), 0..60),
        payload in prop::collection::vec(any::<u8>(), 0..60),
        signature in prop::collection::vec(any::<u8>(), 0..70),
    ) {
        let parts = [header, payload, signature].map(base64url);
        prop_assert_eq!(outcome(verify(&parts.join("."))), "malformed");
    }

    /// Well signed nonsense reaches every claim reader and never panics.
    #[test]
    fn signed_claims_of_any_shape_are_judged(
        name in prop::sample::select(vec![
            "iss", "exp", "nbf", "iat", "aud", "account_id", "sub", "roles", "sid", "aal", "jti",
        ]),
        value in json_value(),
    ) {
        let mut payload = claims();
        payload[name] = value;
        if let Ok(verified) = verify(&key("HS256").token(&payload)) {
            prop_assert_eq!(verified.identity.claims, payload.to_string());
        }
    }

    #[test]
    fn signed_headers_of_any_shape_are_judged(
        name in prop::sample::select(vec!["alg", "kid", "typ", "cty", "crit", "b64", "jwk", "x"]),
        value in json_value(),
    ) {
        let mut header = json!({ "alg": "HS256", "kid": "HS256" });
        header[name] = value;
        let result = verify(&key("HS256").sign(&header, &claims()));
        if matches!(name, "alg" | "kid") {
            let own = header[name] == "HS256";
            prop_assert_eq!(result.is_ok(), own);
        }
    }
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        prop::sample::select(vec!["HS256", "none", "RS256", "JWT", ""]).prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map("[a-z]{0,3}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}
