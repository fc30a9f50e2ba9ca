//! What is not known, since when, and why.

use std::collections::BTreeSet;

use crate::event::EventKey;

use super::super::members::Members;
use super::rows::{Row, Value};
use super::{Event, Fold};

/// Why something is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No event says what rows there were at first.
    NotBegun,
    /// It was changed what is captured, or whether.
    Capture,
    /// A command gave rows values that no event holds, or took or brought rows.
    Command,
    /// The same of one column.
    Column(String),
    /// The table is not logged, so that a crash takes its rows.
    Unlogged,
    /// A column says how other objects are called or what they are made of, and changes with them.
    Follows(String),
    /// An event changes a row that no event before it made.
    NoRow,
    /// The columns of a row that are not what they were before an event.
    Differs(Vec<String>),
    /// Two rows have one key.
    Double,
    /// What the event says was let go by a rule of retention.
    LetGo,
    /// The event is not as capture writes it.
    Unreadable,
}

/// What is not known, and since which event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The event; none where nothing has begun.
    pub event: Option<EventKey>,
    /// Whose event it is; empty where it is in no account.
    pub account: String,
    /// What it did.
    pub why: Why,
}

impl Unknown {
    pub(super) fn at(event: &Event<'_>, why: Why) -> Self {
        Self {
            event: Some(event.key),
            account: event.account.to_owned(),
            why,
        }
    }

    /// The same as somebody of an account may hear it: without an event of another one.
    #[must_use]
    pub fn told(mut self, account: &str) -> Self {
        if !self.account.is_empty() && self.account != account {
            self.event = None;
            self.account.clear();
        }
        self
    }
}

/// An event that cannot be folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It does not fit the rows that the events before it made.
    Unknown(Unknown),
    /// Its row may have come from another account, whose events are needed.
    OtherAccount,
}

/// A column whose values are not known while they are in rows.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) name: String,
    /// What to say of it.
    pub(super) since: Unknown,
    /// The number of that among what is unknown.
    pub(super) number: Option<usize>,
}

impl Fold {
    /// Whether rows are known now, but for those that an event did not fit; else what is not.
    pub fn known(&self) -> Result<(), Unknown> {
        self.known_but_for(|_| true)
    }

    /// Whether all rows of an account are known now, or of all of them; else what is not. Rows of other
    /// accounts do not matter.
    pub fn known_of(&self, account: Option<&str>) -> Result<(), Unknown> {
        let asked = |of: &str| account.is_none_or(|account| account == of);
        self.known_but_for(|row| asked(&self.texts[row.account]))?;
        match self.doubts.iter().find(|unknown| asked(&unknown.account)) {
            None => Ok(()),
            Some(unknown) => Err(unknown.clone()),
        }
    }

    pub(super) fn known_but_for(&self, asked: impl Fn(&Row) -> bool) -> Result<(), Unknown> {
        self.known.clone()?;
        if let Some(unknown) = &self.unlogged {
            return Err(unknown.clone());
        }
        let double = |(key, _): &&(String, Unknown)| {
            let twice = |rows: &Vec<Row>| rows.len() > 1 && rows.iter().any(&asked);
            !self.whole && self.rows.get(key).is_some_and(twice)
        };
        match self.doubled.iter().find(double) {
            None => Ok(()),
            Some((_, unknown)) => Err(unknown.clone()),
        }
    }

    /// The columns that are not known of some row, with the event that made them so.
    pub fn unknown_columns(&self) -> Vec<Unknown> {
        let shown: Vec<_> = { self.layout.iter().copied() }
            .filter(|id| self.columns[*id].shown)
            .collect();
        let mut met = BTreeSet::new();
        for row in self.rows.values().flatten() {
            for id in &shown {
                if let Some(Value::Unknown(number)) = row.get(&self.columns, *id) {
                    met.insert(*number);
                }
            }
        }
        let met = met.into_iter();
        met.map(|number| self.unknown[number].clone()).collect()
    }

    /// Takes note of the columns that change with other objects, where the event says which: of those it
    /// does not name nothing is said, or that they are none.
    pub(super) fn follow(&mut self, event: &Event<'_>, data: &str, all: bool) {
        let said = Members::read(data).unwrap_or_default();
        let named: Vec<String> = { said.get("follows") }
            .and_then(|follows| serde_json::from_str(follows).ok())
            .unwrap_or_default();
        if all {
            let unlogged = said.get("unlogged") == Some("true");
            self.unlogged = unlogged.then(|| Unknown::at(event, Why::Unlogged));
            self.following.retain(|column| named.contains(&column.name));
        }
        for name in named {
            if !self.following.iter().any(|column| column.name == name) {
                let since = Unknown::at(event, Why::Follows(name.clone()));
                self.following.push(Following {
                    name,
                    since,
                    number: None,
                });
            }
        }
    }

    /// What a row has in a column of which an event says this.
    pub(super) fn value(&mut self, name: &str, json: &str) -> Value {
        let mut following = self.following.iter_mut();
        match following.find(|column| column.name == name && json != "null") {
            None => Value::Json(json.into()),
            Some(column) => {
                let unknown = &mut self.unknown;
                Value::Unknown(*column.number.get_or_insert_with(|| {
                    unknown.push(column.since.clone());
                    unknown.len() - 1
                }))
            }
        }
    }

    pub(super) fn make_unknown(&mut self, event: &Event<'_>, column: &str) -> Value {
        let unknown = Unknown::at(event, Why::Column(column.to_owned()));
        self.unknown.push(unknown);
        Value::Unknown(self.unknown.len() - 1)
    }

    /// Of rows of which any may be the event's it is not known which has what they differ in.
    pub(super) fn confuse(&mut self, event: &Event<'_>, key: &str, alike: &[usize]) {
        for id in self.layout.clone() {
            let value = |n: &usize| self.rows[key][*n].get(&self.columns, id);
            if alike.iter().all(|n| value(n) == value(&alike[0])) {
                continue;
            }
            let name = self.columns[id].name.clone();
            let unknown = self.make_unknown(event, &name);
            let rows = self.rows.get_mut(key).expect("the rows are there");
            for n in alike {
                rows[*n].set(id, unknown.clone());
            }
        }
    }
}

pub(super) fn unknown(event: &Event<'_>, why: Why) -> Misfit {
    Misfit::Unknown(Unknown::at(event, why))
}
