//! The verified identity of one transaction and the text that carries it in a server setting.
//!
//! The text is a row of netstrings (`length:bytes`), so that a reader called for every row needs
//! no JSON and no allocation. An absent field is `-`. Lengths are in bytes, in decimal without
//! leading zeros, so that one identity has exactly one text.
//!
//! ```text
//! tg1; until issuer account subject session assurance token-id issued-at role-count role... claims
//! ```

use crate::account::AccountId;

/// Begins every encoded identity; changes whenever the fields do.
const VERSION: &str = "tg1;";

/// What a verified token says about the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The signer (`iss`, RFC 7519 section 4.1.1).
    pub issuer: String,
    /// The one account this transaction may see.
    pub account: AccountId,
    /// The person or service the token speaks for (`sub`, RFC 7519 section 4.1.2).
    pub subject: Option<String>,
    /// Role names in the order of the token.
    pub roles: Vec<String>,
    /// The issuer's session, for revocation.
    pub session: Option<String>,
    /// How well the subject was authenticated, in the issuer's words.
    pub assurance: Option<String>,
    /// The token's own id (`jti`, RFC 7519 section 4.1.7).
    pub token_id: Option<String>,
    /// When the token was issued (`iat`, RFC 7519 section 4.1.6), in Unix microseconds.
    pub issued_at_us: Option<i64>,
    /// The first instant, in Unix microseconds, at which the identity is no longer valid;
    /// `i64::MAX` when it never ends.
    pub valid_until_us: i64,
    /// The payload exactly as it was signed: JSON text.
    pub claims: String,
}

/// An encoded identity, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityView<'a> {
    /// See [`Identity::issuer`].
    pub issuer: &'a str,
    /// Canonical text of the account, see [`AccountId::as_str`].
    pub account: &'a str,
    /// See [`Identity::subject`].
    pub subject: Option<&'a str>,
    /// See [`Identity::roles`].
    pub roles: Roles<'a>,
    /// See [`Identity::session`].
    pub session: Option<&'a str>,
    /// See [`Identity::assurance`].
    pub assurance: Option<&'a str>,
    /// See [`Identity::token_id`].
    pub token_id: Option<&'a str>,
    /// See [`Identity::issued_at_us`].
    pub issued_at_us: Option<i64>,
    /// See [`Identity::valid_until_us`].
    pub valid_until_us: i64,
    /// See [`Identity::claims`].
    pub claims: &'a str,
}

/// The roles of an [`IdentityView`]: an iterator over their names that knows how many are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles<'a> {
    left: usize,
    /// `left` netstrings, checked by [`Identity::parse`].
    encoded: &'a str,
}

impl Identity {
    /// The text form. It holds no U+0000 as long as no field does, which is so for every field
    /// that came from a verified token or from a PostgreSQL text.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(self.claims.len() + 256);
        text.push_str(VERSION);
        put(&mut text, &self.valid_until_us.to_string());
        put(&mut text, &self.issuer);
        put(&mut text, self.account.as_str());
        for field in [
            &self.subject,
            &self.session,
            &self.assurance,
            &self.token_id,
        ] {
            match field {
                Some(value) => put(&mut text, value),
                None => text.push('-'),
            }
        }
        match self.issued_at_us {
            Some(issued_at) => put(&mut text, &issued_at.to_string()),
            None => text.push('-'),
        }
        put(&mut text, &self.roles.len().to_string());
        for role in &self.roles {
            put(&mut text, role);
        }
        put(&mut text, &self.claims);
        text
    }

    /// Reads what [`Identity::encode`] wrote; `None` for any other text.
    pub fn parse(text: &str) -> Option<IdentityView<'_>> {
        let mut rest = Reader(text.strip_prefix(VERSION)?);
        let valid_until_us = integer(rest.field()?)?;
        let issuer = rest.field()?;
        let account = rest.field()?;
        let subject = rest.optional()?;
        let session = rest.optional()?;
        let assurance = rest.optional()?;
        let token_id = rest.optional()?;
        let issued_at_us = match rest.optional()? {
            Some(text) => Some(integer(text)?),
            None => None,
        };
        let roles = rest.roles()?;
        let claims = rest.field()?;
        if !rest.0.is_empty() || account.is_empty() || text.contains('\0') {
            return None;
        }
        Some(IdentityView {
            issuer,
            account,
            subject,
            roles,
            session,
            assurance,
            token_id,
            issued_at_us,
            valid_until_us,
            claims,
        })
    }
}

impl IdentityView<'_> {
    /// The same identity with fields of its own; `None` when the account is not canonical text.
    pub fn to_identity(&self) -> Option<Identity> {
        let account = AccountId::from_text(self.account).ok()?;
        if account.as_str() != self.account {
            return None;
        }
        Some(Identity {
            issuer: self.issuer.to_owned(),
            account,
            subject: self.subject.map(str::to_owned),
            roles: self.roles.map(str::to_owned).collect(),
            session: self.session.map(str::to_owned),
            assurance: self.assurance.map(str::to_owned),
            token_id: self.token_id.map(str::to_owned),
            issued_at_us: self.issued_at_us,
            valid_until_us: self.valid_until_us,
            claims: self.claims.to_owned(),
        })
    }
}

impl<'a> Iterator for Roles<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader(self.encoded);
        let role = reader.field()?;
        self.encoded = reader.0;
        Some(role)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Roles<'_> {}

/// What is left of an encoded identity.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn field(&mut self) -> Option<&'a str> {
        let (length, rest) = self.0.split_once(':')?;
        let length = usize::try_from(integer(length)?).ok()?;
        let value = rest.get(..length)?;
        self.0 = rest.get(length..)?;
        Some(value)
    }

    fn optional(&mut self) -> Option<Option<&'a str>> {
        match self.0.strip_prefix('-') {
            Some(rest) => {
                self.0 = rest;
                Some(None)
            }
            None => self.field().map(Some),
        }
    }

    fn roles(&mut self) -> Option<Roles<'a>> {
        let left = usize::try_from(integer(self.field()?)?).ok()?;
        let start = self.0;
        for _ in 0..left {
            self.field()?;
        }
        let encoded = start.get(..start.len() - self.0.len())?;
        Some(Roles { left, encoded })
    }
}

fn put(text: &mut String, value: &str) {
    text.push_str(&value.len().to_string());
    text.push(':');
    text.push_str(value);
}

/// A decimal integer in its only canonical spelling.
fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let plain = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Identity {
        Identity {
            issuer: "https://issuer.example".into(),
            account: AccountId::from_integer(7),
            subject: Some("ünï:3".into()),
            roles: vec!["admin".into(), "2:xx".into()],
            session: None,
            assurance: Some("-".into()),
            token_id: None,
            issued_at_us: Some(-5),
            valid_until_us: 1_700_000_000_000_000,
            claims: "{}".into(),
        }
    }

    #[test]
    fn the_text_is_a_row_of_netstrings() {
        assert_eq!(
            sample().encode(),
            "tg1;16:170000000000000022:https://issuer.example1:77:ünï:3-1:--\
             2:-51:25:admin4:2:xx2:{}"
        );
    }

    #[test]
    fn a_view_reads_every_field_in_place() {
        let text = sample().encode();
        let view = Identity::parse(&text).unwrap();
        assert_eq!(view.account, "7");
        assert_eq!(view.roles.len(), 2);
        assert_eq!(view.roles.collect::<Vec<_>>(), ["admin", "2:xx"]);
        assert_eq!(view.to_identity(), Some(sample()));
    }

    #[test]
    fn other_texts_are_refused() {
        let good = sample().encode();
        let longer = format!("{good} ");
        let padded = good.replace("16:1", "016:1");
        let signed = good.replace("1:7", "+1:7");
        let next_version = good.replace("tg1;", "tg2;");
        let no_account = good.replace("1:7", "0:");
        let many_roles = good.replace("1:25:", "10:9999999999");
        let nul = good.replace("2:{}", "2:{\0");
        let mid_character = good.replace("7:ünï:3", "2:ünï:3");
        for text in [
            "",
            "tg1;",
            "0",
            "{}",
            &longer,
            &padded,
            &signed,
            &next_version,
            &no_account,
            &many_roles,
            &mid_character,
            &nul,
        ] {
            assert_ne!(text, good);
            assert_eq!(Identity::parse(text), None, "{text:?}");
        }
        for cut in good.char_indices().map(|(at, _)| at) {
            assert_eq!(Identity::parse(&good[..cut]), None, "cut at {cut}");
        }
    }

    fn field() -> impl Strategy<Value = String> {
        "[^\\x00]{0,12}"
    }

    prop_compose! {
        fn identities()(
            issuer in field(),
            account in "[^\\x00]{1,40}",
            optional in prop::collection::vec(prop::option::of(field()), 4),
            roles in prop::collection::vec(field(), 0..5),
            issued_at_us in any::<Option<i64>>(),
            valid_until_us in any::<i64>(),
            claims in "[^\\x00]{0,60}",
        ) -> Identity {
            let mut optional = optional.into_iter();
            let mut next = || optional.next().flatten();
            Identity {
                issuer,
                account: AccountId::from_text(&account).unwrap(),
                subject: next(),
                roles,
                session: next(),
                assurance: next(),
                token_id: next(),
                issued_at_us,
                valid_until_us,
                claims,
            }
        }
    }

    proptest! {
        #[test]
        fn round_trip(identity in identities()) {
            let text = identity.encode();
            prop_assert!(!text.contains('\0'));
            let view = Identity::parse(&text).expect("an encoded identity parses");
            prop_assert_eq!(view.to_identity(), Some(identity));
        }

        /// Whatever parses is exactly what encoding writes: there is no second spelling.
        #[test]
        fn one_text_per_identity(identity in identities(), at in any::<prop::sample::Index>(),
                                 with in "[0-9:;a-z-]{0,2}") {
            let mut text: Vec<char> = identity.encode().chars().collect();
            let at = at.index(text.len());
            text.splice(at..=at, with.chars());
            let text: String = text.into_iter().collect();
            if let Some(again) = Identity::parse(&text).and_then(|view| view.to_identity()) {
                prop_assert_eq!(again.encode(), text);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(tg1;)?([0-9]{1,3}:|-|\\PC|[\\x00]){0,40}") {
            if let Some(view) = Identity::parse(&text) {
                prop_assert_eq!(view.roles.count(), view.roles.len());
            }
        }
    }
}
