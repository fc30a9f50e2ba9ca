//! The claims of a payload whose signature is good: where they stand and what they may look like.

use crate::account::AccountId;
use crate::json::{self, Json, Object};
use crate::token::Refusal;

use thiserror::Error;

/// The last second of the year 9999, beyond which no time in a token makes sense.
const LAST_SECOND: i64 = 253_402_300_799;

const MICROS: i64 = 1_000_000;

/// Where account, subject, roles, session and assurance stand in one issuer's payloads.
#[derive(Debug, PartialEq)]
pub(crate) struct ClaimPaths {
    account: Path,
    subject: Path,
    roles: Path,
    session: Path,
    assurance: Path,
}

/// Why claim paths cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClaimPathsError {
    /// The text is not a JSON object.
    #[error("claim paths are not a JSON object")]
    NotAnObject,
    /// The object has a member that is not one of the five claims.
    #[error("claim paths name \"{0}\", which is not account, subject, roles, session or assurance")]
    UnknownClaim(String),
    /// A path is an array of at least one member name.
    #[error("claim path of \"{0}\" is not an array of member names")]
    NotAPath(&'static str),
    /// The path leads through a member that the end user can change.
    #[error("claim path of \"{claim}\" leads through \"{member}\", which users can write")]
    UserWritable {
        /// The claim whose path it is.
        claim: &'static str,
        /// The member users can write.
        member: String,
    },
}

/// Member names from the payload's top down; never empty.
type Path = Vec<String>;

impl ClaimPaths {
    /// The claims with the member each is by default.
    pub(crate) const DEFAULTS: [(&str, &str); 5] = [
        ("account", "account_id"),
        ("subject", "sub"),
        ("roles", "roles"),
        ("session", "sid"),
        ("assurance", "aal"),
    ];

    /// Members that the end user may edit at common providers; nobody may grant themselves an
    /// account.
    const USER_WRITABLE: [&str; 2] = ["user_metadata", "unsafe_metadata"];

    /// Whether users may edit this member of a payload.
    pub(crate) fn is_user_writable(member: &str) -> bool {
        // Some providers put a namespace before the name: https://example.com/user_metadata.
        let folded = member.to_ascii_lowercase();
        let mut writable = Self::USER_WRITABLE.iter();
        writable.any(|writable| folded.ends_with(writable))
    }

    /// Reads `{"account": ["app_metadata", "account_id"], ...}`; claims left out keep their
    /// default place.
    pub(crate) fn parse(text: &str) -> Result<Self, ClaimPathsError> {
        let mut paths = Self::default();
        let Ok(Json::Object(given)) = json::parse(text) else {
            return Err(ClaimPathsError::NotAnObject);
        };
        for (claim, value) in given.iter() {
            let (claim, place) = match claim {
                "account" => ("account", &mut paths.account),
                "subject" => ("subject", &mut paths.subject),
                "roles" => ("roles", &mut paths.roles),
                "session" => ("session", &mut paths.session),
                "assurance" => ("assurance", &mut paths.assurance),
                other => return Err(ClaimPathsError::UnknownClaim(other.to_owned())),
            };
            *place = parse_path(claim, value)?;
        }
        Ok(paths)
    }

    /// The accounts a payload allows: one, or several to choose from; none where it names only a
    /// person.
    pub(crate) fn accounts(&self, payload: &Object<'_>) -> Result<Option<Vec<AccountId>>, Refusal> {
        let accounts = match find(payload, &self.account) {
            None => return Ok(None),
            Some(Json::Array(items)) => items.iter().map(account).collect::<Option<Vec<_>>>(),
            Some(single) => account(single).map(|account| vec![account]),
        };
        accounts
            .filter(|accounts| !accounts.is_empty())
            .map(Some)
            .ok_or(Refusal::AccountShape)
    }

    pub(crate) fn subject(&self, payload: &Object<'_>) -> Result<Option<String>, Refusal> {
        optional_name(find(payload, &self.subject), "subject")
    }

    pub(crate) fn session(&self, payload: &Object<'_>) -> Result<Option<String>, Refusal> {
        optional_name(find(payload, &self.session), "session")
    }

    /// A text (`aal`, `acr`), or a list of texts (`amr`, RFC 8176), then joined by spaces.
    pub(crate) fn assurance(&self, payload: &Object<'_>) -> Result<Option<String>, Refusal> {
        let Some(Json::Array(items)) = find(payload, &self.assurance) else {
            return optional_name(find(payload, &self.assurance), "assurance");
        };
        let stated = items.iter().map(name).collect::<Option<Vec<_>>>();
        // A space within one of them would make two.
        let stated = stated.filter(|all| all.iter().all(|one| !one.contains(' ')));
        let stated = stated.ok_or(Refusal::ClaimShape("assurance"))?.join(" ");
        Ok(Some(stated).filter(|stated| !stated.is_empty()))
    }

    /// A single text is one role, spaces included: splitting would invent names nobody signed.
    pub(crate) fn roles(&self, payload: &Object<'_>) -> Result<Vec<String>, Refusal> {
        let items = match find(payload, &self.roles) {
            None => return Ok(Vec::new()),
            Some(Json::Array(items)) => items.as_slice(),
            Some(single) => std::slice::from_ref(single),
        };
        items
            .iter()
            .map(|item| name(item).ok_or(Refusal::ClaimShape("roles")))
            .collect()
    }
}

impl Default for ClaimPaths {
    fn default() -> Self {
        let [account, subject, roles, session, assurance] =
            Self::DEFAULTS.map(|(_, member)| vec![member.to_owned()]);
        Self {
            account,
            subject,
            roles,
            session,
            assurance,
        }
    }
}

/// The token's own id (`jti`, RFC 7519 section 4.1.7).
pub(crate) fn token_id(payload: &Object<'_>) -> Result<Option<String>, Refusal> {
    optional_name(payload.get("jti"), "jti")
}

/// When a payload was issued (`iat`, RFC 7519 section 4.1.6), in Unix microseconds.
pub(crate) fn issued_at_us(payload: &Object<'_>) -> Result<Option<i64>, Refusal> {
    numeric_date(payload, "iat")
}

/// The signer a payload names (`iss`, RFC 7519 section 4.1.1).
pub(crate) fn issuer<'p>(payload: &'p Object<'_>) -> Result<&'p str, Refusal> {
    let issuer = payload.get("iss").ok_or(Refusal::NoIssuer)?;
    issuer.as_text().ok_or(Refusal::ClaimShape("iss"))
}

/// `aud` (RFC 7519 section 4.1.3) must name one of `accepted`.
pub(crate) fn check_audience(payload: &Object<'_>, accepted: &[String]) -> Result<(), Refusal> {
    let named = match payload.get("aud") {
        None => return Err(Refusal::Audience),
        Some(Json::Array(items)) => items.as_slice(),
        Some(single) => std::slice::from_ref(single),
    };
    let mut found = false;
    for item in named {
        let audience = item.as_text().ok_or(Refusal::ClaimShape("aud"))?;
        found |= accepted.iter().any(|one| one == audience);
    }
    if found {
        Ok(())
    } else {
        Err(Refusal::Audience)
    }
}

/// How an issuer's times are judged; microseconds throughout.
pub(crate) struct TimeRules {
    pub(crate) leeway_us: i64,
    pub(crate) max_age_us: Option<i64>,
    pub(crate) require_exp: bool,
}

/// A span of Unix microseconds, its end excluded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from_us: i64,
    pub(crate) until_us: i64,
}

impl TimeRules {
    /// When a payload may be used, judged at `now_us`: `exp`, `nbf`, `iat` (RFC 7519 sections
    /// 4.1.4 to 4.1.6), each eased by the leeway, and the maximum age since `iat`.
    pub(crate) fn judge(&self, payload: &Object<'_>, now_us: i64) -> Result<Validity, Refusal> {
        let expires = numeric_date(payload, "exp")?;
        let not_before = numeric_date(payload, "nbf")?;
        let issued = numeric_date(payload, "iat")?;
        if self.require_exp && expires.is_none() {
            return Err(Refusal::NoExpiry);
        }
        let expires = expires.map_or(i64::MAX, |at| at.saturating_add(self.leeway_us));
        let oldest = match (self.max_age_us, issued) {
            (None, _) => i64::MAX,
            (Some(_), None) => return Err(Refusal::NoIssueTime),
            (Some(age), Some(at)) => at.saturating_add(age),
        };
        let from_us = not_before
            .max(issued)
            .map_or(i64::MIN, |at| at - self.leeway_us);
        if now_us >= expires {
            Err(Refusal::Expired)
        } else if now_us >= oldest {
            Err(Refusal::TooOld)
        } else if now_us < from_us {
            Err(Refusal::NotYetValid)
        } else {
            Ok(Validity {
                from_us,
                until_us: expires.min(oldest),
            })
        }
    }
}

/// A NumericDate (RFC 7519 section 2) in whole seconds, as Unix microseconds. Fractions are
/// refused: no issuer writes them, and readers round them differently.
fn numeric_date(payload: &Object<'_>, name: &'static str) -> Result<Option<i64>, Refusal> {
    match payload.get(name) {
        None => Ok(None),
        Some(Json::Integer(seconds @ 0..=LAST_SECOND)) => Ok(Some(seconds * MICROS)),
        Some(_) => Err(Refusal::ClaimShape(name)),
    }
}

fn parse_path(claim: &'static str, value: &Json<'_>) -> Result<Path, ClaimPathsError> {
    let Json::Array(members) = value else {
        return Err(ClaimPathsError::NotAPath(claim));
    };
    if members.is_empty() {
        return Err(ClaimPathsError::NotAPath(claim));
    }
    members
        .iter()
        .map(|member| {
            let member = name(member).ok_or(ClaimPathsError::NotAPath(claim))?;
            if ClaimPaths::is_user_writable(&member) {
                return Err(ClaimPathsError::UserWritable { claim, member });
            }
            Ok(member)
        })
        .collect()
}

/// Follows a path; a member that is missing, or stands in something that is no object, is absent.
fn find<'p, 'a>(payload: &'p Object<'a>, path: &[String]) -> Option<&'p Json<'a>> {
    let (last, parents) = path.split_last()?;
    let mut object = payload;
    for parent in parents {
        match object.get(parent) {
            Some(Json::Object(inner)) => object = inner,
            _ => return None,
        }
    }
    object.get(last)
}

fn account(value: &Json<'_>) -> Option<AccountId> {
    match value {
        Json::Integer(number) => Some(AccountId::from_integer(*number)),
        Json::Text(text) => AccountId::from_text(text).ok(),
        _ => None,
    }
}

/// A text that names something: the empty one does not.
fn name(value: &Json<'_>) -> Option<String> {
    value
        .as_text()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn optional_name(value: Option<&Json<'_>>, claim: &'static str) -> Result<Option<String>, Refusal> {
    value
        .map(|value| name(value).ok_or(Refusal::ClaimShape(claim)))
        .transpose()
}
