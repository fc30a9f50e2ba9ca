//! The other side of benches/identity.py: the JWT library alone, verifying the same tokens.
//!
//! ```text
//! bare_library sign TOKENS KEYS   fresh keys, TOKENS different tokens of each algorithm, and the
//!                                 public halves of KEYS further keys, as JSON
//! bare_library verify PASSES      reads that JSON; prints nanoseconds of processor time a token
//! ```

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An issuer of one algorithm. Its name is the algorithm's.
#[derive(Serialize, Deserialize)]
struct Issuer {
    key: Jwk,
    tokens: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Material {
    issuers: BTreeMap<String, Issuer>,
    further_keys: Vec<Jwk>,
}

fn main() {
    // Cargo adds an option of its own when it runs a bench.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let number = |text: &str| text.parse::<usize>().expect("a count is a number");
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["sign", tokens, keys] => json!(sign(number(tokens), number(keys))),
        ["verify", passes] => {
            let material = serde_json::from_reader(std::io::stdin()).expect("what sign printed");
            json!(verify(&material, number(passes)))
        }
        _ => panic!("neither sign TOKENS KEYS nor verify PASSES: {arguments:?}"),
    };
    println!("{result}");
}

fn sign(tokens: usize, keys: usize) -> Material {
    let issuers = [
        (Algorithm::HS256, EncodingKey::from_secret(&[7; 32])),
        (Algorithm::RS256, rsa_key()),
        (Algorithm::ES256, elliptic_key()),
        (Algorithm::EdDSA, edwards_key()),
    ];
    Material {
        issuers: issuers
            .into_iter()
            .map(|(algorithm, key)| (name(algorithm), issuer(algorithm, &key, tokens)))
            .collect(),
        further_keys: (0..keys)
            .map(|number| {
                public_half(
                    Algorithm::ES256,
                    &elliptic_key(),
                    &format!("further-{number}"),
                )
            })
            .collect(),
    }
}

fn issuer(algorithm: Algorithm, key: &EncodingKey, tokens: usize) -> Issuer {
    let mut header = Header::new(algorithm);
    header.kid = Some("live".into());
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.expect("the clock is past 1970").as_secs();
    let sign_one = |number: usize| {
        let claims = json!({
            "iss": name(algorithm), "aud": "bench", "iat": now, "exp": now + 36_000,
            "sub": "22222222-2222-4222-8222-222222222222", "sid": "session-of-the-bench",
            "jti": format!("token-{number}"), "roles": ["agent", "billing"],
            "account_id": "11111111-1111-4111-8111-111111111111",
        });
        jsonwebtoken::encode(&header, &claims, key).expect("the key fits its algorithm")
    };
    Issuer {
        key: public_half(algorithm, key, "live"),
        tokens: (0..tokens).map(sign_one).collect(),
    }
}

/// The key to register; of a shared secret it is the secret.
fn public_half(algorithm: Algorithm, key: &EncodingKey, id: &str) -> Jwk {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).expect("the key is whole");
    jwk.common.key_id = Some(id.into());
    jwk
}

/// Verifies all tokens of each issuer, as an application does that has its key at hand.
fn verify(material: &Material, passes: usize) -> BTreeMap<&str, f64> {
    let measure = |name: &str, issuer: &Issuer| {
        let algorithm = name.parse().expect("issuers are named after algorithms");
        let key = DecodingKey::from_jwk(&issuer.key).expect("the key is whole");
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[name]);
        validation.set_audience(&["bench"]);
        validation.validate_nbf = true;
        let one_pass = || {
            for token in &issuer.tokens {
                let verified = jsonwebtoken::decode::<Value>(token, &key, &validation);
                black_box(verified.expect("the token is valid"));
            }
        };
        one_pass();
        let begun = processor_time();
        (0..passes).for_each(|_| one_pass());
        let spent = processor_time() - begun;
        spent as f64 / (passes * issuer.tokens.len()) as f64
    };
    let issuers = material.issuers.iter();
    issuers
        .map(|(name, issuer)| (name.as_str(), measure(name, issuer)))
        .collect()
}

/// Nanoseconds this thread has been on a processor. Linux brings the number up to date when the
/// thread leaves it, so it sleeps first.
fn processor_time() -> u64 {
    std::thread::sleep(Duration::from_millis(1));
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat");
    let statistics = statistics.expect("Linux keeps scheduler statistics");
    let spent = statistics.split(' ').next().expect("the first number");
    spent.parse().expect("nanoseconds")
}

fn name(algorithm: Algorithm) -> String {
    format!("{algorithm:?}")
}

fn elliptic_key() -> EncodingKey {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let der = pair.and_then(|pair| pair.to_pkcs8v1());
    EncodingKey::from_ec_der(der.expect("a P-256 key can be made").as_ref())
}

fn edwards_key() -> EncodingKey {
    let der = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1());
    EncodingKey::from_ed_der(der.expect("an Ed25519 key can be made").as_ref())
}

fn rsa_key() -> EncodingKey {
    /// A PKCS #8 envelope of this size of key, up to the PKCS #1 key inside that is wanted.
    const ENVELOPE: usize = 26;
    let pair = rsa::KeyPair::generate(KeySize::Rsa2048).expect("an RSA key can be made");
    let der = pair.as_der().expect("an RSA key has a DER form");
    EncodingKey::from_rsa_der(&der.as_ref()[ENVELOPE..])
}
