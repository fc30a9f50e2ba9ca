//! The outer form of a token (RFC 7515, RFC 8725): refused before any key is looked at.

use serde_json::json;

use crate::keys::{ISSUER, NOW, base64url, claims, claims_with, key, outcome, verify};

const HEADER: &str = r#"{"alg":"HS256","kid":"HS256"}"#;

/// The outcome for a well signed token over these texts.
fn judged(header: &str, payload: &str) -> &'static str {
    outcome(verify(&key("HS256").sign_text(header, payload)))
}

fn with_header(header: serde_json::Value) -> &'static str {
    judged(&header.to_string(), &claims().to_string())
}

/// RFC 7515 section 7.1.
#[test]
fn anything_but_three_parts_is_malformed() {
    let good = key("HS256").token(&claims());
    let parts: Vec<_> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts")
    };
    for token in [
        "".into(),
        ".".into(),
        "..".into(),
        "...".into(),
        header.into(),
        format!("{header}.{payload}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}.{signature}"),
        // The JSON serialization (section 7.2).
        json!({ "protected": header, "payload": payload, "signature": signature }).to_string(),
        format!("Bearer {good}"),
        "null".into(),
    ] {
        assert_eq!(outcome(verify(&token)), "malformed", "{token}");
    }
    assert_eq!(outcome(verify(&good)), "accepted");
}

/// RFC 7515 section 2: base64url without padding, line breaks or white space.
#[test]
fn other_spellings_of_base64url_are_malformed() {
    let good = key("HS256").token(&claims());
    for (at, _) in good.match_indices('.') {
        for stray in [
            "=", " ", "\n", "\r\n", "\t", "+", "/", "%2E", "\u{200b}", "é", "\0",
        ] {
            for position in [at, at + 1] {
                let mut token = good.clone();
                token.insert_str(position, stray);
                assert_eq!(
                    outcome(verify(&token)),
                    "malformed",
                    "{stray:?} at {position}"
                );
            }
        }
    }
    for token in [format!("{good}="), format!("{good}\n"), format!(" {good}")] {
        assert_eq!(outcome(verify(&token)), "malformed");
    }
}

/// RFC 4648 section 3.5: the bits after the last byte are zero, so a token has one spelling.
#[test]
fn stray_trailing_bits_are_malformed() {
    // 32 bytes of signature leave two such bits in the 43rd character.
    let good = key("HS256").token(&claims());
    let last = good.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let index = alphabet.find(last).unwrap();
    for stray in 1..4 {
        let mut token = good.clone();
        token.pop();
        token.push(alphabet.as_bytes()[index + stray].into());
        assert_eq!(outcome(verify(&token)), "malformed");
    }
}

#[test]
fn a_part_that_is_no_json_object_is_malformed() {
    for text in [
        "",
        "{",
        "[]",
        "null",
        "1",
        "\"x\"",
        "{} {}",
        "{}x",
        "{'a':1}",
        "\u{feff}{}",
    ] {
        assert_eq!(
            judged(text, &claims().to_string()),
            "malformed",
            "header {text:?}"
        );
        assert_eq!(judged(HEADER, text), "malformed", "payload {text:?}");
    }
    // Not UTF-8 (RFC 7515 section 3).
    for bytes in [
        &b"{\"a\":\"\xff\"}"[..],
        b"{\"a\":\"\xc0\x80\"}",
        b"{\"a\":\"\xed\xa0\x80\"}",
    ] {
        let message = format!("{}.{}", base64url(HEADER), base64url(bytes));
        let signature = base64url(key("HS256").raw_signature(message.as_bytes()));
        assert_eq!(
            outcome(verify(&format!("{message}.{signature}"))),
            "malformed"
        );
        let header = format!("{}.{}.{signature}", base64url(bytes), base64url("{}"));
        assert_eq!(outcome(verify(&header)), "malformed");
    }
}

/// RFC 7515 section 4, RFC 7519 section 4.
#[test]
fn repeated_members_are_refused() {
    let claims = claims().to_string();
    for header in [
        r#"{"alg":"none","alg":"HS256","kid":"HS256"}"#,
        r#"{"alg":"HS256","kid":"HS256","\u0061lg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"HS256","jwk":{"k":1,"k":1}}"#,
    ] {
        assert_eq!(judged(header, &claims), "repeated_member", "{header}");
    }
    let rest = claims.strip_prefix('{').unwrap();
    for payload in [
        format!(r#"{{"account_id":"other",{rest}"#),
        format!(r#"{{"account_\u0069d":"other",{rest}"#),
        format!(r#"{{"x":[{{"y":1,"y":1}}],{rest}"#),
    ] {
        assert_eq!(judged(HEADER, &payload), "repeated_member", "{payload}");
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |depth: usize| {
        let value = "[".repeat(depth) + &"]".repeat(depth);
        let rest = claims().to_string();
        format!(r#"{{"x":{value},{}"#, rest.strip_prefix('{').unwrap())
    };
    assert_eq!(judged(HEADER, &nested(31)), "accepted");
    assert_eq!(judged(HEADER, &nested(32)), "too_deep");
    assert_eq!(judged(HEADER, &nested(4000)), "too_deep");
    let deep = format!(
        r#"{{"alg":"HS256","x":{}1{}}}"#,
        "[".repeat(40),
        "]".repeat(40)
    );
    assert_eq!(judged(&deep, &claims().to_string()), "too_deep");

    let padded =
        |length: usize| key("HS256").token(&claims_with(json!({ "x": "a".repeat(length) })));
    let mut length = 12_000;
    while padded(length).len() <= 16 * 1024 {
        length += 1;
    }
    assert_eq!(outcome(verify(&padded(length - 1))), "accepted");
    assert_eq!(outcome(verify(&padded(length))), "too_large");
    assert_eq!(outcome(verify(&"a".repeat(10_000_000))), "too_large");
}

#[test]
fn null_characters_are_refused() {
    for payload in [
        r#"{"iss":"a","x":"\u0000"}"#,
        r#"{"iss":"a","x\u0000":1}"#,
        r#"{"iss":"a","x":[{"y":"a\u0000b"}]}"#,
    ] {
        assert_eq!(judged(HEADER, payload), "null_character", "{payload}");
    }
}

/// RFC 7515 section 4.1.1: `alg` is there and is a string.
#[test]
fn the_header_names_one_algorithm() {
    for header in [
        json!({}),
        json!({ "kid": "HS256" }),
        json!({ "alg": null }),
        json!({ "alg": 1 }),
        json!({ "alg": ["HS256"] }),
        json!({ "alg": { "name": "HS256" } }),
        json!({ "ALG": "HS256" }),
        json!({ "alg": "HS256", "kid": 1 }),
        json!({ "alg": "HS256", "kid": null }),
        json!({ "alg": "HS256", "kid": ["HS256"] }),
        json!({ "alg": "HS256", "typ": 1 }),
        json!({ "alg": "HS256", "cty": ["JWT"] }),
    ] {
        assert_eq!(with_header(header.clone()), "malformed", "{header}");
    }
}

/// RFC 8725 section 3.2.
#[test]
fn unsigned_tokens_are_refused() {
    for algorithm in ["none", "None", "NONE", "nOnE"] {
        let header = json!({ "alg": algorithm });
        assert_eq!(with_header(header.clone()), "unsigned");
        let bare = format!(
            "{}.{}.",
            base64url(header.to_string()),
            base64url(claims().to_string())
        );
        assert_eq!(outcome(verify(&bare)), "unsigned");
    }
    for algorithm in ["none ", "", "nоne", "null"] {
        assert_eq!(
            with_header(json!({ "alg": algorithm })),
            "algorithm_not_allowed"
        );
    }
}

/// RFC 7515 section 4.1.11, RFC 7797 sections 3 and 6.
#[test]
fn extensions_are_refused() {
    for critical in [
        json!(["b64"]),
        json!(["exp"]),
        json!([]),
        json!(null),
        json!("x"),
    ] {
        let header = json!({ "alg": "HS256", "kid": "HS256", "crit": critical, "exp": 1 });
        assert_eq!(with_header(header), "critical", "{critical}");
    }
    for (b64, expected) in [
        (json!(false), "unencoded"),
        (json!("false"), "unencoded"),
        (json!(null), "unencoded"),
        (json!(0), "unencoded"),
        (json!(true), "accepted"),
    ] {
        let header = json!({ "alg": "HS256", "kid": "HS256", "b64": b64 });
        assert_eq!(with_header(header), expected, "{b64}");
    }
    // RFC 7797 section 4.2, as published.
    let detached = "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19..\
                    A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY";
    assert_eq!(outcome(verify(detached)), "critical");
}

/// RFC 7519 section 5.2: a token inside a token is not looked into.
#[test]
fn nested_tokens_are_refused() {
    for kind in ["JWT", "jwt", "application/jwt", "Application/JWT"] {
        let header = json!({ "alg": "HS256", "kid": "HS256", "cty": kind });
        assert_eq!(with_header(header), "nested", "{kind}");
    }
    let header = json!({ "alg": "HS256", "kid": "HS256", "cty": "json" });
    assert_eq!(with_header(header), "accepted");
    let inner = key("HS256").token(&claims());
    assert_eq!(judged(HEADER, &inner), "malformed");
    assert_eq!(judged(HEADER, &format!("\"{inner}\"")), "malformed");
}

/// A JWE has five parts (RFC 7516 section 3.1).
#[test]
fn encrypted_tokens_are_malformed() {
    let header = base64url(r#"{"alg":"dir","enc":"A256GCM"}"#);
    assert_eq!(
        outcome(verify(&format!("{header}..AAAA.AAAA.AAAA"))),
        "malformed"
    );
}

/// RFC 7519 section 4.1.1: compared as they are, no case folding, no normalisation of URLs.
#[test]
fn the_issuer_is_compared_exactly() {
    for (issuer, expected) in [
        (json!(ISSUER), "accepted"),
        (json!("https://issuer.example/"), "unknown_issuer"),
        (json!("HTTPS://ISSUER.EXAMPLE"), "unknown_issuer"),
        (json!("https://issuer.example "), "unknown_issuer"),
        (json!("https://issuer.example.evil.test"), "unknown_issuer"),
        (json!(""), "unknown_issuer"),
        (json!([ISSUER]), "claim_shape"),
        (json!(1), "claim_shape"),
        (json!({}), "claim_shape"),
    ] {
        let token = key("HS256").token(&claims_with(json!({ "iss": issuer })));
        assert_eq!(outcome(verify(&token)), expected, "{issuer}");
    }
    let without = json!({ "exp": NOW + 60, "account_id": "7" });
    assert_eq!(outcome(verify(&key("HS256").token(&without))), "no_issuer");
    let null = json!({ "iss": null, "exp": NOW + 60, "account_id": "7" });
    assert_eq!(outcome(verify(&key("HS256").token(&null))), "claim_shape");
}
