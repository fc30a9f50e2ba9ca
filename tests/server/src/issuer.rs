//! Token issuers of the tests: fresh keys, signed by an ordinary library.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use postgres::GenericClient;
use serde::Serialize;
use serde_json::{Value, json};

/// Somebody who signs tokens with one fresh key.
pub struct Issuer {
    name: String,
    kid: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Issuer {
    /// An issuer that signs with an elliptic curve key.
    pub fn es256(name: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let der = pair
            .and_then(|pair| pair.to_pkcs8v1())
            .expect("a P-256 key can be made");
        Self::new(
            name,
            Algorithm::ES256,
            EncodingKey::from_ec_der(der.as_ref()),
        )
    }

    /// An issuer that signs with an Ed25519 key.
    pub fn eddsa(name: &str) -> Self {
        let pair = Ed25519KeyPair::generate();
        let der = pair
            .and_then(|pair| pair.to_pkcs8v1())
            .expect("an Ed25519 key can be made");
        Self::new(
            name,
            Algorithm::EdDSA,
            EncodingKey::from_ed_der(der.as_ref()),
        )
    }

    /// An issuer that signs with a 2048-bit RSA key.
    pub fn rs256(name: &str) -> Self {
        /// A PKCS #8 envelope of this size of key, up to the PKCS #1 key inside that is wanted.
        const ENVELOPE: usize = 26;
        let pair = rsa::KeyPair::generate(KeySize::Rsa2048).expect("an RSA key can be made");
        let der = pair.as_der().expect("an RSA key has a DER form");
        Self::new(
            name,
            Algorithm::RS256,
            EncodingKey::from_rsa_der(&der.as_ref()[ENVELOPE..]),
        )
    }

    /// An issuer that shares a 256-bit secret with the server.
    pub fn hs256(name: &str) -> Self {
        let secret: [u8; 32] = random();
        Self::new(name, Algorithm::HS256, EncodingKey::from_secret(&secret))
    }

    fn new(name: &str, algorithm: Algorithm, key: EncodingKey) -> Self {
        let kid = format!("{:032x}", u128::from_ne_bytes(random()));
        Self {
            name: name.into(),
            kid,
            algorithm,
            key,
        }
    }

    /// The issuer's name, as it stands in `iss`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of its key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key set to register; of a shared secret it holds the secret.
    pub fn jwks(&self) -> Value {
        let mut key = Jwk::from_encoding_key(&self.key, self.algorithm).expect("the key is whole");
        key.common.key_id = Some(self.kid.clone());
        json!({ "keys": [key] })
    }

    /// Registers the issuer with the defaults of `add_issuer`.
    pub fn register(&self, client: &mut impl GenericClient) {
        let add = "SELECT tenant_guard.add_issuer($1, $2::jsonb)";
        client
            .execute(add, &[&self.name, &self.jwks()])
            .expect("the issuer is new and sound");
    }

    /// Claims of a token for `account` that is valid for five minutes.
    pub fn claims(&self, account: &str) -> Value {
        json!({
            "iss": self.name,
            "sub": "tester",
            "account_id": account,
            "iat": now(),
            "exp": now() + 300,
        })
    }

    /// A signed token with exactly these claims.
    pub fn sign(&self, claims: &impl Serialize) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.clone());
        self.sign_with(&header, claims)
    }

    /// The same under a header of the test's choice.
    pub fn sign_with(&self, header: &Header, claims: &impl Serialize) -> String {
        jsonwebtoken::encode(header, claims, &self.key).expect("the key fits its algorithm")
    }

    /// A valid token for `account`.
    pub fn token(&self, account: &str) -> String {
        self.sign(&self.claims(account))
    }

    /// Binds the running transaction to `account`.
    #[track_caller]
    pub fn sign_in(&self, client: &mut impl GenericClient, account: &str) {
        let authenticate = "SELECT tenant_guard.authenticate($1)";
        let outcome = client.execute(authenticate, &[&self.token(account)]);
        outcome.expect("the token is valid");
    }
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is past 1970").as_secs()
}
