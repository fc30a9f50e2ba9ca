//! Tokens: the JWS compact form taken apart strictly, and the reasons to refuse one.

use thiserror::Error;

use crate::account::AccountId;
use crate::base64url;
use crate::identity::Identity;
use crate::json::{self, Json, JsonError, Object};

/// Longest token in bytes that is looked at.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token whose signature and times are good, before one of its accounts is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The signer (`iss`).
    pub issuer: String,
    /// Whom the token speaks for (`sub`).
    pub subject: Option<String>,
    /// Roles the token grants.
    pub roles: Vec<String>,
    /// The issuer's session.
    pub session: Option<String>,
    /// How well the subject was authenticated.
    pub assurance: Option<String>,
    /// The token's own id (`jti`).
    pub token_id: Option<String>,
    /// When it was issued (`iat`), in Unix microseconds.
    pub issued_at_us: Option<i64>,
    /// The accounts the token allows; none where it names only a person.
    pub accounts: Option<Vec<AccountId>>,
    /// See [`Verified::valid_from_us`].
    pub valid_from_us: i64,
    /// See [`Identity::valid_until_us`].
    pub valid_until_us: i64,
    /// The payload exactly as it was signed: JSON text.
    pub claims: String,
}

/// An account a person belongs to, and the role they have there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The account.
    pub account: AccountId,
    /// A role added to those of the token.
    pub role: Option<String>,
}

impl Accepted {
    /// The identity in the account that `chosen` names, or in the only one the token allows.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoAccount`] where the token names none, otherwise as [`choose`].
    pub fn identity(&self, chosen: Option<&str>) -> Result<Identity, Refusal> {
        let accounts = self.accounts.as_deref().ok_or(Refusal::NoAccount)?;
        let account = choose(accounts, chosen)?;
        Ok(self.bind(account.clone(), Vec::new()))
    }

    /// The identity in an account the person belongs to. A person with several roles in one
    /// account has all of them.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotAMember`] where there is no membership, otherwise as [`choose`].
    pub fn member_identity(
        &self,
        memberships: &[Membership],
        chosen: Option<&str>,
    ) -> Result<Identity, Refusal> {
        if memberships.is_empty() {
            return Err(Refusal::NotAMember);
        }
        let accounts: Vec<_> = memberships.iter().map(|one| one.account.clone()).collect();
        let account = choose(&accounts, chosen)?;
        let here = memberships.iter().filter(|one| one.account == *account);
        Ok(self.bind(
            account.clone(),
            here.filter_map(|one| one.role.clone()).collect(),
        ))
    }

    fn bind(&self, account: AccountId, more_roles: Vec<String>) -> Identity {
        let mut roles = self.roles.clone();
        for role in more_roles {
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
        Identity {
            issuer: self.issuer.clone(),
            account,
            subject: self.subject.clone(),
            roles,
            session: self.session.clone(),
            assurance: self.assurance.clone(),
            token_id: self.token_id.clone(),
            issued_at_us: self.issued_at_us,
            valid_until_us: self.valid_until_us,
            claims: self.claims.clone(),
        }
    }
}

/// The account to bind: the chosen one if it is allowed, else the only one.
///
/// # Errors
///
/// [`Refusal::AccountNotAllowed`], or [`Refusal::AccountNotChosen`] where there are several.
fn choose<'a>(accounts: &'a [AccountId], chosen: Option<&str>) -> Result<&'a AccountId, Refusal> {
    if let Some(chosen) = chosen {
        let chosen = AccountId::from_text(chosen).map_err(|_| Refusal::AccountNotAllowed)?;
        let mut allowed = accounts.iter();
        return allowed
            .find(|one| **one == chosen)
            .ok_or(Refusal::AccountNotAllowed);
    }
    match accounts {
        [] => Err(Refusal::NoAccount),
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Ok(first),
        _ => Err(Refusal::AccountNotChosen),
    }
}

/// A token that was accepted, and the identity it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What the token says, ready to be bound.
    pub identity: Identity,
    /// The first instant, in Unix microseconds, at which the token is valid: the later of `nbf`
    /// and `iat`, less the leeway; `i64::MIN` when it has neither.
    pub valid_from_us: i64,
}

/// Who a refused token comes from, as far as that is certain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speaker {
    /// A registered issuer that it names.
    pub issuer: Option<String>,
    /// The subject, where that issuer signed it.
    pub subject: Option<String>,
}

/// Why a token is refused. The text is for the user and never holds a piece of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("token is too large")]
    TooLarge,
    /// Not three base64url parts holding JSON objects and a signature (RFC 7515 section 3.1), or
    /// a header parameter of the wrong type (section 4.1).
    #[error("token is malformed")]
    Malformed,
    /// A JSON object repeats a member (RFC 7515 section 4, RFC 7519 section 4).
    #[error("token repeats a member")]
    RepeatedMember,
    /// Objects and arrays nest more than 32 levels.
    #[error("token is nested too deeply")]
    TooDeep,
    /// A string holds U+0000.
    #[error("token contains a null character")]
    Nul,
    /// `alg` is `none` (RFC 8725 section 3.2).
    #[error("token is not signed")]
    Unsigned,
    /// `crit` is present and no extension is understood (RFC 7515 section 4.1.11).
    #[error("token has critical header parameters that are not understood")]
    Critical,
    /// `b64` is present and not true (RFC 7797 section 3).
    #[error("token payload is not encoded as base64url")]
    Unencoded,
    /// `cty` says that the payload is another token (RFC 7519 section 5.2).
    #[error("token is nested in another token")]
    Nested,
    /// `typ` says that it is a token for something else (RFC 8725 section 3.11).
    #[error("token is of a kind that is not for access")]
    OtherKind,
    /// There is no `iss`.
    #[error("token names no issuer")]
    NoIssuer,
    /// `iss` is not registered.
    #[error("token names no known issuer")]
    UnknownIssuer,
    /// `kid` is not a key of the issuer, or is missing where too many keys would fit.
    #[error("token names no known key")]
    UnknownKey,
    /// `alg` is not one that the key and the issuer allow (RFC 8725 section 3.1).
    #[error("token algorithm is not allowed for its key")]
    AlgorithmNotAllowed,
    /// The signature is not the key's over header and payload (RFC 7515 section 5.2).
    #[error("token signature is not valid")]
    Signature,
    /// A claim has a type or value that RFC 7519 section 4.1 or the issuer's paths do not allow.
    #[error("token claim \"{0}\" has an unusable shape")]
    ClaimShape(&'static str),
    /// `exp` is required and missing.
    #[error("token has no expiry")]
    NoExpiry,
    /// `exp` has passed (RFC 7519 section 4.1.4).
    #[error("token has expired")]
    Expired,
    /// A maximum age is set and `iat` is missing.
    #[error("token has no issue time")]
    NoIssueTime,
    /// Issued longer ago than the maximum age.
    #[error("token is too old")]
    TooOld,
    /// `nbf` or `iat` is in the future (RFC 7519 sections 4.1.5 and 4.1.6).
    #[error("token is not yet valid")]
    NotYetValid,
    /// `aud` names none of the issuer's audiences (RFC 7519 section 4.1.3).
    #[error("token audience is not accepted")]
    Audience,
    /// The account claim is missing.
    #[error("token names no account")]
    NoAccount,
    /// The account claim is neither a text, an integer, nor a list of these.
    #[error("token account has an unusable shape")]
    AccountShape,
    /// Several accounts are allowed and the caller chose none.
    #[error("token names several accounts and none was chosen")]
    AccountNotChosen,
    /// The caller chose an account that is not among the token's.
    #[error("token does not allow the requested account")]
    AccountNotAllowed,
    /// The token names only a person, who belongs to no account.
    #[error("token subject belongs to no account")]
    NotAMember,
    /// The token, its session or its subject was revoked.
    #[error("token has been revoked")]
    Revoked,
    /// The session was not used for longer than its account allows.
    #[error("token session has been idle for too long")]
    Idle,
    /// The account is unknown or suspended.
    #[error("token account is not active")]
    InactiveAccount,
}

impl Refusal {
    /// A stable name of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::RepeatedMember => "repeated_member",
            Self::TooDeep => "too_deep",
            Self::Nul => "null_character",
            Self::Unsigned => "unsigned",
            Self::Critical => "critical",
            Self::Unencoded => "unencoded",
            Self::Nested => "nested",
            Self::OtherKind => "other_kind",
            Self::NoIssuer => "no_issuer",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::Signature => "signature",
            Self::ClaimShape(_) => "claim_shape",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::NoIssueTime => "no_issue_time",
            Self::TooOld => "too_old",
            Self::NotYetValid => "not_yet_valid",
            Self::Audience => "audience",
            Self::NoAccount => "no_account",
            Self::AccountShape => "account_shape",
            Self::AccountNotChosen => "account_not_chosen",
            Self::AccountNotAllowed => "account_not_allowed",
            Self::NotAMember => "not_a_member",
            Self::Revoked => "revoked",
            Self::Idle => "idle",
            Self::InactiveAccount => "inactive_account",
        }
    }
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax => Self::Malformed,
            JsonError::RepeatedMember => Self::RepeatedMember,
            JsonError::TooDeep => Self::TooDeep,
            JsonError::Nul => Self::Nul,
        }
    }
}

/// A token in its parts, nothing of it verified yet.
pub(crate) struct Compact<'t> {
    pub(crate) header: Header,
    /// JSON text: the bytes that the signature covers, decoded once.
    pub(crate) payload: String,
    /// ASCII(header || '.' || payload), RFC 7515 section 5.1.
    pub(crate) signing_input: &'t [u8],
    pub(crate) signature: Vec<u8>,
}

impl<'t> Compact<'t> {
    /// RFC 7515 section 7.1: three parts, two dots, nothing else.
    pub(crate) fn parse(token: &'t str) -> Result<Self, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLarge);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Refusal::Malformed)?;
        let header = Header::parse(&decode_text(header)?)?;
        let payload = decode_text(payload)?;
        let signature = base64url::decode(signature).ok_or(Refusal::Malformed)?;
        Ok(Self {
            header,
            payload,
            signing_input: signing_input.as_bytes(),
            signature,
        })
    }
}

/// The header parameters that matter. Keys and URLs that a header brings along (`jwk`, `jku`,
/// `x5u`, `x5c`) are never read: a forger would bring their own.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) algorithm: String,
    pub(crate) key_id: Option<String>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let Json::Object(header) = json::parse(text)? else {
            return Err(Refusal::Malformed);
        };
        let algorithm = optional_text(&header, "alg")?.ok_or(Refusal::Malformed)?;
        if algorithm.eq_ignore_ascii_case("none") {
            return Err(Refusal::Unsigned);
        }
        if header.contains("crit") {
            return Err(Refusal::Critical);
        }
        match header.get("b64") {
            None | Some(Json::Bool(true)) => {}
            Some(_) => return Err(Refusal::Unencoded),
        }
        if optional_text(&header, "typ")?.is_some_and(names_another_kind) {
            return Err(Refusal::OtherKind);
        }
        if optional_text(&header, "cty")?.is_some_and(|kind| media_type(kind) == "jwt") {
            return Err(Refusal::Nested);
        }
        let key_id = optional_text(&header, "kid")?.map(str::to_owned);
        Ok(Self {
            algorithm: algorithm.to_owned(),
            key_id,
        })
    }
}

/// Whether `typ` is that of a JWT which the same keys sign for another purpose, such as a logout
/// token or a security event. Access tokens are `at+jwt` (RFC 9068 section 2.1), plain `JWT`, or
/// say nothing.
fn names_another_kind(kind: &str) -> bool {
    let kind = media_type(kind);
    kind.ends_with("+jwt") && kind != "at+jwt"
}

/// Case does not matter and `application/` may stand before it (RFC 7515 section 4.1.9).
fn media_type(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    match lower.strip_prefix("application/") {
        Some(subtype) => subtype.to_owned(),
        None => lower,
    }
}

fn optional_text<'h>(header: &'h Object<'_>, name: &str) -> Result<Option<&'h str>, Refusal> {
    header
        .get(name)
        .map(|value| value.as_text().ok_or(Refusal::Malformed))
        .transpose()
}

fn decode_text(part: &str) -> Result<String, Refusal> {
    let bytes = base64url::decode(part).ok_or(Refusal::Malformed)?;
    String::from_utf8(bytes).map_err(|_| Refusal::Malformed)
}
