//! Key sets of issuers: JWK Set (RFC 7517 section 5) to keys that are ready to verify.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use thiserror::Error;

use crate::base64url;
use crate::json::{self, Json, JsonError, Object};

/// Sizes in bits an RSA modulus may have: the lower bound is RFC 7518 section 3.3, the upper one
/// keeps a hostile key set from making every verification slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// aws-lc verifies with no public exponent beyond 33 bits; four bytes hold every one in use.
const RSA_EXPONENT_BYTES: usize = 4;

/// Members that only a private key has (RFC 7518 section 6; `priv` in key pairs of type AKP).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

/// Encodings, sign bit cleared, of the points of edwards25519 whose order divides 8. Under such a
/// key anybody can sign.
const ED25519_SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Why a key set cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// The text is not acceptable JSON.
    #[error("key set {0}")]
    Json(JsonError),
    /// A JWK Set is an object whose member `keys` is an array (RFC 7517 section 5).
    #[error("key set has no array \"keys\"")]
    NoArray,
    /// Nothing in the set can verify a token's signature.
    #[error("key set has no key for signatures of a supported type")]
    NoUsableKey,
    /// The issuer's algorithms leave none of the keys anything to verify.
    #[error("key set has no key for any of the allowed algorithms")]
    NoAllowedKey,
    /// Two keys share a key id, so a token could not say which one it means.
    #[error("key set names the key id \"{0}\" more than once")]
    RepeatedId(String),
    /// A key must not be used.
    #[error("key {position} of the key set {problem}")]
    Key {
        /// Place in the array, from 1.
        position: usize,
        /// What is wrong with it.
        problem: KeyError,
    },
}

/// Why one key of a set is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// A JWK is a JSON object (RFC 7517 section 4).
    #[error("is not an object")]
    NotAnObject,
    /// A member is missing, of another JSON type, or not the encoding that RFC 7518 section 6 asks.
    #[error("has no well-formed member \"{0}\"")]
    Member(&'static str),
    /// The private half belongs to the issuer alone.
    #[error("holds private key material")]
    Private,
    /// `alg` names an algorithm of another key type or curve.
    #[error("names an algorithm that does not fit its type")]
    AlgorithmMismatch,
    /// RFC 7518 section 3.2: an HMAC secret is at least as long as the hash.
    #[error("has a secret shorter than its hash")]
    ShortSecret,
    /// The RSA modulus is outside 2048 to 8192 bits.
    #[error("has an RSA modulus of {0} bits, outside 2048 to 8192")]
    RsaSize(usize),
    /// Modulus and exponent are not an RSA public key.
    #[error("is not a valid RSA public key")]
    RsaInvalid,
    /// The coordinates are not a point of the curve, or a point under which anybody can sign.
    #[error("is not a safe point of its curve")]
    Point,
}

/// A key that can verify signatures, and the only algorithms it verifies.
///
/// The algorithm comes from the key, never from a token alone (RFC 8725 section 3.1).
pub(crate) struct Key {
    pub(crate) id: Option<String>,
    pub(crate) algorithms: Vec<Algorithm>,
    material: DecodingKey,
}

/// A key of the set, or the reason to pass over it. RFC 7517 section 5 asks to ignore keys of
/// unknown types: an issuer that adds one during rotation must not break its old keys.
enum Entry {
    Key(Key),
    ForeignType,
    NotForSignatures,
}

/// The keys of a set that may verify under `allowed` (any supported algorithm when `None`).
pub(crate) fn parse_key_set(
    text: &str,
    allowed: Option<&[Algorithm]>,
) -> Result<Vec<Key>, KeySetError> {
    let set = json::parse(text).map_err(KeySetError::Json)?;
    let Json::Object(set) = set else {
        return Err(KeySetError::NoArray);
    };
    let Some(Json::Array(entries)) = set.get("keys") else {
        return Err(KeySetError::NoArray);
    };

    let mut keys = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        match Key::parse(entry) {
            Ok(Entry::Key(key)) => keys.push(key),
            Ok(Entry::ForeignType | Entry::NotForSignatures) => {}
            Err(problem) => {
                return Err(KeySetError::Key {
                    position: index + 1,
                    problem,
                });
            }
        }
    }
    if keys.is_empty() {
        return Err(KeySetError::NoUsableKey);
    }
    refuse_repeated_ids(&keys)?;
    if let Some(allowed) = allowed {
        for key in &mut keys {
            key.algorithms
                .retain(|algorithm| allowed.contains(algorithm));
        }
        if keys.iter().all(|key| key.algorithms.is_empty()) {
            return Err(KeySetError::NoAllowedKey);
        }
    }
    Ok(keys)
}

fn refuse_repeated_ids(keys: &[Key]) -> Result<(), KeySetError> {
    let mut seen = std::collections::HashSet::new();
    match keys
        .iter()
        .filter_map(|key| key.id.as_deref())
        .find(|id| !seen.insert(*id))
    {
        Some(id) => Err(KeySetError::RepeatedId(id.to_owned())),
        None => Ok(()),
    }
}

impl Key {
    fn parse(entry: &Json<'_>) -> Result<Entry, KeyError> {
        let Json::Object(jwk) = entry else {
            return Err(KeyError::NotAnObject);
        };
        let kind = text(jwk, "kty")?;
        if PRIVATE_MEMBERS.iter().any(|name| jwk.contains(name))
            || (kind != "oct" && jwk.contains("k"))
        {
            return Err(KeyError::Private);
        }
        if !meant_for_signatures(jwk)? {
            return Ok(Entry::NotForSignatures);
        }
        let loaded = match kind {
            "oct" => secret(jwk)?,
            "RSA" => rsa(jwk)?,
            "EC" => elliptic_curve(jwk)?,
            "OKP" => edwards_curve(jwk)?,
            _ => None,
        };
        let Some((mut algorithms, material)) = loaded else {
            return Ok(Entry::ForeignType);
        };
        if jwk.contains("alg") {
            let Ok(named) = text(jwk, "alg")?.parse::<Algorithm>() else {
                return Ok(Entry::ForeignType);
            };
            if !algorithms.contains(&named) {
                return Err(mismatch(named, &material));
            }
            algorithms = vec![named];
        }
        let id = if jwk.contains("kid") {
            Some(text(jwk, "kid")?.to_owned())
        } else {
            None
        };
        Ok(Entry::Key(Self {
            id,
            algorithms,
            material,
        }))
    }

    /// Whether `signature` is this key's over `message` under `algorithm`.
    /// False for an algorithm of another family than the key's.
    pub(crate) fn verifies(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> bool {
        // The provider is named: the process-wide default panics when two are compiled in.
        (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &self.material)
            .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }
}

/// `use` (RFC 7517 section 4.2) and `key_ops` (section 4.3), where present, must say so.
fn meant_for_signatures(jwk: &Object<'_>) -> Result<bool, KeyError> {
    if jwk.contains("use") && text(jwk, "use")? != "sig" {
        return Ok(false);
    }
    match jwk.get("key_ops") {
        None => Ok(true),
        Some(Json::Array(operations)) => Ok(operations
            .iter()
            .any(|operation| operation.as_text() == Some("verify"))),
        Some(_) => Err(KeyError::Member("key_ops")),
    }
}

/// The only way a secret fails to fit an HMAC algorithm is that it is too short.
fn mismatch(named: Algorithm, material: &DecodingKey) -> KeyError {
    let hmac = AlgorithmFamily::Hmac;
    if material.family() == hmac && hmac.algorithms().contains(&named) {
        KeyError::ShortSecret
    } else {
        KeyError::AlgorithmMismatch
    }
}

/// Algorithms and key; `None` for a curve this program does not verify.
type Loaded = Option<(Vec<Algorithm>, DecodingKey)>;

/// RFC 7518 section 6.4; which hashes the length allows is section 3.2.
fn secret(jwk: &Object<'_>) -> Result<Loaded, KeyError> {
    let secret = bytes(jwk, "k")?;
    let algorithms: Vec<_> = [
        (Algorithm::HS256, 32),
        (Algorithm::HS384, 48),
        (Algorithm::HS512, 64),
    ]
    .into_iter()
    .filter(|(_, hash)| secret.len() >= *hash)
    .map(|(algorithm, _)| algorithm)
    .collect();
    if algorithms.is_empty() {
        return Err(KeyError::ShortSecret);
    }
    Ok(Some((algorithms, DecodingKey::from_secret(&secret))))
}

/// RFC 7518 section 6.3.1.
fn rsa(jwk: &Object<'_>) -> Result<Loaded, KeyError> {
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let Some(first) = n.first().filter(|octet| **octet != 0) else {
        return Err(KeyError::Member("n"));
    };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if !RSA_BITS.contains(&bits) {
        return Err(KeyError::RsaSize(bits));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|octet| octet % 2 == 1);
    if !odd(&n) || !odd(&e) || e == [1] || e.len() > RSA_EXPONENT_BYTES {
        return Err(KeyError::RsaInvalid);
    }
    RsaPublicKeyComponents { n: &n, e: &e }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_| KeyError::RsaInvalid)?;
    let key = DecodingKey::from_rsa_raw_components(&n, &e);
    Ok(Some((AlgorithmFamily::Rsa.algorithms().to_vec(), key)))
}

/// RFC 7518 section 6.2.1: both coordinates at the full width of the field.
fn elliptic_curve(jwk: &Object<'_>) -> Result<Loaded, KeyError> {
    let (algorithm, curve, width) = match text(jwk, "crv")? {
        "P-256" => (Algorithm::ES256, &ECDSA_P256_SHA256_FIXED, 32),
        "P-384" => (Algorithm::ES384, &ECDSA_P384_SHA384_FIXED, 48),
        _ => return Ok(None),
    };
    let (x, y) = (sized(jwk, "x", width)?, sized(jwk, "y", width)?);
    let point = [&[4][..], &x, &y].concat();
    ParsedPublicKey::new(curve, &point).map_err(|_| KeyError::Point)?;
    // For this library "DER" is whatever aws-lc takes as a public key: here the point itself.
    Ok(Some((vec![algorithm], DecodingKey::from_ec_der(&point))))
}

/// RFC 8037 section 2.
fn edwards_curve(jwk: &Object<'_>) -> Result<Loaded, KeyError> {
    if text(jwk, "crv")? != "Ed25519" {
        return Ok(None);
    }
    let mut point = sized(jwk, "x", 32)?;
    let key = DecodingKey::from_ed_der(&point);
    point[31] &= 0x7f;
    if ED25519_SMALL_ORDER.contains(&hex::encode(&point).as_str()) {
        return Err(KeyError::Point);
    }
    Ok(Some((vec![Algorithm::EdDSA], key)))
}

fn text<'j>(jwk: &'j Object<'_>, name: &'static str) -> Result<&'j str, KeyError> {
    jwk.get(name)
        .and_then(Json::as_text)
        .ok_or(KeyError::Member(name))
}

fn bytes(jwk: &Object<'_>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    base64url::decode(text(jwk, name)?).ok_or(KeyError::Member(name))
}

fn sized(jwk: &Object<'_>, name: &'static str, length: usize) -> Result<Vec<u8>, KeyError> {
    let bytes = bytes(jwk, name)?;
    if bytes.len() == length {
        Ok(bytes)
    } else {
        Err(KeyError::Member(name))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    /// An example printed in an RFC: the key, and a token signed with it.
    #[derive(Deserialize)]
    struct Published {
        source: String,
        algorithm: String,
        jwk: Value,
        compact: String,
    }

    impl Published {
        /// The signing input and the signature.
        fn parts(&self) -> (&str, Vec<u8>) {
            let (message, signature) = self.compact.rsplit_once('.').unwrap();
            (message, base64url::decode(signature).unwrap())
        }
    }

    fn published() -> Vec<Published> {
        serde_json::from_str(include_str!("../../../tests/vectors/jwt/published.json")).unwrap()
    }

    fn key_set(jwk: &Value) -> Result<Vec<Key>, KeySetError> {
        parse_key_set(&json!({ "keys": [jwk] }).to_string(), None)
    }

    #[test]
    fn published_signatures_verify_and_no_others() {
        for example in published() {
            let algorithm: Algorithm = example.algorithm.parse().unwrap();
            let key = key_set(&example.jwk).unwrap().remove(0);
            assert!(key.algorithms.contains(&algorithm), "{}", example.source);

            let (message, signature) = example.parts();
            assert!(
                key.verifies(algorithm, message.as_bytes(), &signature),
                "{}",
                example.source
            );

            let other = format!("{message}A");
            assert!(
                !key.verifies(algorithm, other.as_bytes(), &signature),
                "{}",
                example.source
            );
            let mut other = signature;
            other[0] ^= 1;
            for wrong in [other, vec![]] {
                assert!(
                    !key.verifies(algorithm, message.as_bytes(), &wrong),
                    "{}",
                    example.source
                );
            }
        }
    }

    #[test]
    fn a_key_never_verifies_under_another_family() {
        for example in published() {
            let key = key_set(&example.jwk).unwrap().remove(0);
            let (message, signature) = example.parts();
            for name in ["HS256", "RS256", "PS384", "ES256", "ES384", "EdDSA"] {
                if name != example.algorithm {
                    let algorithm = name.parse().unwrap();
                    assert!(
                        !key.verifies(algorithm, message.as_bytes(), &signature),
                        "{} as {name}",
                        example.source
                    );
                }
            }
        }
    }
}
