//! Tokens, sessions and subjects that are no longer believed although their tokens verify.

use std::collections::HashMap;

use crate::identity::{Identity, IdentityView};

/// What is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One token, by its id (`jti`).
    Token,
    /// Every token of one session of the issuer.
    Session,
    /// Every token of a subject that was issued before a time.
    Subject,
}

impl Kind {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Subject => "subject",
        }
    }

    /// The kind of a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Token, Self::Session, Self::Subject]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// What of an identity can be revoked.
#[derive(Clone, Copy, Debug)]
pub struct Revocable<'a> {
    issuer: &'a str,
    token_id: Option<&'a str>,
    session: Option<&'a str>,
    subject: Option<&'a str>,
    issued_at_us: Option<i64>,
}

impl<'a> From<&IdentityView<'a>> for Revocable<'a> {
    fn from(identity: &IdentityView<'a>) -> Self {
        Self {
            issuer: identity.issuer,
            token_id: identity.token_id,
            session: identity.session,
            subject: identity.subject,
            issued_at_us: identity.issued_at_us,
        }
    }
}

impl<'a> From<&'a Identity> for Revocable<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self {
            issuer: &identity.issuer,
            token_id: identity.token_id.as_deref(),
            session: identity.session.as_deref(),
            subject: identity.subject.as_deref(),
            issued_at_us: identity.issued_at_us,
        }
    }
}

/// All revocations in force.
///
/// An issuer of `None` means every issuer.
#[derive(Clone, Debug, Default)]
pub struct Revocations(HashMap<Kind, HashMap<String, Vec<Entry>>>);

#[derive(Clone, Debug)]
struct Entry {
    issuer: Option<String>,
    /// Tokens issued at this time or later stand; of `None` no token does.
    before_us: Option<i64>,
}

impl Revocations {
    /// Adds one. `before_us` bounds a revoked subject, in Unix microseconds.
    pub fn add(&mut self, kind: Kind, name: &str, issuer: Option<&str>, before_us: Option<i64>) {
        let entry = Entry {
            issuer: issuer.map(str::to_owned),
            before_us,
        };
        let named = self.0.entry(kind).or_default();
        named.entry(name.to_owned()).or_default().push(entry);
    }

    /// Whether an identity is revoked. A token that does not say when it was issued is older than
    /// any time.
    pub fn revoke<'a>(&self, identity: impl Into<Revocable<'a>>) -> bool {
        let identity = identity.into();
        [
            (Kind::Token, identity.token_id),
            (Kind::Session, identity.session),
            (Kind::Subject, identity.subject),
        ]
        .into_iter()
        .any(|(kind, name)| name.is_some_and(|name| self.covers(kind, name, &identity)))
    }

    fn covers(&self, kind: Kind, name: &str, identity: &Revocable<'_>) -> bool {
        let entries = self.0.get(&kind).and_then(|named| named.get(name));
        entries.into_iter().flatten().any(|entry| {
            let same_issuer = entry
                .issuer
                .as_deref()
                .is_none_or(|one| one == identity.issuer);
            let too_old = match (entry.before_us, identity.issued_at_us) {
                (Some(before), Some(issued)) => issued < before,
                _ => true,
            };
            same_issuer && too_old
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::AccountId;
    use crate::identity::Identity;

    fn identity(issued_at_us: Option<i64>) -> String {
        Identity {
            issuer: "a".into(),
            account: AccountId::from_integer(1),
            subject: Some("ann".into()),
            roles: vec![],
            session: Some("s1".into()),
            assurance: None,
            token_id: Some("t1".into()),
            issued_at_us,
            valid_until_us: i64::MAX,
            claims: "{}".into(),
        }
        .encode()
    }

    fn revoked(kind: Kind, name: &str, issuer: Option<&str>, before_us: Option<i64>) -> bool {
        let mut revocations = Revocations::default();
        revocations.add(kind, name, issuer, before_us);
        revocations.revoke(&Identity::parse(&identity(Some(1_000))).unwrap())
    }

    #[test]
    fn names_are_compared_within_their_kind_and_issuer() {
        assert!(revoked(Kind::Token, "t1", None, None));
        assert!(revoked(Kind::Token, "t1", Some("a"), None));
        assert!(revoked(Kind::Session, "s1", Some("a"), None));
        assert!(revoked(Kind::Subject, "ann", None, None));
        assert!(!revoked(Kind::Token, "t1", Some("b"), None));
        assert!(!revoked(Kind::Token, "s1", None, None));
        assert!(!revoked(Kind::Session, "ann", None, None));
    }

    #[test]
    fn subject_is_revoked_up_to_a_time() {
        assert!(revoked(Kind::Subject, "ann", None, Some(1_001)));
        assert!(!revoked(Kind::Subject, "ann", None, Some(1_000)));
        let mut revocations = Revocations::default();
        revocations.add(Kind::Subject, "ann", None, Some(0));
        assert!(revocations.revoke(&Identity::parse(&identity(None)).unwrap()));
    }

    #[test]
    fn several_revocations_of_one_name_all_count() {
        let mut revocations = Revocations::default();
        revocations.add(Kind::Subject, "ann", Some("b"), None);
        revocations.add(Kind::Subject, "ann", Some("a"), Some(500));
        assert!(!revocations.revoke(&Identity::parse(&identity(Some(1_000))).unwrap()));
        revocations.add(Kind::Subject, "ann", None, Some(2_000));
        assert!(revocations.revoke(&Identity::parse(&identity(Some(1_000))).unwrap()));
    }
}
