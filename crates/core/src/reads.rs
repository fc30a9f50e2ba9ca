//! What is known of a read, or of a refusal, on its way to the log: who, what, and the data of its
//! event.

use serde_json::{Map, Value, json};

use crate::buffer::Counts;

/// Who acted, and from where: what a [`Context`](crate::event::Context) says without a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Who {
    /// Account in canonical text; empty without an identity.
    pub account: String,
    /// `iss` of the token.
    pub issuer: Option<String>,
    /// `jti` of the token.
    pub token_id: Option<String>,
    /// Session the token names.
    pub session: Option<String>,
    /// Subject of the token.
    pub subject: Option<String>,
    /// Roles of the token.
    pub roles: Option<Vec<String>>,
    /// `session_user` of the database.
    pub session_role: String,
    /// `current_user` of the database.
    pub current_role: String,
    /// Address of the client.
    pub client_address: Option<String>,
    /// `application_name` of the connection.
    pub application_name: Option<String>,
}

impl Who {
    /// Whether a token says the same of both, whatever their roles in the database.
    pub fn is_same_person(&self, other: &Self) -> bool {
        let said = |who: &Self| {
            let Self {
                account,
                issuer,
                token_id,
                session,
                subject,
                roles,
                ..
            } = who.clone();
            (account, issuer, token_id, session, subject, roles)
        };
        said(self) == said(other)
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Act {
    /// A statement that reads.
    Read = 0,
    /// COPY TO.
    Export = 1,
    /// The end of a statement whose beginning is in the log.
    End = 2,
    /// A token that `authenticate` did not take.
    TokenRefused = 3,
    /// A row that a policy did not take.
    WriteRefused = 4,
    /// A call that the caller has no right to.
    CallRefused = 5,
}

impl Act {
    const ALL: [Self; 6] = [
        Self::Read,
        Self::Export,
        Self::End,
        Self::TokenRefused,
        Self::WriteRefused,
        Self::CallRefused,
    ];

    /// Whether it is a statement, with rows and an end.
    pub fn is_statement(self) -> bool {
        matches!(self, Self::Read | Self::Export | Self::End)
    }
}

/// A record of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who did it.
    pub who: Who,
    /// What was done.
    pub act: Act,
    /// Qualified name of the relation, of a partition or child the topmost one's.
    pub relation: Option<String>,
    /// Qualified name of the partition or child that the statement named itself.
    pub leaf: Option<String>,
    /// `SELECT`, or why something was refused.
    pub what: String,
    /// The statement's, see [`crate::statement::fingerprint`]; empty where there is none.
    pub fingerprint: String,
    /// Of [`Act::End`]: what the event of the beginning calls the read.
    pub begun: Option<String>,
}

/// The bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record of the buffer")]
pub struct Unreadable;

const NONE: u32 = u32::MAX;

impl Record {
    /// The record as bytes. Those of equal records are equal.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.push(self.act as u8);
        let Who {
            account,
            issuer,
            token_id,
            session,
            subject,
            roles,
            session_role,
            current_role,
            client_address,
            application_name,
        } = &self.who;
        put(&mut out, Some(account));
        for text in [issuer, token_id, session, subject] {
            put(&mut out, text.as_deref());
        }
        let count = roles.as_ref().map_or(NONE, |roles| roles.len() as u32);
        out.extend(count.to_ne_bytes());
        for role in roles.iter().flatten() {
            put(&mut out, Some(role));
        }
        put(&mut out, Some(session_role));
        put(&mut out, Some(current_role));
        for text in [client_address, application_name, &self.relation, &self.leaf] {
            put(&mut out, text.as_deref());
        }
        put(&mut out, Some(&self.what));
        put(&mut out, Some(&self.fingerprint));
        put(&mut out, self.begun.as_deref());
        out
    }

    /// The record of these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader(bytes);
        let act = usize::from(reader.byte()?);
        let account = reader.text()?.unwrap_or_default();
        let [issuer, token_id, session, subject] = [
            reader.text()?,
            reader.text()?,
            reader.text()?,
            reader.text()?,
        ];
        let roles = match reader.number()? {
            NONE => None,
            count => {
                let role = |_| Ok(reader.text()?.unwrap_or_default());
                Some((0..count).map(role).collect::<Result<_, _>>()?)
            }
        };
        let record = Self {
            act: *Act::ALL.get(act).ok_or(Unreadable)?,
            who: Who {
                account,
                issuer,
                token_id,
                session,
                subject,
                roles,
                session_role: reader.text()?.unwrap_or_default(),
                current_role: reader.text()?.unwrap_or_default(),
                client_address: reader.text()?,
                application_name: reader.text()?,
            },
            relation: reader.text()?,
            leaf: reader.text()?,
            what: reader.text()?.unwrap_or_default(),
            fingerprint: reader.text()?.unwrap_or_default(),
            begun: reader.text()?,
        };
        match reader.0 {
            [] => Ok(record),
            _ => Err(Unreadable),
        }
    }

    /// The action of its event.
    pub fn action(&self, counts: &Counts) -> &'static str {
        match self.act {
            Act::Export => "export",
            Act::Read | Act::End if counts.large => "export",
            Act::Read | Act::End => "read",
            Act::TokenRefused => "token_refused",
            Act::WriteRefused => "write_refused",
            Act::CallRefused => "call_refused",
        }
    }

    /// The data of its event, JSON text; `name` is what an end names it by.
    pub fn data(&self, name: &str, counts: &Counts) -> String {
        let mut data = Map::new();
        let mut put = |key: &str, value: Value| data.insert(key.to_owned(), value);
        if self.act.is_statement() {
            put("statement", json!(self.what));
        } else {
            put("reason", json!(self.what));
        }
        if !self.fingerprint.is_empty() {
            put("fingerprint", json!(self.fingerprint));
        }
        put("executions", json!(counts.times));
        if self.act.is_statement() {
            let known = counts.open == 0 && counts.unknown == 0;
            let rows = if known {
                json!(counts.rows)
            } else {
                json!("unknown")
            };
            put("rows", rows);
            if !known && counts.rows > 0 {
                put("rows_at_least", json!(counts.rows));
            }
            if counts.open > 0 {
                put("running", json!(name));
            }
            if let Some(begun) = &self.begun {
                put("ended", json!(begun));
            }
        }
        Value::Object(data).to_string()
    }
}

fn put(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => out.extend(NONE.to_ne_bytes()),
        Some(text) => {
            out.extend((text.len() as u32).to_ne_bytes());
            out.extend(text.as_bytes());
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, Unreadable> {
        let (&first, rest) = self.0.split_first().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(first)
    }

    fn number(&mut self) -> Result<u32, Unreadable> {
        let (&number, rest) = self.0.split_first_chunk().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(u32::from_ne_bytes(number))
    }

    fn text(&mut self) -> Result<Option<String>, Unreadable> {
        let length = self.number()?;
        if length == NONE {
            return Ok(None);
        }
        let (text, rest) = self.0.split_at_checked(length as usize).ok_or(Unreadable)?;
        self.0 = rest;
        let text = std::str::from_utf8(text).map_err(|_| Unreadable)?;
        Ok(Some(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> Record {
        Record {
            who: Who {
                account: "a".to_owned(),
                roles: Some(vec!["clerk".to_owned()]),
                session_role: "app".to_owned(),
                current_role: "app".to_owned(),
                ..Who::default()
            },
            act: Act::Read,
            relation: Some("shop.item".to_owned()),
            leaf: None,
            what: "SELECT".to_owned(),
            fingerprint: "0123456789abcdef".to_owned(),
            begun: None,
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let mut record = record();
        for act in Act::ALL {
            record.act = act;
            record.begun = Some("b".to_owned());
            assert_eq!(Record::decode(&record.encode()), Ok(record.clone()));
        }
    }

    #[test]
    fn the_data_say_what_is_known() {
        let record = record();
        let mut counts = Counts {
            times: 2,
            rows: 5,
            ..Counts::default()
        };
        let start = r#"{"executions":2,"fingerprint":"0123456789abcdef","#;
        let data = record.data("r1", &counts);
        assert_eq!(data, format!(r#"{start}"rows":5,"statement":"SELECT"}}"#));
        counts.unknown = 1;
        let data = record.data("r1", &counts);
        let expected = r#""rows":"unknown","rows_at_least":5,"statement":"SELECT"}"#;
        assert_eq!(data, format!("{start}{expected}"));
        counts = Counts {
            times: 2,
            open: 1,
            ..Counts::default()
        };
        let data = record.data("r1", &counts);
        let expected = r#""rows":"unknown","running":"r1","statement":"SELECT"}"#;
        assert_eq!(data, format!("{start}{expected}"));
        assert_eq!(record.action(&counts), "read");
        counts.large = true;
        assert_eq!(record.action(&counts), "export");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_none(bytes: Vec<u8>) {
            let _ = Record::decode(&bytes);
            let mut cut = record().encode();
            cut.truncate(bytes.len());
            prop_assert!(Record::decode(&cut).is_err() || bytes.len() >= cut.len());
        }
    }
}
