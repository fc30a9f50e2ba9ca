//! Keys of every algorithm, made anew in each run, and tokens signed with them.
//!
//! Shared by the tests of the core and those of the server.

use std::collections::HashMap;
use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self as aws, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

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
        .map(|algorithm| (algorithm, TestKey::make(algorithm, &RSA, 0)))
        .into()
});

/// Keys of the same names that no issuer has.
static STRANGERS: LazyLock<HashMap<&str, TestKey>> = LazyLock::new(|| {
    ALGORITHMS
        .map(|algorithm| (algorithm, TestKey::make(algorithm, &STRANGE_RSA, 99)))
        .into()
});

static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

static STRANGE_RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

pub(crate) fn key(algorithm: &str) -> &'static TestKey {
    &KEYS[algorithm]
}

/// Somebody else's key of that algorithm.
pub(crate) fn stranger(algorithm: &str) -> &'static TestKey {
    &STRANGERS[algorithm]
}

/// The RSA keys' public half as PEM text (RFC 7468 section 13).
pub(crate) fn rsa_pem() -> String {
    let der = RSA.public_key().as_der().unwrap();
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl TestKey {
    /// `first` is the first byte of a secret.
    fn make(algorithm: &'static str, rsa: &'static RsaKeyPair, first: u8) -> Self {
        let (mut jwk, sign) = match algorithm {
            "HS256" => hmac_key(hmac::HMAC_SHA256, first..first + 32),
            "HS384" => hmac_key(hmac::HMAC_SHA384, first..first + 48),
            "HS512" => hmac_key(hmac::HMAC_SHA512, first..first + 64),
            "RS256" => rsa_key(rsa, &aws::RSA_PKCS1_SHA256),
            "RS384" => rsa_key(rsa, &aws::RSA_PKCS1_SHA384),
            "RS512" => rsa_key(rsa, &aws::RSA_PKCS1_SHA512),
            "PS256" => rsa_key(rsa, &aws::RSA_PSS_SHA256),
            "PS384" => rsa_key(rsa, &aws::RSA_PSS_SHA384),
            "PS512" => rsa_key(rsa, &aws::RSA_PSS_SHA512),
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

fn hmac_key(algorithm: hmac::Algorithm, secret: std::ops::Range<u8>) -> (Value, Sign) {
    let secret: Vec<u8> = secret.collect();
    let key = hmac::Key::new(algorithm, &secret);
    let sign = move |message: &[u8]| hmac::sign(&key, message).as_ref().to_vec();
    (
        json!({ "kty": "oct", "k": base64url(&secret) }),
        Box::new(sign),
    )
}

fn rsa_key(pair: &'static RsaKeyPair, padding: &'static dyn aws::RsaEncoding) -> (Value, Sign) {
    let public = aws::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(padding, &SystemRandom::new(), message, &mut signature)
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
