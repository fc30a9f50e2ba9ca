//! Keys, algorithms and signatures (RFC 7515 section 5.2, RFC 8725 sections 3.1 to 3.3).

use serde_json::{Value, json};
use tenant_guard_core::issuer::{Issuer, IssuerSettings, Issuers};
use tenant_guard_core::jwk::KeySetError;

use crate::signing::{TestKey, stranger};

use crate::keys::{
    ALGORITHMS, ISSUER, NOW, base64url, claims, claims_with, key, outcome, settings,
    settings_with_keys, verify, verify_with,
};

#[test]
fn every_algorithm_verifies() {
    for algorithm in ALGORITHMS {
        assert_eq!(
            outcome(verify(&key(algorithm).token(&claims()))),
            "accepted",
            "{algorithm}"
        );
    }
}

/// Algorithm confusion: whatever header a key's signature is put under, only its own is taken.
#[test]
fn a_key_verifies_only_its_own_algorithm() {
    for signer in ALGORITHMS {
        for named in ALGORITHMS.into_iter().filter(|named| *named != signer) {
            let header = json!({ "alg": named, "kid": signer });
            let token = key(signer).sign(&header, &claims());
            assert_eq!(
                outcome(verify(&token)),
                "algorithm_not_allowed",
                "{signer} as {named}"
            );

            let header = json!({ "alg": named, "kid": named });
            let token = key(signer).sign(&header, &claims());
            assert_eq!(
                outcome(verify(&token)),
                "signature",
                "{signer} as {named}, its kid"
            );
        }
    }
}

/// The classic: HMAC with the public key, which everybody knows, as the secret.
#[test]
fn a_public_key_is_never_an_hmac_secret() {
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let public = key(algorithm).bare_jwk();
        let member = |name: &str| public[name].as_str().map(str::to_owned);
        let texts = [member("n"), member("x"), Some(public.to_string())];
        for secret in texts.into_iter().flatten() {
            for kid in [json!({}), json!({ "kid": algorithm })] {
                let mut header = kid.clone();
                header["alg"] = json!("HS256");
                let message = format!(
                    "{}.{}",
                    base64url(header.to_string()),
                    base64url(claims().to_string())
                );
                for bytes in [secret.clone().into_bytes(), base64_bytes(&secret)] {
                    let mac = aws_lc_rs::hmac::sign(
                        &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &bytes),
                        message.as_bytes(),
                    );
                    let token = format!("{message}.{}", base64url(mac));
                    let settings = settings_with_keys(&[key(algorithm).jwk.clone()]);
                    assert_eq!(
                        outcome(verify_with(settings, &token)),
                        "algorithm_not_allowed"
                    );
                }
            }
        }
    }
}

fn base64_bytes(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .unwrap_or_default()
}

/// The issuer's list narrows what its keys allow.
#[test]
fn the_allow_list_is_obeyed() {
    let only = |names: &[&str]| IssuerSettings {
        algorithms: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..settings_with_keys(&[key("RS256").bare_jwk()])
    };
    let token = |algorithm: &str| key(algorithm).sign(&json!({ "alg": algorithm }), &claims());
    assert_eq!(
        outcome(verify_with(only(&["PS256"]), &token("PS256"))),
        "accepted"
    );
    assert_eq!(
        outcome(verify_with(only(&["PS256"]), &token("RS256"))),
        "algorithm_not_allowed"
    );
    assert_eq!(
        outcome(verify_with(only(&["RS256", "PS384"]), &token("RS256"))),
        "accepted"
    );
    assert_eq!(
        outcome(verify_with(only(&["RS256"]), &token("RS384"))),
        "algorithm_not_allowed"
    );
}

#[test]
fn unknown_algorithms_are_refused() {
    for algorithm in [
        "ES512", "ES256K", "HS1", "RS1", "hs256", "HS256 ", "ED25519", "dir",
    ] {
        for header in [
            json!({ "alg": algorithm }),
            json!({ "alg": algorithm, "kid": "HS256" }),
        ] {
            let token = key("HS256").sign(&header, &claims());
            assert_eq!(
                outcome(verify(&token)),
                "algorithm_not_allowed",
                "{algorithm}"
            );
        }
    }
}

#[test]
fn the_key_id_selects_the_key() {
    for kid in ["", "hs256", "HS256 ", "../HS256", "HS256' OR 1=1", "RS999"] {
        let token = key("HS256").sign(&json!({ "alg": "HS256", "kid": kid }), &claims());
        assert_eq!(outcome(verify(&token)), "unknown_key", "{kid:?}");
    }
    // A key without an id is not a wildcard.
    let anonymous = settings_with_keys(&[key("HS256").bare_jwk()]);
    assert_eq!(
        outcome(verify_with(anonymous, &key("HS256").token(&claims()))),
        "unknown_key"
    );
}

/// Without a key id, every key that fits is tried, within a bound.
#[test]
fn without_a_key_id_the_fitting_keys_are_tried() {
    let token = key("HS256").sign(&json!({ "alg": "HS256" }), &claims());
    assert_eq!(outcome(verify(&token)), "accepted");

    let other = |number: u8| json!({ "kty": "oct", "k": base64url([number; 32]) });
    let mut keys: Vec<Value> = (0..7).map(other).collect();
    assert_eq!(
        outcome(verify_with(settings_with_keys(&keys), &token)),
        "signature"
    );
    keys.push(key("HS256").bare_jwk());
    assert_eq!(
        outcome(verify_with(settings_with_keys(&keys), &token)),
        "accepted"
    );
    keys.push(other(9));
    assert_eq!(
        outcome(verify_with(settings_with_keys(&keys), &token)),
        "unknown_key"
    );
    let named = key("RS256").sign(&json!({ "alg": "RS256" }), &claims());
    assert_eq!(
        outcome(verify_with(settings_with_keys(&keys), &named)),
        "algorithm_not_allowed"
    );
}

/// RFC 8725 section 3.10: what a token says about keys is never followed.
#[test]
fn keys_in_the_header_are_ignored() {
    let forged = json!({ "kty": "oct", "k": base64url([9; 32]) });
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[9; 32]);
    for (name, value) in [
        ("jwk", forged),
        ("jku", json!("https://evil.test/keys.json")),
        ("x5u", json!("https://evil.test/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("AAAA")),
        ("x5t#S256", json!("AAAA")),
    ] {
        let mut header = json!({ "alg": "HS256", "kid": "HS256" });
        header[name] = value;
        let message = format!(
            "{}.{}",
            base64url(header.to_string()),
            base64url(claims().to_string())
        );
        let mac = base64url(aws_lc_rs::hmac::sign(&secret, message.as_bytes()));
        assert_eq!(
            outcome(verify(&format!("{message}.{mac}"))),
            "signature",
            "{name}"
        );
        let honest = key("HS256").sign(&header, &claims());
        assert_eq!(outcome(verify(&honest)), "accepted", "{name}");
    }
}

#[test]
fn wrong_signatures_are_refused() {
    for algorithm in ALGORITHMS {
        let good = key(algorithm).token(&claims());
        let (message, signature) = good.rsplit_once('.').unwrap();
        let length = base64_bytes(signature).len();
        let other = key(algorithm).raw_signature(b"another message");
        let mut longer = base64_bytes(signature);
        longer.push(0);
        for wrong in [
            vec![],
            vec![0; length],
            vec![0xff; length],
            other,
            longer,
            base64_bytes(signature)[..length - 1].to_vec(),
        ] {
            let token = format!("{message}.{}", base64url(wrong));
            assert_eq!(outcome(verify(&token)), "signature", "{algorithm}");
        }
    }
}

/// CVE-2022-21449: r = s = 0, or either at the group order, verifies nothing.
#[test]
fn degenerate_ecdsa_signatures_are_refused() {
    let order =
        hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let (zero, one) = (vec![0; 32], [vec![0; 31], vec![1]].concat());
    let good = key("ES256").token(&claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let genuine = base64_bytes(signature);
    for r in [&zero, &one, &order, &genuine[..32].to_vec()] {
        for s in [&zero, &one, &order] {
            let token = format!("{message}.{}", base64url([r.as_slice(), s].concat()));
            assert_eq!(outcome(verify(&token)), "signature");
        }
    }
    // The DER form other protocols use (RFC 7518 section 3.4 wants r and s side by side).
    let der = [
        &[0x30, 0x44, 2, 0x20][..],
        &genuine[..32],
        &[2, 0x20],
        &genuine[32..],
    ]
    .concat();
    let token = format!("{message}.{}", base64url(der));
    assert_eq!(outcome(verify(&token)), "signature");
}

/// Until the signature is good, nothing but the issuer is judged: no oracle for claims.
#[test]
fn a_bad_signature_hides_what_the_claims_are() {
    for changes in [
        json!({ "exp": NOW - 1000 }),
        json!({ "exp": null }),
        json!({ "exp": "soon" }),
        json!({ "nbf": NOW + 1000 }),
        json!({ "account_id": null }),
        json!({ "account_id": {} }),
        json!({ "aud": 1 }),
        json!({ "sub": 1, "roles": 1 }),
    ] {
        let good = key("ES256").token(&claims_with(changes.clone()));
        let (message, _) = good.rsplit_once('.').unwrap();
        let token = format!("{message}.{}", base64url([7; 64]));
        assert_ne!(outcome(verify(&good)), "signature");
        assert_eq!(outcome(verify(&token)), "signature", "{changes}");
    }
}

/// Keys belong to their issuer: another issuer's good key signs nothing here.
#[test]
fn issuers_do_not_share_keys() {
    let first = settings_with_keys(&[key("ES256").jwk.clone()]);
    let second = IssuerSettings {
        issuer: "https://second.example".into(),
        ..settings_with_keys(&[key("EdDSA").jwk.clone()])
    };
    let issuers = Issuers::new([Issuer::new(first).unwrap(), Issuer::new(second).unwrap()]);
    let judged = |token: &str| outcome(issuers.verify(token, None, NOW * 1_000_000));

    assert_eq!(judged(&key("ES256").token(&claims())), "accepted");
    assert_eq!(judged(&key("EdDSA").token(&claims())), "unknown_key");
    let second = claims_with(json!({ "iss": "https://second.example" }));
    assert_eq!(judged(&key("EdDSA").token(&second)), "accepted");
    assert_eq!(judged(&key("ES256").token(&second)), "unknown_key");
}

/// Rotation: old and new keys live side by side, and a retired one stops.
#[test]
fn keys_can_be_rotated() {
    let (old, new) = (key("ES256"), key("EdDSA"));
    let both = || settings_with_keys(&[old.jwk.clone(), new.jwk.clone()]);
    assert_eq!(
        outcome(verify_with(both(), &old.token(&claims()))),
        "accepted"
    );
    assert_eq!(
        outcome(verify_with(both(), &new.token(&claims()))),
        "accepted"
    );
    let rotated = settings_with_keys(std::slice::from_ref(&new.jwk));
    assert_eq!(
        outcome(verify_with(rotated, &old.token(&claims()))),
        "unknown_key"
    );
}

/// An issuer that keeps the key id over a change of key, or names no key ids at all.
#[test]
fn keys_can_be_rotated_under_one_id_or_none() {
    let (old, new) = (key("RS256"), key("ES256"));
    let renamed = |jwk: &Value, id: Option<&str>| {
        let mut jwk = jwk.clone();
        jwk.as_object_mut().unwrap().remove("kid");
        if let Some(id) = id {
            jwk["kid"] = json!(id);
        }
        jwk
    };
    let token = |key: &TestKey, id: Option<&str>| {
        let mut header = json!({ "alg": key.algorithm });
        if let Some(id) = id {
            header["kid"] = json!(id);
        }
        key.sign(&header, &claims())
    };
    let judged = |keys: &[&Value], token: &str| {
        let keys: Vec<_> = keys.iter().copied().cloned().collect();
        outcome(verify_with(settings_with_keys(&keys), token))
    };

    let main = Some("main");
    let (before, after) = (renamed(&old.jwk, main), renamed(&new.jwk, main));
    assert_eq!(judged(&[&before], &token(old, main)), "accepted");
    assert_eq!(judged(&[&after], &token(new, main)), "accepted");
    let retired = judged(&[&after], &token(old, main));
    assert_eq!(retired, "algorithm_not_allowed");
    // A new key of the same algorithm.
    let after = renamed(&stranger("RS256").jwk, main);
    assert_eq!(judged(&[&after], &token(old, main)), "signature");

    // While both are live they need ids of their own, or none.
    let error = Issuer::new(settings_with_keys(&[before.clone(), after.clone()])).unwrap_err();
    assert_eq!(error, KeySetError::RepeatedId("main".into()).into());
    let (before, after) = (renamed(&before, None), renamed(&after, None));
    for keys in [[&before, &after], [&after, &before]] {
        assert_eq!(judged(&keys, &token(old, None)), "accepted");
    }
    assert_eq!(judged(&[&after], &token(old, None)), "signature");
}

/// What is handed on is the very text that was signed.
#[test]
fn the_claims_are_the_signed_bytes() {
    let payload = format!(
        "{{ \"iss\" : \"{ISSUER}\",\n\t\"exp\":{}, \"account_id\":\"A\\u0041\", \"n\": 1.50e2 }} ",
        NOW + 60
    );
    let token = key("HS256").sign_text(r#"{"alg":"HS256","kid":"HS256"}"#, &payload);
    let verified = verify(&token).unwrap();
    assert_eq!(verified.identity.claims, payload);
    assert_eq!(verified.identity.account.as_str(), "AA");
    assert_eq!(verified.identity.issuer, settings().issuer);
}

/// RFC 7515 appendix A.1 to A.3: accepted while their `exp` of 22 March 2011 lies ahead.
#[test]
fn published_tokens_verify_in_their_time() {
    let text = include_str!("../../../../tests/vectors/jwt/published.json");
    let examples: Vec<Value> = serde_json::from_str(text).unwrap();
    let mut seen = 0;
    for example in examples {
        let source = example["source"].as_str().unwrap();
        let settings = IssuerSettings {
            issuer: "joe".into(),
            claim_paths: r#"{"account": ["iss"]}"#.into(),
            ..settings_with_keys(&[example["jwk"].clone()])
        };
        let issuers = Issuers::new([Issuer::new(settings).unwrap()]);
        let at = |seconds: i64| {
            let token = example["compact"].as_str().unwrap();
            outcome(issuers.verify(token, None, seconds * 1_000_000))
        };
        if source.starts_with("RFC 7515") {
            seen += 1;
            assert_eq!(at(1_300_819_379), "accepted", "{source}");
            assert_eq!(at(1_300_819_380), "expired", "{source}");
        } else {
            // Their payload is prose, not claims.
            assert_eq!(at(0), "malformed", "{source}");
        }
    }
    assert_eq!(seen, 3);
}

/// The published examples that this verifier must not take: unsigned, not compact, detached,
/// of an unsupported algorithm.
#[test]
fn published_examples_for_other_readers_are_refused() {
    let text = include_str!("../../../../tests/vectors/jwt/published-refused.json");
    let examples: Vec<Value> = serde_json::from_str(text).unwrap();
    assert_eq!(examples.len(), 12);
    for example in examples {
        let source = &example["source"];
        let printed = &example["jwk"];
        let alone = Issuer::new(settings_with_keys(std::slice::from_ref(printed)));
        if printed["crv"] == "P-521" {
            let error = alone.unwrap_err();
            assert_eq!(error, KeySetError::NoUsableKey.into(), "{source}");
        }
        // Beside a key of ours, so that the issuer stands whatever the example's key is.
        let mut keys = vec![key("EdDSA").jwk.clone()];
        keys.extend((!printed.is_null()).then(|| printed.clone()));
        let settings = IssuerSettings {
            issuer: "joe".into(),
            claim_paths: r#"{"account": ["iss"]}"#.into(),
            ..settings_with_keys(&keys)
        };
        let issuers = Issuers::new([Issuer::new(settings).unwrap()]);
        let token = example["token"].as_str().unwrap();
        let judged = outcome(issuers.verify(token, None, 1_300_819_379 * 1_000_000));
        assert_eq!(judged, example["refusal"], "{source}: {}", example["why"]);
    }
}
