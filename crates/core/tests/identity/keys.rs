//! Issuers and claims that most tests change one thing of.

use std::sync::LazyLock;

use serde_json::{Value, json};
use tenant_guard_core::issuer::{Issuer, IssuerSettings, Issuers};
use tenant_guard_core::token::{Refusal, Verified};

pub(crate) use crate::signing::{ALGORITHMS, base64url, key};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const ACCOUNT: &str = "550e8400-e29b-41d4-a716-446655440000";

/// The present, in Unix seconds, for every test.
pub(crate) const NOW: i64 = 1_800_000_000;

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
