//! Reads `tests/vectors/jwt/hostile.json` and makes its tokens.
//!
//! A case starts from the valid token of its issuer: the issuer's `claims` over the common ones, a
//! header of `alg`, `typ` and `kid`, signed by the issuer's `signer`. Then, in this order,
//!
//! * `key` names another of the test keys, for header and signature;
//! * `header_without`, `header`, `claims_without`, `claims` take members away and set others;
//!   `header_text`, `header_hex`, `claims_text`, `claims_hex` replace the whole part, and
//!   `claims_filler` adds a member of that many bytes;
//! * `header_key` puts the forger's own key into that parameter;
//! * `signer` or `hmac_secret` says who signs instead, `forge` what is done to the signature;
//! * `token` lays out the parts in another way: `{header}` is a part, `{valid header}` that of the
//!   valid token, `{header:stray}` a part in another spelling.
//!
//! `account` is the account the caller asks for, `refusal` and `claim` what must come of it.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::signing::{self, TestKey, base64url};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Orders of the groups: of P-256 and P-384 (SP 800-186 section 3.2.1), big end first, and of
/// edwards25519 (RFC 8032 section 5.1), little end first.
const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const P384_ORDER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffff\
                          c7634d81f4372ddf581a0db248b0a77aecec196accc52973";
const ED25519_ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

#[derive(Deserialize)]
pub(crate) struct Suite {
    messages: BTreeMap<String, String>,
    pub(crate) issuers: Vec<Registered>,
    pub(crate) rules: Vec<Rule>,
}

/// An issuer to register before the cases run. What is absent is the default of `add_issuer`,
/// except the leeway, which is none.
#[derive(Deserialize)]
pub(crate) struct Registered {
    pub(crate) issuer: String,
    signer: String,
    keys: Vec<Value>,
    pub(crate) algorithms: Option<Vec<String>>,
    pub(crate) audiences: Option<Vec<String>>,
    pub(crate) max_age_days: Option<i32>,
    #[serde(default)]
    pub(crate) claim_paths: Map<String, Value>,
    #[serde(default = "yes")]
    pub(crate) require_exp: bool,
    /// Members of the header of its valid tokens; null takes one away.
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    claims_without: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct Rule {
    pub(crate) rule: String,
    pub(crate) says: String,
    pub(crate) cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) refusal: String,
    claim: Option<String>,
    pub(crate) account: Option<String>,
    issuer: Option<String>,
    key: Option<String>,
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    header_without: Vec<String>,
    header_text: Option<String>,
    header_hex: Option<String>,
    header_key: Option<String>,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    claims_without: Vec<String>,
    claims_text: Option<String>,
    claims_hex: Option<String>,
    claims_filler: Option<usize>,
    signer: Option<String>,
    hmac_secret: Option<String>,
    forge: Option<String>,
    token: Option<String>,
}

fn yes() -> bool {
    true
}

/// Header, payload and signature, decoded.
struct Parts {
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Suite {
    pub(crate) fn read() -> Self {
        serde_json::from_str(include_str!("../vectors/jwt/hostile.json")).unwrap()
    }

    /// The message that refuses the case.
    pub(crate) fn message(&self, case: &Case) -> String {
        let message = &self.messages[&case.refusal];
        message.replace('%', case.claim.as_deref().unwrap_or("%"))
    }

    /// The case's token, and the valid one it is made from.
    pub(crate) fn tokens(&self, case: &Case) -> (String, String) {
        let name = case.issuer.as_deref().unwrap_or(&self.issuers[0].issuer);
        let issuer = self.issuers.iter().find(|one| one.issuer == name).unwrap();
        (case.token(issuer), issuer.valid_token())
    }
}

impl Registered {
    /// The JWK Set to register.
    pub(crate) fn jwks(&self) -> Value {
        let keys: Vec<_> = self.keys.iter().map(jwk).collect();
        json!({ "keys": keys })
    }

    fn header(&self, key: &TestKey) -> Map<String, Value> {
        let mut header = json!({ "alg": key.algorithm, "typ": "JWT", "kid": key.algorithm });
        let members = header.as_object_mut().unwrap();
        members.extend(self.header.clone());
        members.retain(|_, value| !value.is_null());
        members.clone()
    }

    fn claims(&self) -> Map<String, Value> {
        let mut claims = json!({
            "iss": self.issuer,
            "exp": 4_102_444_800_i64,
            "sub": "somebody",
            "account_id": "550e8400-e29b-41d4-a716-446655440000",
        });
        let members = claims.as_object_mut().unwrap();
        edit(members, &self.claims_without, &self.claims);
        members.clone()
    }

    fn valid_token(&self) -> String {
        let key = signing::key(&self.signer);
        key.sign(&self.header(key).into(), &self.claims().into())
    }
}

/// A key as the file has it: the name of a test key, an edit of one, or a JWK.
fn jwk(entry: &Value) -> Value {
    if let Some(name) = entry.as_str() {
        return signing::key(name).jwk.clone();
    }
    let Some(of) = entry["of"].as_str() else {
        return entry.clone();
    };
    let mut jwk = signing::key(of).jwk.clone();
    let names: Vec<String> = serde_json::from_value(entry["without"].clone()).unwrap_or_default();
    let members = entry["set"].as_object().cloned().unwrap_or_default();
    edit(jwk.as_object_mut().unwrap(), &names, &members);
    jwk
}

fn edit(object: &mut Map<String, Value>, without: &[String], with: &Map<String, Value>) {
    for name in without {
        object
            .remove(name)
            .expect("what is to be taken away is there");
    }
    object.extend(with.clone());
}

impl Case {
    fn token(&self, issuer: &Registered) -> String {
        let key = signing::key(self.key.as_deref().unwrap_or(&issuer.signer));
        let (header, payload) = (self.header(issuer, key), self.payload(issuer));
        let message = format!("{}.{}", base64url(&header), base64url(&payload));
        let mut parts = Parts {
            signature: self.signature(key, message.as_bytes()),
            header,
            payload,
        };
        if let Some(how) = &self.forge {
            parts.signature = forge(how, key, &parts);
        }
        self.lay_out(&parts, issuer)
    }

    fn header(&self, issuer: &Registered, key: &TestKey) -> Vec<u8> {
        if let Some(text) = &self.header_text {
            return text.clone().into_bytes();
        }
        if let Some(digits) = &self.header_hex {
            return hex(digits);
        }
        let mut header = issuer.header(key);
        edit(&mut header, &self.header_without, &self.header);
        if let Some(name) = &self.header_key {
            header.insert(name.clone(), signing::stranger("ES256").jwk.clone());
        }
        Value::from(header).to_string().into_bytes()
    }

    fn payload(&self, issuer: &Registered) -> Vec<u8> {
        if let Some(text) = &self.claims_text {
            return text.clone().into_bytes();
        }
        if let Some(digits) = &self.claims_hex {
            return hex(digits);
        }
        let mut claims = issuer.claims();
        edit(&mut claims, &self.claims_without, &self.claims);
        if let Some(length) = self.claims_filler {
            claims.insert("filler".into(), "a".repeat(length).into());
        }
        Value::from(claims).to_string().into_bytes()
    }

    fn signature(&self, key: &TestKey, message: &[u8]) -> Vec<u8> {
        if let Some(secret) = &self.hmac_secret {
            let (of, what) = secret.split_once(' ').unwrap();
            let secret = match (of, what) {
                ("text", text) => text.as_bytes().to_vec(),
                (_, "as PEM") => signing::rsa_pem().into_bytes(),
                (of, member) => decoded(signing::key(of).jwk[member].as_str().unwrap()),
            };
            let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            return hmac::sign(&secret, message).as_ref().to_vec();
        }
        let signer = match self.signer.as_deref() {
            None => key,
            Some(name) => match name.strip_prefix("stranger ") {
                Some(algorithm) => signing::stranger(algorithm),
                None => signing::key(name),
            },
        };
        signer.raw_signature(message)
    }

    fn lay_out(&self, parts: &Parts, issuer: &Registered) -> String {
        let Some(layout) = &self.token else {
            return format!(
                "{}.{}.{}",
                base64url(&parts.header),
                base64url(&parts.payload),
                base64url(&parts.signature)
            );
        };
        let valid = issuer.valid_token();
        let mut token = layout.clone();
        for ((name, bytes), valid) in [
            ("header", &parts.header),
            ("payload", &parts.payload),
            ("signature", &parts.signature),
        ]
        .into_iter()
        .zip(valid.split('.'))
        {
            token = token
                .replace(&format!("{{{name}}}"), &base64url(bytes))
                .replace(&format!("{{valid {name}}}"), valid);
            for (spelling, spell) in SPELLINGS {
                let place = format!("{{{name}:{spelling}}}");
                if token.contains(&place) {
                    token = token.replace(&place, &spell(bytes));
                }
            }
        }
        token
    }
}

type Spell = fn(&[u8]) -> String;

/// Other ways to write bytes than base64url has.
const SPELLINGS: [(&str, Spell); 3] = [
    ("base64", |bytes| {
        let text = STANDARD_NO_PAD.encode(bytes);
        assert!(text.contains(['+', '/']), "the alphabets differ here");
        text
    }),
    ("impossible", |bytes| {
        let mut text = base64url(bytes);
        while text.len() % 4 != 1 {
            text.push('A');
        }
        text
    }),
    ("stray", |bytes| {
        let mut text = base64url(bytes).into_bytes();
        assert_ne!(text.len() % 4, 0, "there are bits to set");
        let last = text.last_mut().unwrap();
        let value = ALPHABET.iter().position(|letter| letter == last).unwrap();
        *last = ALPHABET[value + 1];
        String::from_utf8(text).unwrap()
    }),
];

/// Another signature than the good one of `parts`.
fn forge(how: &str, key: &TestKey, parts: &Parts) -> Vec<u8> {
    let good = &parts.signature;
    let length = good.len();
    let (r, s) = good.split_at(length / 2);
    let order = || hex(if length == 64 { P256_ORDER } else { P384_ORDER });
    let zero = || vec![0; length / 2];
    let one = || [vec![0; length / 2 - 1], vec![1]].concat();
    let changed = |at: usize, mask: u8| {
        let mut signature = good.clone();
        signature[at] ^= mask;
        signature
    };
    match how {
        "empty" => vec![],
        "all zeros" => vec![0; length],
        "all ones" => vec![0xff; length],
        "number one" => [vec![0; length - 1], vec![1]].concat(),
        "first half" => r.to_vec(),
        "last byte dropped" => good[..length - 1].to_vec(),
        "zero byte appended" => [good, &[0][..]].concat(),
        "zero byte before" => [&[0], &good[..]].concat(),
        "first bit flipped" => changed(0, 0x80),
        "last bit flipped" => changed(length - 1, 1),
        "in hexadecimal" => good
            .iter()
            .flat_map(|byte| format!("{byte:02x}").into_bytes())
            .collect(),
        "modulus" => decoded(key.jwk["n"].as_str().unwrap()),
        "r zero" => [&zero(), s].concat(),
        "s zero" => [r, &zero()].concat(),
        "r order" => [&order(), s].concat(),
        "s order" => [r, &order()].concat(),
        "r and s one" => [one(), one()].concat(),
        "r and s swapped" => [s, r].concat(),
        "r and s widened" => [&[0], r, &[0], s].concat(),
        "in DER" => in_der(r, s),
        "sign of R flipped" => changed(31, 0x80),
        "S plus order" => [r, &sum(s, &hex(ED25519_ORDER))].concat(),
        "without the dot" => {
            key.raw_signature((base64url(&parts.header) + &base64url(&parts.payload)).as_bytes())
        }
        "of the payload alone" => key.raw_signature(base64url(&parts.payload).as_bytes()),
        "of the decoded texts" => {
            key.raw_signature(&[&parts.header, &b"."[..], &parts.payload].concat())
        }
        other => panic!("no way to forge \"{other}\""),
    }
}

/// SEQUENCE of two INTEGERs (RFC 3279 section 2.2.3), for numbers of less than 127 bytes.
fn in_der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| [&[2, number.len() as u8 + 1, 0], number].concat();
    let body = [integer(r), integer(s)].concat();
    [&[0x30, body.len() as u8], &body[..]].concat()
}

/// Of two numbers of the same length, little end first; the sum fits.
fn sum(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let digits = left.iter().zip(right).map(|(one, other)| {
        let digit = u16::from(*one) + u16::from(*other) + carry;
        carry = digit >> 8;
        digit as u8
    });
    let digits = digits.collect();
    assert_eq!(carry, 0, "the sum fits");
    digits
}

fn hex(digits: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(digit).collect()
}

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}
