//! Settings and keys that must not be registered (RFC 7517, RFC 7518), and those that may.

use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RsaPublicKeyComponents};
use serde_json::{Value, json};
use tenant_guard_core::claims::ClaimPathsError;
use tenant_guard_core::issuer::{Issuer, IssuerError, IssuerSettings};
use tenant_guard_core::json::JsonError;
use tenant_guard_core::jwk::{KeyError, KeySetError};

use crate::keys::{
    ALGORITHMS, base64url, claims, key, outcome, settings, settings_with_keys, verify_with,
};

fn refused(settings: IssuerSettings) -> IssuerError {
    Issuer::new(settings).expect_err("the settings are unfit")
}

fn key_refused(jwk: Value) -> KeyError {
    match refused(settings_with_keys(&[jwk])) {
        IssuerError::Keys(KeySetError::Key {
            position: 1,
            problem,
        }) => problem,
        other => panic!("{other}"),
    }
}

fn set_refused(keys: &str) -> KeySetError {
    match refused(IssuerSettings {
        keys: keys.into(),
        ..settings()
    }) {
        IssuerError::Keys(problem) => problem,
        other => panic!("{other}"),
    }
}

fn with(jwk: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut jwk = jwk.clone();
    jwk[name] = value.into();
    jwk
}

#[test]
fn names_and_times_are_checked() {
    for issuer in ["", "a\0b"] {
        assert_eq!(
            refused(IssuerSettings {
                issuer: issuer.into(),
                ..settings()
            }),
            IssuerError::Name
        );
    }
    for leeway_us in [-1, 86_400_000_001, i64::MIN, i64::MAX] {
        assert_eq!(
            refused(IssuerSettings {
                leeway_us,
                ..settings()
            }),
            IssuerError::Leeway
        );
    }
    assert!(
        Issuer::new(IssuerSettings {
            leeway_us: 86_400_000_000,
            ..settings()
        })
        .is_ok()
    );
    for age in [0, -1, i64::MIN] {
        let aged = IssuerSettings {
            max_age_us: Some(age),
            ..settings()
        };
        assert_eq!(refused(aged), IssuerError::MaxAge);
    }
}

#[test]
fn lists_are_checked() {
    let algorithms = |names: &[&str]| IssuerSettings {
        algorithms: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..settings()
    };
    assert_eq!(refused(algorithms(&[])), IssuerError::NoAlgorithms);
    for name in ["none", "HS1", "hs256", "", "RSA-OAEP", "ES512"] {
        let expected = IssuerError::UnknownAlgorithm(name.into());
        assert_eq!(refused(algorithms(&["HS256", name])), expected);
    }
    let only_public = IssuerSettings {
        algorithms: Some(vec!["HS256".into()]),
        ..settings_with_keys(&[key("ES256").jwk.clone()])
    };
    assert_eq!(refused(only_public), KeySetError::NoAllowedKey.into());
    for audiences in [vec![], vec!["api".into(), String::new()]] {
        let settings = IssuerSettings {
            audiences: Some(audiences),
            ..settings()
        };
        assert_eq!(refused(settings), IssuerError::NoAudiences);
    }
}

#[test]
fn claim_paths_are_arrays_of_names() {
    let refused = |paths: &str| match refused(IssuerSettings {
        claim_paths: paths.into(),
        ..settings()
    }) {
        IssuerError::ClaimPaths(problem) => problem,
        other => panic!("{other}"),
    };
    for paths in [
        "",
        "[]",
        "null",
        "\"sub\"",
        "{",
        r#"{"account":["a"],"account":["b"]}"#,
    ] {
        assert_eq!(refused(paths), ClaimPathsError::NotAnObject, "{paths}");
    }
    assert_eq!(
        refused(r#"{"acount": ["a"]}"#),
        ClaimPathsError::UnknownClaim("acount".into())
    );
    for path in [
        "\"account_id\"",
        "[]",
        "[1]",
        "[\"\"]",
        "[[\"a\"]]",
        "null",
        "{}",
        "[\"a\", null]",
    ] {
        let paths = format!(r#"{{"account": {path}}}"#);
        assert_eq!(
            refused(&paths),
            ClaimPathsError::NotAPath("account"),
            "{path}"
        );
    }
}

/// What users can write about themselves decides nothing about them.
#[test]
fn user_writable_claims_are_no_source() {
    for claim in ["account", "subject", "roles", "session", "assurance"] {
        for path in [
            json!(["user_metadata", "account_id"]),
            json!(["user_metadata"]),
            json!(["claims", "user_metadata", "x"]),
            json!(["https://example.com/user_metadata", "x"]),
            json!(["USER_METADATA", "x"]),
            json!(["raw_user_metadata", "x"]),
            json!(["unsafe_metadata", "x"]),
        ] {
            let settings = IssuerSettings {
                claim_paths: json!({ claim: path }).to_string(),
                ..settings()
            };
            assert!(
                matches!(
                    refused(settings),
                    IssuerError::ClaimPaths(ClaimPathsError::UserWritable { claim: named, .. })
                        if named == claim
                ),
                "{claim} {path}"
            );
        }
    }
    let app = IssuerSettings {
        claim_paths: json!({ "account": ["app_metadata", "account_id"] }).to_string(),
        ..settings()
    };
    assert!(Issuer::new(app).is_ok());
}

#[test]
fn a_key_set_is_an_object_with_keys() {
    assert_eq!(set_refused(""), KeySetError::Json(JsonError::Syntax));
    assert_eq!(
        set_refused(r#"{"keys":[],"keys":[]}"#),
        KeySetError::Json(JsonError::RepeatedMember)
    );
    for set in [
        "null",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        r#"{"Keys":[]}"#,
    ] {
        assert_eq!(set_refused(set), KeySetError::NoArray, "{set}");
    }
    let bare = key("ES256").jwk.to_string();
    assert_eq!(set_refused(&bare), KeySetError::NoArray);
    assert_eq!(set_refused(r#"{"keys":[]}"#), KeySetError::NoUsableKey);
    let second = json!({ "keys": [key("ES256").jwk, 1] }).to_string();
    let expected = KeySetError::Key {
        position: 2,
        problem: KeyError::NotAnObject,
    };
    assert_eq!(set_refused(&second), expected);
}

#[test]
fn key_ids_are_unique() {
    let (first, second) = (key("ES256"), key("EdDSA"));
    let twin = with(&second.jwk, "kid", "ES256");
    assert_eq!(
        refused(settings_with_keys(&[first.jwk.clone(), twin])),
        KeySetError::RepeatedId("ES256".into()).into()
    );
    // The same id in other letters of JSON.
    let escaped = json!({ "keys": [first.jwk, second.jwk] }).to_string();
    let escaped = escaped.replace("\"kid\":\"EdDSA\"", "\"kid\":\"\\u0045S256\"");
    assert_eq!(
        set_refused(&escaped),
        KeySetError::RepeatedId("ES256".into())
    );
    let anonymous = settings_with_keys(&[first.bare_jwk(), second.bare_jwk()]);
    assert!(Issuer::new(anonymous).is_ok());
    // Ids are compared exactly: letters that look alike are different ids.
    let alike = [("ES256", "es256"), ("\u{e9}", "e\u{301}"), ("a", "a ")];
    for (one, other) in alike {
        let keys = [
            with(&first.jwk, "kid", one),
            with(&second.jwk, "kid", other),
        ];
        assert!(
            Issuer::new(settings_with_keys(&keys)).is_ok(),
            "{one:?} {other:?}"
        );
    }
    // A key that is passed over takes no id away from one that is used.
    let encryption = with(&with(&second.jwk, "kid", "ES256"), "use", "enc");
    let settings = settings_with_keys(&[encryption, first.jwk.clone()]);
    assert_eq!(
        outcome(verify_with(settings, &first.token(&claims()))),
        "accepted"
    );
}

/// RFC 7517 section 9.2: the private half has no business here.
#[test]
fn private_keys_are_refused() {
    for algorithm in ALGORITHMS {
        for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"] {
            let jwk = with(&key(algorithm).jwk, name, "AQAB");
            assert_eq!(
                key_refused(jwk),
                KeyError::Private,
                "{algorithm} with {name}"
            );
        }
        if !algorithm.starts_with("HS") {
            let jwk = with(&key(algorithm).jwk, "k", base64url([7; 32]));
            assert_eq!(key_refused(jwk), KeyError::Private);
        }
    }
    // Not even in a key that is not for signatures.
    let jwk = with(&with(&key("RS256").jwk, "use", "enc"), "d", "AQAB");
    assert_eq!(key_refused(jwk), KeyError::Private);
}

/// RFC 7517 section 5: keys of unknown kinds, and keys for other uses, are passed over.
#[test]
fn foreign_keys_are_passed_over() {
    let good = key("EdDSA");
    for foreign in [
        json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" }),
        json!({ "kty": "rsa" }),
        json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" }),
        json!({ "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }),
        json!({ "kty": "OKP", "crv": "Ed448", "x": "AA" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": "AA" }),
        with(&key("RS256").jwk, "use", "enc"),
        with(&key("RS256").jwk, "alg", "RSA-OAEP"),
        with(&key("RS256").jwk, "key_ops", json!(["encrypt", "wrapKey"])),
        with(&key("RS256").jwk, "key_ops", json!([])),
        with(&key("HS256").jwk, "key_ops", json!(["sign"])),
        with(&key("HS256").jwk, "use", "SIG"),
    ] {
        let alone = refused(settings_with_keys(std::slice::from_ref(&foreign)));
        assert_eq!(alone, KeySetError::NoUsableKey.into(), "{foreign}");
        let both = settings_with_keys(&[foreign.clone(), good.jwk.clone()]);
        assert_eq!(
            outcome(verify_with(both, &good.token(&claims()))),
            "accepted",
            "{foreign}"
        );
    }
    for ops in [json!(["verify"]), json!(["sign", "verify"])] {
        let jwk = with(&with(&good.jwk, "key_ops", ops), "use", "sig");
        let token = good.token(&claims());
        assert_eq!(
            outcome(verify_with(settings_with_keys(&[jwk]), &token)),
            "accepted"
        );
    }
}

#[test]
fn members_must_be_well_formed() {
    assert_eq!(key_refused(json!({})), KeyError::Member("kty"));
    assert_eq!(key_refused(json!({ "kty": 1 })), KeyError::Member("kty"));
    for name in ["kid", "alg", "use", "key_ops"] {
        let jwk = with(&key("ES256").jwk, name, 1);
        assert_eq!(key_refused(jwk), KeyError::Member(name));
    }
    for (algorithm, name) in [
        ("HS256", "k"),
        ("RS256", "n"),
        ("RS256", "e"),
        ("ES256", "x"),
        ("ES256", "y"),
        ("ES384", "y"),
        ("EdDSA", "x"),
    ] {
        let good = key(algorithm).bare_jwk();
        let text = good[name].as_str().unwrap();
        for bad in [
            json!(1),
            json!(format!("{text}=")),
            json!(format!(" {text}")),
            json!(null),
        ] {
            assert_eq!(key_refused(with(&good, name, bad)), KeyError::Member(name));
        }
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(name);
        assert_eq!(key_refused(without), KeyError::Member(name));
    }
}

/// RFC 7518 sections 3.2 to 3.4: an algorithm belongs to a key type.
#[test]
fn algorithm_and_type_must_fit() {
    for (algorithm, named) in [
        ("RS256", "HS256"),
        ("RS256", "ES256"),
        ("ES256", "ES384"),
        ("ES256", "RS256"),
        ("EdDSA", "ES256"),
        ("HS256", "RS256"),
        ("HS256", "EdDSA"),
    ] {
        let jwk = with(&key(algorithm).jwk, "alg", named);
        assert_eq!(
            key_refused(jwk),
            KeyError::AlgorithmMismatch,
            "{algorithm} as {named}"
        );
    }
}

/// RFC 7518 section 3.2.
#[test]
fn secrets_are_as_long_as_their_hash() {
    let secret = |length: usize| json!({ "kty": "oct", "k": base64url(vec![7; length]) });
    for length in [0, 1, 31] {
        assert_eq!(key_refused(secret(length)), KeyError::ShortSecret);
    }
    for (length, algorithm) in [(31, "HS256"), (47, "HS384"), (63, "HS512")] {
        let jwk = with(&secret(length), "alg", algorithm);
        assert_eq!(key_refused(jwk), KeyError::ShortSecret);
        let jwk = with(&secret(length + 1), "alg", algorithm);
        assert!(Issuer::new(settings_with_keys(&[jwk])).is_ok());
    }
    let short_for_list = IssuerSettings {
        algorithms: Some(vec!["HS512".into()]),
        ..settings_with_keys(&[secret(63)])
    };
    assert_eq!(refused(short_for_list), KeySetError::NoAllowedKey.into());
}

/// RFC 7518 section 3.3.
#[test]
fn weak_rsa_keys_are_refused() {
    let rsa = |n: &[u8], e: &[u8]| json!({ "kty": "RSA", "n": base64url(n), "e": base64url(e) });
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    assert!(Issuer::new(settings_with_keys(&[rsa(&public.n, &public.e)])).is_ok());

    assert_eq!(key_refused(rsa(&public.n[1..], &public.e)), {
        let next = public.n[1];
        KeyError::RsaSize(255 * 8 - next.leading_zeros() as usize)
    });
    assert_eq!(
        key_refused(rsa(&[0xff; 128], &public.e)),
        KeyError::RsaSize(1024)
    );
    let mut short = public.n.clone();
    short[0] = 0x7f;
    assert_eq!(key_refused(rsa(&short, &public.e)), KeyError::RsaSize(2047));
    assert_eq!(
        key_refused(rsa(&[0xff; 1025], &public.e)),
        KeyError::RsaSize(8200)
    );
    assert_eq!(key_refused(rsa(&[], &public.e)), KeyError::Member("n"));
    assert_eq!(
        key_refused(rsa(&[&[0], &public.n[..]].concat(), &public.e)),
        KeyError::Member("n")
    );

    let mut even = public.n.clone();
    even[255] &= 0xfe;
    assert_eq!(key_refused(rsa(&even, &public.e)), KeyError::RsaInvalid);
    for e in [
        &[][..],
        &[0],
        &[1],
        &[2],
        &[0, 1, 0, 1],
        &[1, 0, 0],
        &[0xff; 9],
    ] {
        assert_eq!(
            key_refused(rsa(&public.n, e)),
            KeyError::RsaInvalid,
            "{e:?}"
        );
    }
}

/// Invalid-curve keys (RFC 8725 section 3.4).
#[test]
fn points_off_their_curve_are_refused() {
    for (algorithm, width) in [("ES256", 32), ("ES384", 48)] {
        let good = key(algorithm).bare_jwk();
        for bad in [
            with(&good, "x", base64url(vec![0; width])),
            with(&good, "y", base64url(vec![0; width])),
            with(&good, "y", good["x"].clone()),
            with(&good, "x", base64url(vec![0xff; width])),
            with(
                &with(&good, "x", base64url(vec![0; width])),
                "y",
                base64url(vec![0; width]),
            ),
        ] {
            assert_eq!(key_refused(bad.clone()), KeyError::Point, "{bad}");
        }
        for length in [0, width - 1, width + 1] {
            let bad = with(&good, "x", base64url(vec![1; length]));
            assert_eq!(key_refused(bad), KeyError::Member("x"));
        }
    }
    let swapped = with(&key("ES384").bare_jwk(), "crv", "P-256");
    assert_eq!(key_refused(swapped), KeyError::Member("x"));
}

/// Under a point of small order anybody can sign for some messages.
#[test]
fn small_order_ed25519_keys_are_refused() {
    for hexadecimal in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ] {
        let x = base64url(hex::decode(hexadecimal).unwrap());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        assert_eq!(key_refused(jwk), KeyError::Point, "{hexadecimal}");
    }
    let short = json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url([1; 31]) });
    assert_eq!(key_refused(short), KeyError::Member("x"));
}

/// Debug output and messages of a registered issuer show no key.
#[test]
fn secrets_are_not_shown() {
    let secret = base64url([0x5a; 32]);
    let settings = settings_with_keys(&[json!({ "kty": "oct", "k": secret })]);
    assert!(!format!("{settings:?}").contains(&secret));
    assert!(!format!("{:?}", Issuer::new(settings).unwrap()).contains(&secret));
    let short = base64url([0x5a; 16]);
    let settings = settings_with_keys(&[json!({ "kty": "oct", "k": short })]);
    assert!(!refused(settings).to_string().contains(&short));
}

/// Ten thousand keys: found by id, and refused rather than tried one after the other.
#[test]
fn many_keys_are_not_tried_in_turn() {
    let jwk = |number: u32| {
        let secret = [&number.to_be_bytes()[..], &[1; 28]].concat();
        json!({ "kty": "oct", "k": base64url(secret), "kid": format!("key-{number}") })
    };
    let mut keys: Vec<Value> = (0..10_000).map(jwk).collect();
    keys.push(key("HS256").jwk.clone());
    let settings = settings_with_keys(&keys);
    let named = key("HS256").token(&claims());
    assert_eq!(outcome(verify_with(settings.clone(), &named)), "accepted");
    let anonymous = key("HS256").sign(&json!({ "alg": "HS256" }), &claims());
    assert_eq!(outcome(verify_with(settings, &anonymous)), "unknown_key");
}
