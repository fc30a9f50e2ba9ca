//! Keys of every algorithm, made anew in each run, and tokens signed with them.

use std::collections::HashMap;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self as aws, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tenant_guard_core::issuer::{Issuer, IssuerSettings, Issuers};
use tenant_guard_core::token::{Refusal, Verified};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const ACCOUNT: &str = "550e8400-e29b-41d4-a716-446655440000";

/// The present, in Unix seconds, for every test.
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

pub(crate) struct TestKey {
    pub(crate) algorithm: &'static str,
    /// The public key, or the secret: with `alg`, and with the algorithm's name as `kid`.
    pub(crate) jwk: Value,
    sign: Sign,
}

static KEYS: LazyLock<HashMap<&str, TestKey>> = LazyLock::new(|| {
    ALGORITHMS
        .map(|algorithm| (algorithm, TestKey::make(algorithm)))
        .into()
});

static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

pub(crate) fn key(algorithm: &str) -> &'static TestKey {
    &KEYS[algorithm]
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl TestKey {
    fn make(algorithm: &'static str) -> Self {
        let (mut jwk, sign) = match algorithm {
            "HS256" => hmac_key(hmac::HMAC_SHA256, 32),
            "HS384" => hmac_key(hmac::HMAC_SHA384, 48),
            "HS512" => hmac_key(hmac::HMAC_SHA512, 64),
            "RS256" => rsa_key(&aws::RSA_PKCS1_SHA256),
            "RS384" => rsa_key(&aws::RSA_PKCS1_SHA384),
            "RS512" => rsa_key(&aws::RSA_PKCS1_SHA512),
            "PS256" => rsa_key(&aws::RSA_PSS_SHA256),
            "PS384" => rsa_key(&aws::RSA_PSS_SHA384),
            "PS512" => rsa_key(&aws::RSA_PSS_SHA512),
            "ES256" => ec_key(&aws::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            "ES384" => ec_key(&aws::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            "EdDSA" => ed_key(),
            other => panic!("no test key for {other}"),
        };
        jwk["alg"] = json!(algorithm);
        jwk["kid"] = json!(algorithm);
        Self {
            algorithm,
            jwk,
            sign,
        }
    }

    /// The key without `alg` and `kid`.
    pub(crate) fn bare_jwk(&self) -> Value {
        let mut jwk = self.jwk.clone();
        jwk.as_object_mut()
            .unwrap()
            .retain(|name, _| name != "alg" && name != "kid");
        jwk
    }

    /// A token over exactly these texts.
    pub(crate) fn sign_text(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", base64url(header), base64url(payload));
        let signature = base64url((self.sign)(message.as_bytes()));
        format!("{message}.{signature}")
    }

    pub(crate) fn sign(&self, header: &Value, payload: &Value) -> String {
        self.sign_text(&header.to_string(), &payload.to_string())
    }

    /// A token with this key's own header.
    pub(crate) fn token(&self, payload: &Value) -> String {
        let header = json!({ "alg": self.algorithm, "typ": "JWT", "kid": self.algorithm });
        self.sign(&header, payload)
    }

    pub(crate) fn raw_signature(&self, message: &[u8]) -> Vec<u8> {
        (self.sign)(message)
    }
}

fn hmac_key(algorithm: hmac::Algorithm, length: u8) -> (Value, Sign) {
    let secret: Vec<u8> = (0..length).collect();
    let key = hmac::Key::new(algorithm, &secret);
    let sign = move |message: &[u8]| hmac::sign(&key, message).as_ref().to_vec();
    (
        json!({ "kty": "oct", "k": base64url(&secret) }),
        Box::new(sign),
    )
}

fn rsa_key(padding: &'static dyn aws::RsaEncoding) -> (Value, Sign) {
    let public = aws::RsaPublicKeyComponents::<Vec<u8>>::from(RSA.public_key());
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; RSA.public_modulus_len()];
        RSA.sign(padding, &SystemRandom::new(), message, &mut signature)
            .unwrap();
        signature
    };
    let jwk = json!({ "kty": "RSA", "n": base64url(public.n), "e": base64url(public.e) });
    (jwk, Box::new(sign))
}

fn ec_key(algorithm: &'static aws::EcdsaSigningAlgorithm, curve: &str) -> (Value, Sign) {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let (x, y) = {
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        (base64url(x), base64url(y))
    };
    let sign = move |message: &[u8]| {
        pair.sign(&SystemRandom::new(), message)
            .unwrap()
            .as_ref()
            .to_vec()
    };
    (
        json!({ "kty": "EC", "crv": curve, "x": x, "y": y }),
        Box::new(sign),
    )
}

fn ed_key() -> (Value, Sign) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = base64url(pair.public_key());
    let sign = move |message: &[u8]| pair.sign(message).as_ref().to_vec();
    (
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x }),
        Box::new(sign),
    )
}

/// The settings most tests change one thing of: all twelve keys, everything else by default.
pub(crate) fn settings() -> IssuerSettings {
    let keys: Vec<_> = ALGORITHMS
        .iter()
        .map(|algorithm| &key(algorithm).jwk)
        .collect();
    IssuerSettings {
        issuer: ISSUER.into(),
        keys: json!({ "keys": keys }).to_string(),
        algorithms: None,
        audiences: None,
        claim_paths: "{}".into(),
        leeway_us: 0,
        max_age_us: None,
        require_exp: true,
    }
}

pub(crate) fn settings_with_keys(keys: &[Value]) -> IssuerSettings {
    IssuerSettings {
        keys: json!({ "keys": keys }).to_string(),
        ..settings()
    }
}

/// Claims that are accepted.
pub(crate) fn claims() -> Value {
    json!({ "iss": ISSUER, "exp": NOW + 60, "account_id": ACCOUNT, "sub": "user-1" })
}

/// Accepted claims with some members set; a null removes the member.
pub(crate) fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}

pub(crate) fn verify_with(settings: IssuerSettings, token: &str) -> Result<Verified, Refusal> {
    Issuers::new([Issuer::new(settings).unwrap()]).verify(token, None, NOW * 1_000_000)
}

static DEFAULT: LazyLock<Issuers> =
    LazyLock::new(|| Issuers::new([Issuer::new(settings()).unwrap()]));

/// Verifies under [`settings`].
pub(crate) fn verify(token: &str) -> Result<Verified, Refusal> {
    DEFAULT.verify(token, None, NOW * 1_000_000)
}

/// The reason's code, or `accepted`.
pub(crate) fn outcome(result: Result<Verified, Refusal>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(refusal) => refusal.code(),
    }
}
