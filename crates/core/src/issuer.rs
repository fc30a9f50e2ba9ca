//! Issuers: who may sign tokens, with which keys, and what their tokens must say.

use std::collections::HashMap;
use std::fmt;

use jsonwebtoken::Algorithm;
use thiserror::Error;

use crate::claims::{self, ClaimPaths, ClaimPathsError, TimeRules};
use crate::json::{self, Json, Object};
use crate::jwk::{self, Key, KeySetError};
use crate::token::{Accepted, Compact, Refusal, Speaker, Verified};

/// With a longer leeway an expiry would mean little: one day, in microseconds.
pub(crate) const MAX_LEEWAY_US: i64 = 86_400_000_000;

/// A token without a key id is tried against at most so many keys.
const MAX_KEYS_TRIED: usize = 8;

/// An issuer as its administrator registers it.
#[derive(Clone)]
pub struct IssuerSettings {
    /// Compared byte for byte with `iss` (RFC 7519 section 4.1.1).
    pub issuer: String,
    /// JWK Set (RFC 7517 section 5) as JSON text.
    pub keys: String,
    /// JWS names (RFC 7518 section 3.1) of the algorithms allowed; `None`: all that the keys'
    /// types allow.
    pub algorithms: Option<Vec<String>>,
    /// When set, `aud` must name one of these (RFC 7519 section 4.1.3).
    pub audiences: Option<Vec<String>>,
    /// JSON object from `account`, `subject`, `roles`, `session`, `assurance` to an array of
    /// member names, top down. Defaults: `account_id`, `sub`, `roles`, `sid`, `aal`.
    pub claim_paths: String,
    /// How far the issuer's clock may be off, in microseconds; at most a day.
    pub leeway_us: i64,
    /// How long after `iat` a token is accepted, in microseconds.
    pub max_age_us: Option<i64>,
    /// Whether a token without `exp` is refused.
    pub require_exp: bool,
}

/// Why an issuer cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IssuerError {
    /// The issuer is the empty text or contains U+0000.
    #[error("issuer is empty or contains a null character")]
    Name,
    /// See [`KeySetError`].
    #[error(transparent)]
    Keys(#[from] KeySetError),
    /// The algorithm is unknown, or `none`.
    #[error("algorithm \"{0}\" is not supported")]
    UnknownAlgorithm(String),
    /// An empty list would refuse every token.
    #[error("list of algorithms is empty")]
    NoAlgorithms,
    /// An empty list, or an empty name in it, would refuse or misread every token.
    #[error("list of audiences is empty or names an empty audience")]
    NoAudiences,
    /// See [`ClaimPathsError`].
    #[error(transparent)]
    ClaimPaths(#[from] ClaimPathsError),
    /// The leeway is outside its range.
    #[error("leeway is negative or longer than a day")]
    Leeway,
    /// The maximum age is zero or negative.
    #[error("maximum age is not positive")]
    MaxAge,
}

/// A registered issuer, its keys parsed and its rules checked.
pub struct Issuer {
    name: String,
    keys: Vec<Key>,
    /// Places in `keys`.
    by_id: HashMap<String, usize>,
    /// Places in `keys`, for tokens without a key id.
    by_algorithm: HashMap<Algorithm, Vec<usize>>,
    audiences: Option<Vec<String>>,
    paths: ClaimPaths,
    times: TimeRules,
}

/// All registered issuers, found by name.
#[derive(Debug, Default)]
pub struct Issuers(HashMap<String, Issuer>);

/// Keys may be secrets: only the name is shown.
impl fmt::Debug for IssuerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerSettings")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Keys may be secrets: only the name is shown.
impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// Checks the settings and prepares the keys.
    ///
    /// # Errors
    ///
    /// [`IssuerError`] when a setting or a key is unfit. No message holds key material.
    pub fn new(settings: IssuerSettings) -> Result<Self, IssuerError> {
        if settings.issuer.is_empty() || settings.issuer.contains('\0') {
            return Err(IssuerError::Name);
        }
        if !(0..=MAX_LEEWAY_US).contains(&settings.leeway_us) {
            return Err(IssuerError::Leeway);
        }
        if settings.max_age_us.is_some_and(|age| age <= 0) {
            return Err(IssuerError::MaxAge);
        }
        if let Some(audiences) = &settings.audiences
            && (audiences.is_empty() || audiences.iter().any(String::is_empty))
        {
            return Err(IssuerError::NoAudiences);
        }
        let allowed = settings
            .algorithms
            .as_deref()
            .map(parse_algorithms)
            .transpose()?;
        let paths = ClaimPaths::parse(&settings.claim_paths)?;
        let keys = jwk::parse_key_set(&settings.keys, allowed.as_deref())?;

        let mut by_id = HashMap::new();
        let mut by_algorithm: HashMap<_, Vec<_>> = HashMap::new();
        for (place, key) in keys.iter().enumerate() {
            if let Some(id) = &key.id {
                by_id.insert(id.clone(), place);
            }
            for algorithm in &key.algorithms {
                by_algorithm.entry(*algorithm).or_default().push(place);
            }
        }
        Ok(Self {
            name: settings.issuer,
            keys,
            by_id,
            by_algorithm,
            audiences: settings.audiences,
            paths,
            times: TimeRules {
                leeway_us: settings.leeway_us,
                max_age_us: settings.max_age_us,
                require_exp: settings.require_exp,
            },
        })
    }

    /// The defaults, without a key.
    fn nobody(name: Option<&str>) -> Self {
        Self {
            name: name.unwrap_or_default().to_owned(),
            keys: Vec::new(),
            by_id: HashMap::new(),
            by_algorithm: HashMap::new(),
            audiences: None,
            paths: ClaimPaths::default(),
            times: TimeRules {
                leeway_us: 0,
                max_age_us: None,
                require_exp: false,
            },
        }
    }

    /// The name compared with `iss`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// RFC 7515 section 5.2, with the keys this issuer registered and no others.
    fn check_signature(&self, token: &Compact<'_>) -> Result<(), Refusal> {
        let algorithm = token.header.algorithm.parse::<Algorithm>();
        let algorithm = algorithm.map_err(|_| Refusal::AlgorithmNotAllowed)?;
        let places = match &token.header.key_id {
            Some(id) => std::slice::from_ref(self.by_id.get(id).ok_or(Refusal::UnknownKey)?),
            None => self
                .by_algorithm
                .get(&algorithm)
                .ok_or(Refusal::AlgorithmNotAllowed)?,
        };
        if places.len() > MAX_KEYS_TRIED {
            return Err(Refusal::UnknownKey);
        }
        let keys = places.iter().map(|place| &self.keys[*place]);
        let mut fitting = keys
            .filter(|key| key.algorithms.contains(&algorithm))
            .peekable();
        if fitting.peek().is_none() {
            return Err(Refusal::AlgorithmNotAllowed);
        }
        if fitting.any(|key| key.verifies(algorithm, token.signing_input, &token.signature)) {
            Ok(())
        } else {
            Err(Refusal::Signature)
        }
    }

    /// Judges the claims of a payload whose signature is good.
    fn accept(&self, payload: &Object<'_>, now_us: i64) -> Result<Accepted, Refusal> {
        let validity = self.times.judge(payload, now_us)?;
        if let Some(audiences) = &self.audiences {
            claims::check_audience(payload, audiences)?;
        }
        Ok(Accepted {
            issuer: self.name.clone(),
            accounts: self.paths.accounts(payload)?,
            subject: self.paths.subject(payload)?,
            roles: self.paths.roles(payload)?,
            session: self.paths.session(payload)?,
            assurance: self.paths.assurance(payload)?,
            token_id: claims::token_id(payload)?,
            issued_at_us: claims::issued_at_us(payload)?,
            valid_from_us: validity.from_us,
            valid_until_us: validity.until_us,
            claims: String::new(),
        })
    }
}

impl Issuers {
    /// Of two issuers with one name the later one counts.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>) -> Self {
        Self(
            issuers
                .into_iter()
                .map(|issuer| (issuer.name.clone(), issuer))
                .collect(),
        )
    }

    /// Verifies a token (RFC 7519 section 7.2), leaving open which of its accounts to bind.
    /// `now_us` is the time in Unix microseconds.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`] in this order: the token's form, its issuer, key and algorithm, its
    /// signature, and only then what it claims, so that a forger learns nothing about claims.
    pub fn accept(&self, token: &str, now_us: i64) -> Result<Accepted, Refusal> {
        let token = Compact::parse(token)?;
        let Json::Object(payload) = json::parse(&token.payload)? else {
            return Err(Refusal::Malformed);
        };
        let issuer = self
            .0
            .get(claims::issuer(&payload)?)
            .ok_or(Refusal::UnknownIssuer)?;
        issuer.check_signature(&token)?;
        let mut accepted = issuer.accept(&payload, now_us)?;
        drop(payload);
        accepted.claims = token.payload;
        Ok(accepted)
    }

    /// Who a token that is refused says it comes from: the issuer where it is registered, and the
    /// subject where the signature is that issuer's.
    pub fn speaker(&self, token: &str) -> Speaker {
        let mut speaker = Speaker::default();
        let Ok(token) = Compact::parse(token) else {
            return speaker;
        };
        let Ok(Json::Object(payload)) = json::parse(&token.payload) else {
            return speaker;
        };
        let known = claims::issuer(&payload).ok();
        let Some(issuer) = known.and_then(|name| self.0.get(name)) else {
            return speaker;
        };
        speaker.issuer = Some(issuer.name.clone());
        if issuer.check_signature(&token).is_ok() {
            speaker.subject = issuer.paths.subject(&payload).ok().flatten();
        }
        speaker
    }

    /// Verifies a token and says whose identity it carries.
    ///
    /// `account` chooses among the accounts the token allows and is needed when it allows
    /// several.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept), and then as [`Accepted::identity`].
    pub fn verify(
        &self,
        token: &str,
        account: Option<&str>,
        now_us: i64,
    ) -> Result<Verified, Refusal> {
        let accepted = self.accept(token, now_us)?;
        Ok(Verified {
            identity: accepted.identity(account)?,
            valid_from_us: accepted.valid_from_us,
        })
    }

    /// What a token with these claims would be accepted as, had somebody signed it: by the rules of
    /// the issuer it names, or by the defaults where it names none that is registered.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept) of the claims.
    pub fn unsigned(&self, claims: &str, now_us: i64) -> Result<Accepted, Refusal> {
        let Json::Object(payload) = json::parse(claims)? else {
            return Err(Refusal::Malformed);
        };
        let issuer = claims::issuer(&payload).ok();
        let mut accepted = match issuer.and_then(|issuer| self.0.get(issuer)) {
            Some(issuer) => issuer.accept(&payload, now_us)?,
            None => Issuer::nobody(issuer).accept(&payload, now_us)?,
        };
        drop(payload);
        accepted.claims = claims.to_owned();
        Ok(accepted)
    }

    /// What a token says and the first reason to refuse it, for an administrator who asks.
    /// Nothing of the result may reach the client that presented the token.
    pub fn explain(&self, token: &str, now_us: i64) -> Explanation {
        let mut explanation = Explanation::default();
        if let Ok(parts) = Compact::parse(token) {
            explanation.algorithm = Some(parts.header.algorithm);
            explanation.key_id = parts.header.key_id;
            if let Ok(Json::Object(payload)) = json::parse(&parts.payload) {
                explanation.issuer = claims::issuer(&payload).ok().map(str::to_owned);
                drop(payload);
                explanation.claims = Some(parts.payload);
            }
        }
        match self.accept(token, now_us) {
            Ok(accepted) => explanation.accepted = Some(accepted),
            Err(refusal) => explanation.refusal = Some(refusal),
        }
        explanation
    }
}

/// What [`Issuers::explain`] found. Parts that could not be read are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// `iss` of the payload.
    pub issuer: Option<String>,
    /// `kid` of the header.
    pub key_id: Option<String>,
    /// `alg` of the header.
    pub algorithm: Option<String>,
    /// The payload's JSON text, whether or not its signature is good.
    pub claims: Option<String>,
    /// What the token is accepted as.
    pub accepted: Option<Accepted>,
    /// Why it is not.
    pub refusal: Option<Refusal>,
}

/// Whether tokens signed with the algorithm of this JWS name can be verified.
pub(crate) fn is_algorithm(name: &str) -> bool {
    name.parse::<Algorithm>().is_ok()
}

fn parse_algorithms(names: &[String]) -> Result<Vec<Algorithm>, IssuerError> {
    if names.is_empty() {
        return Err(IssuerError::NoAlgorithms);
    }
    names
        .iter()
        .map(|name| {
            name.parse()
                .map_err(|_| IssuerError::UnknownAlgorithm(name.clone()))
        })
        .collect()
}
