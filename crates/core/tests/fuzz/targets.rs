//! What is fuzzed, and what must hold of whatever comes out.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tenant_guard_core::account::AccountId;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::identity::Identity;
use tenant_guard_core::issuer::{Issuer, IssuerSettings, Issuers};
use tenant_guard_core::ledger::{Adopted, Snapshot};
use tenant_guard_core::statement::{fingerprint, reduced};

use crate::proofs;
use crate::signing::{TestKey, base64url, key};

const ISSUER: &str = "https://issuer.example";
const NOW_US: i64 = 1_800_000_000_000_000;

/// A reader of foreign input.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces of the target's language.
    pub(crate) words: &'static [&'static str],
    /// Reads an input, asserts what must hold, and says in a few words what came of it.
    pub(crate) judge: fn(&[u8]) -> String,
    /// A second of fuzzing reaches at least so many outcomes.
    pub(crate) least_outcomes: usize,
}

pub(crate) static TARGETS: [Target; 13] = [
    Target {
        name: "statement",
        seeds: || {
            vec![
                b"SELECT a, 'b''c', E'\\'', $1, -2 FROM \"t\" WHERE x IN (1, 2) -- end".to_vec(),
                b"INSERT INTO t VALUES ($x$a$x$, U&'b'), (X'1F', 1.5e-3); /* a /* b */ */".to_vec(),
            ]
        },
        words: &[
            "'", "''", "E'", "\\'", "$$", "$a$", "--", "\n", "/*", "*/", "\"", "(", ")", ",", "1",
            "?", "::", "U&\"",
        ],
        judge: statement,
        least_outcomes: 10,
    },
    Target {
        name: "signed token",
        seeds: signed_seeds,
        words: &[
            "alg",
            "none",
            "HS256",
            "kid",
            "typ",
            "cty",
            "JWT",
            "logout+jwt",
            "crit",
            "b64",
            "jwk",
            "iss",
            "exp",
            "nbf",
            "iat",
            "aud",
            "sub",
            "roles",
            "sid",
            "aal",
            "jti",
            "account_id",
        ],
        judge: signed_token,
        least_outcomes: 12,
    },
    Target {
        name: "token",
        seeds: || {
            vec![
                TOKEN.clone().into_bytes(),
                b"eyJhbGciOiJub25lIn0.e30.".to_vec(),
            ]
        },
        words: &[".", "..", "A", "e30", "eyJhbGciOiJub25lIn0"],
        judge: token,
        least_outcomes: 3,
    },
    Target {
        name: "issuer",
        seeds: issuer_seeds,
        words: &[
            "keys",
            "kty",
            "oct",
            "RSA",
            "EC",
            "OKP",
            "P-256",
            "P-384",
            "Ed25519",
            "k",
            "n",
            "e",
            "x",
            "y",
            "d",
            "use",
            "enc",
            "key_ops",
            "verify",
            "alg",
            "kid",
            "AQAB",
            "account",
            "subject",
            "user_metadata",
        ],
        judge: issuer,
        least_outcomes: 12,
    },
    Target {
        name: "bound identity",
        seeds: identity_seeds,
        words: &["tg1;", "0:", "1:7", "-", "2:{}", "99:"],
        judge: identity,
        least_outcomes: 2,
    },
    Target {
        name: "event id",
        seeds: || vec![b"9f86d081884c7d65-1234-7".to_vec()],
        words: &["-", "+1", "F"],
        judge: canonical::<EventKey>,
        least_outcomes: 2,
    },
    Target {
        name: "snapshot",
        seeds: || vec![b"10:20:10,14,19".to_vec(), b"5:5:".to_vec()],
        words: &[":", ",", "10:20:", "+1"],
        judge: canonical::<Snapshot>,
        least_outcomes: 2,
    },
    Target {
        name: "adopted incarnations",
        seeds: || {
            vec![
                b"9f86d081884c7d65:12,0000000000000001:7".to_vec(),
                Vec::new(),
            ]
        },
        words: &[":", ",", "ffffffffffffffff:1", "+1"],
        judge: canonical::<Adopted>,
        least_outcomes: 2,
    },
    Target {
        name: "checkpoint",
        seeds: checkpoint_seeds,
        words: &["\n\n", "tenant_guard/", "/2", "\u{2014} "],
        judge: checkpoint,
        least_outcomes: 2,
    },
    Target {
        name: "signed note",
        seeds: proofs::note_seeds,
        words: &["\n\n", "\u{2014} ", "PeterNeumann ", "x08go", "+", "="],
        judge: proofs::note,
        least_outcomes: 3,
    },
    Target {
        name: "policy",
        seeds: proofs::policy_seeds,
        words: &[
            "log ", "witness ", "group ", "quorum ", "none", "any", "all", " 2 ", "\t", "#",
        ],
        judge: proofs::policy,
        least_outcomes: 4,
    },
    Target {
        name: "receipt",
        seeds: proofs::receipt_seeds,
        words: &[
            "index ",
            "\n\n",
            "\"path\":[]",
            "\"index\":",
            "null",
            "[",
            "{}",
            "-1",
        ],
        judge: proofs::receipt,
        least_outcomes: 4,
    },
    Target {
        name: "openings of a bundle",
        seeds: proofs::openings_seeds,
        words: &[
            "end_of_block\n",
            "unsealed\n",
            "ledger_leaf ",
            "null",
            "-1",
            "9223372036854775807",
        ],
        judge: proofs::openings,
        least_outcomes: 5,
    },
];

static KEY: LazyLock<&TestKey> = LazyLock::new(|| key("HS256"));

static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| {
    let settings = settings(json!({ "keys": [KEY.jwk] }).to_string(), "{}".into());
    Issuers::new([Issuer::new(settings).unwrap()])
});

static TOKEN: LazyLock<String> = LazyLock::new(|| KEY.token(&claims()));

fn settings(keys: String, claim_paths: String) -> IssuerSettings {
    IssuerSettings {
        issuer: ISSUER.into(),
        keys,
        algorithms: None,
        audiences: Some(vec!["api".into()]),
        claim_paths,
        leeway_us: 30_000_000,
        max_age_us: Some(3_600_000_000),
        require_exp: true,
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["api", "web"], "sub": "u", "jti": "j", "sid": "s", "aal": "aal2",
        "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_000_060,
        "account_id": [7, "007"], "roles": ["admin", "user"],
    })
}

/// Header and payload, a line each.
fn signed_seeds() -> Vec<Vec<u8>> {
    let header = r#"{"alg":"HS256","typ":"JWT","kid":"HS256"}"#;
    let mut single = claims();
    single["account_id"] = json!("550e8400-e29b-41d4-a716-446655440000");
    [claims(), single]
        .map(|claims| format!("{header}\n{claims}").into_bytes())
        .into()
}

/// Well signed, so that every mutant reaches the readers of headers and claims.
fn signed_token(input: &[u8]) -> String {
    let (header, payload) = halves(input);
    let message = format!("{}.{}", base64url(header), base64url(payload));
    let signature = base64url(KEY.raw_signature(message.as_bytes()));
    let token = format!("{message}.{signature}");

    let result = ISSUERS.accept(&token, NOW_US);
    let explanation = ISSUERS.explain(&token, NOW_US);
    assert_eq!(explanation.accepted.as_ref(), result.as_ref().ok());
    assert_eq!(explanation.refusal.as_ref(), result.as_ref().err());
    let accepted = match result {
        Ok(accepted) => accepted,
        Err(refusal) => return refusal.to_string(),
    };
    assert_eq!(accepted.claims.as_bytes(), payload);
    assert!((accepted.valid_from_us..accepted.valid_until_us).contains(&NOW_US));
    // Another reader of JSON sees the same signer and the same algorithm.
    let other: Value = serde_json::from_slice(payload).unwrap();
    assert_eq!(other["iss"], accepted.issuer);
    let other: Value = serde_json::from_slice(header).unwrap();
    assert_eq!(other["alg"], "HS256");
    match accepted
        .identity(Some("7"))
        .or_else(|_| accepted.identity(None))
    {
        Ok(identity) => {
            let text = identity.encode();
            let view = Identity::parse(&text).unwrap();
            assert_eq!(view.to_identity(), Some(identity));
            "bound".into()
        }
        Err(refusal) => refusal.to_string(),
    }
}

/// No constant is left, whatever it holds, and what is left stays as it is.
fn statement(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    // Nothing of the delimiter, whatever its ends make of it.
    let hidden = text.replace('f', "");
    assert_eq!(
        reduced(&format!("select $fz${hidden}$fz$ , 'q'"), false),
        "select ?"
    );
    let once = reduced(&text, false);
    assert_eq!(reduced(&once, false), once);
    assert_eq!(fingerprint(&text, false).len(), 16);
    let words = once.split(' ').count().min(20);
    format!("{words} {} {}", once.contains('"'), once.contains('?'))
}

/// No text but the one that was signed is accepted.
fn token(input: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(input) else {
        return "not UTF-8".into();
    };
    match ISSUERS.accept(text, NOW_US) {
        Ok(_) => {
            assert_eq!(text, *TOKEN);
            "accepted".into()
        }
        Err(refusal) => refusal.to_string(),
    }
}

/// Key set and claim paths, a line each.
fn issuer_seeds() -> Vec<Vec<u8>> {
    let keys: Vec<_> = ["HS256", "RS256", "ES256", "ES384", "EdDSA"]
        .map(|name| &key(name).jwk)
        .into();
    let paths = json!({ "account": ["app_metadata", "id"], "roles": ["realm_access", "roles"] });
    let mut seeds: Vec<_> = keys
        .iter()
        .map(|jwk| format!("{}\n{{}}", json!({ "keys": [jwk] })).into_bytes())
        .collect();
    seeds.push(format!("{}\n{paths}", json!({ "keys": keys })).into_bytes());
    seeds
}

/// Whatever can be registered can judge a token.
fn issuer(input: &[u8]) -> String {
    let (keys, paths) = halves(input);
    let (Ok(keys), Ok(paths)) = (std::str::from_utf8(keys), std::str::from_utf8(paths)) else {
        return "not UTF-8".into();
    };
    match Issuer::new(settings(keys.into(), paths.into())) {
        Ok(issuer) => {
            let other: Value = serde_json::from_str(keys).unwrap();
            assert!(!other["keys"].as_array().unwrap().is_empty());
            assert!(!paths.contains("user_metadata\""));
            let judged = Issuers::new([issuer]).accept(&TOKEN, NOW_US);
            judged.map_or_else(|refusal| refusal.to_string(), |_| "accepted".into())
        }
        // Positions, lengths and names make no new outcome.
        Err(error) => {
            let text = error.to_string();
            let reason = text.split('"').step_by(2);
            reason
                .collect::<String>()
                .replace(|letter: char| letter.is_ascii_digit(), "")
        }
    }
}

fn identity_seeds() -> Vec<Vec<u8>> {
    let identity = Identity {
        issuer: ISSUER.into(),
        account: AccountId::from_integer(7),
        subject: Some("ünï:3".into()),
        roles: vec!["admin".into(), String::new()],
        session: None,
        assurance: Some("-".into()),
        token_id: None,
        issued_at_us: Some(NOW_US),
        valid_until_us: NOW_US,
        claims: "{}".into(),
    };
    let bare = Identity {
        account: AccountId::from_text("550e8400-e29b-41d4-a716-44665544000a").unwrap(),
        roles: vec![],
        subject: None,
        issued_at_us: None,
        valid_until_us: i64::MAX,
        ..identity.clone()
    };
    [identity, bare].map(|one| one.encode().into_bytes()).into()
}

/// What parses is what encoding writes.
fn identity(input: &[u8]) -> String {
    let Some(view) = std::str::from_utf8(input).ok().and_then(Identity::parse) else {
        return "refused".into();
    };
    assert_eq!(view.roles.count(), view.roles.len());
    match view.to_identity() {
        Some(identity) => {
            assert_eq!(identity.encode().as_bytes(), input);
            format!("{} roles", identity.roles.len().min(3))
        }
        None => "account in another spelling".into(),
    }
}

/// What parses is what is printed: one value, one text.
pub(crate) fn canonical<T: FromStr + Display>(input: &[u8]) -> String {
    let parsed = std::str::from_utf8(input)
        .ok()
        .and_then(|text| text.parse::<T>().ok());
    match parsed {
        Some(value) => {
            assert_eq!(value.to_string().as_bytes(), input);
            "read".into()
        }
        None => "refused".into(),
    }
}

fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let checkpoint = Checkpoint {
        incarnation: -1,
        epoch: 2,
        size: 17,
        root: [0xa5; 32],
    };
    let signed = format!("{checkpoint}\n\u{2014} witness.example Az3grlgtzPICa5OS\n");
    vec![checkpoint.to_string().into_bytes(), signed.into_bytes()]
}

/// What parses is a canonical body, or begins with one.
fn checkpoint(input: &[u8]) -> String {
    let parsed = std::str::from_utf8(input)
        .ok()
        .and_then(|text| text.parse::<Checkpoint>().ok());
    let Some(checkpoint) = parsed else {
        return "refused".into();
    };
    let body = checkpoint.to_string();
    let rest = input.strip_prefix(body.as_bytes()).unwrap();
    assert!(rest.is_empty() || rest.starts_with(b"\n"));
    if rest.is_empty() { "body" } else { "note" }.into()
}

/// What stands before the first line break and after it.
fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, b""),
    }
}
