//! Rules of retention as blocks state them: how long what is kept at least, and what was let go.
//!
//! They stand in what a block says was captured, which its hash covers, so that whoever has the
//! blocks of a ledger, whole or of one account, knows by which rules anything may be gone.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Most rules that a block states; one that states more states none.
pub const MOST_RULES: usize = 1_000;

/// Longest time that a rule keeps anything: a hundred years, in microseconds.
pub const LONGEST: i64 = 100 * 365 * 86_400 * 1_000_000;

/// Action of the event that tells of a rule that was set.
pub const SET: &str = "set_retention";
/// Action of the event that tells what was let go.
pub const LET_GO: &str = "let_go";
/// Action of the event that tells that data was removed.
pub const PRUNE_PAYLOADS: &str = "prune_payloads";
/// Action of the event that tells that events were removed.
pub const PRUNE_BLOCKS: &str = "prune_blocks";

/// Name of the member of a configuration.
const MEMBER: &str = "retention";

/// A rule, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// So long it is kept at least after it was sealed.
    pub keep: i64,
    /// What was sealed before this time may be gone; nothing where it is not told.
    pub before: Option<i64>,
}

/// The rules that a block states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// For the data of events about a relation; the empty name stands for all without a rule of
    /// their own, and for events about none.
    pub payload: BTreeMap<String, Rule>,
    /// For whole events.
    pub events: Option<Rule>,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The data of events about a relation, see [`Statement::payload`].
    Payload(String),
    /// Whole events.
    Events,
}

/// A rule as JSON has it.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    relation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<i64>,
}

impl Statement {
    /// What a block sealed at `now` states of rules as they were set and let go, in any order. The
    /// longest of the times counts; nothing is let go that the rule keeps by then.
    pub fn of(set: impl IntoIterator<Item = (What, Rule)>, now: i64) -> Self {
        let mut all: BTreeMap<What, (i64, Vec<i64>)> = BTreeMap::new();
        for (what, rule) in set {
            let (keep, before) = all.entry(what).or_default();
            *keep = rule.keep.max(*keep);
            before.extend(rule.before);
        }
        let mut statement = Self::default();
        for (what, (keep, before)) in all {
            let may_go = |before: &i64| before.checked_add(keep).is_some_and(|at| at <= now);
            let before = before.into_iter().filter(may_go).max();
            let rule = Rule { keep, before };
            match what {
                What::Payload(relation) => drop(statement.payload.insert(relation, rule)),
                What::Events => statement.events = Some(rule),
            }
        }
        statement
    }

    /// The rule for the data of events about a relation.
    pub fn of_data(&self, relation: &str) -> Option<Rule> {
        let own = self.payload.get(relation);
        own.or_else(|| self.payload.get("")).copied()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty() && self.events.is_none()
    }

    /// What is captured, a JSON object, with these rules among it.
    pub fn added_to(&self, configuration: &str) -> String {
        let open = configuration.strip_suffix('}');
        match open.filter(|_| !self.is_empty()) {
            Some("{") => format!("{{\"{MEMBER}\":{self}}}"),
            Some(open) => format!("{open},\"{MEMBER}\":{self}}}"),
            None => configuration.to_owned(),
        }
    }

    /// Reads what a configuration states; none where it is no JSON object, or what it states is not
    /// of the format's form.
    pub fn stated(configuration: &str) -> Option<Self> {
        let mut deserializer = serde_json::Deserializer::from_str(configuration);
        let stated = deserializer.deserialize_map(Members).ok()?;
        deserializer.end().ok()?;
        Some(stated)
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = self.payload.iter().map(|(relation, rule)| Entry {
            relation: Some(relation.as_str()).filter(|relation| !relation.is_empty()),
            payload: Some(rule.keep),
            events: None,
            before: rule.before,
        });
        let events = self.events.iter().map(|rule| Entry {
            relation: None,
            payload: None,
            events: Some(rule.keep),
            before: rule.before,
        });
        let entries: Vec<_> = payload.chain(events).collect();
        formatter.write_str(&serde_json::to_string(&entries).map_err(|_| fmt::Error)?)
    }
}

/// The configuration, of which nothing else is kept.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Statement;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("what was captured")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Statement, A::Error> {
        let mut found = None;
        while let Some(name) = members.next_key::<String>()? {
            if name != MEMBER {
                members.next_value::<IgnoredAny>()?;
            } else if found.replace(members.next_value_seed(Rules)?).is_some() {
                return Err(Error::duplicate_field(MEMBER));
            }
        }
        Ok(found.unwrap_or_default())
    }
}

/// The list of rules.
struct Rules;

impl<'de> serde::de::DeserializeSeed<'de> for Rules {
    type Value = Statement;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Statement, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rules {
    type Value = Statement;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of rules")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Statement, A::Error> {
        let mut statement = Statement::default();
        let mut count = 0;
        while let Some((what, rule)) = entries.next_element_seed(OneRule)? {
            count += 1;
            let before = match what {
                What::Payload(relation) => statement.payload.insert(relation, rule),
                What::Events => statement.events.replace(rule),
            };
            if before.is_some() || count > MOST_RULES {
                return Err(Error::custom("a rule twice, or too many"));
            }
        }
        (count > 0)
            .then_some(statement)
            .ok_or_else(|| Error::custom("an empty list, which is to be left out"))
    }
}

/// One rule.
struct OneRule;

impl<'de> serde::de::DeserializeSeed<'de> for OneRule {
    type Value = (What, Rule);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneRule {
    type Value = (What, Rule);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a rule")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut relation, mut payload, mut events, mut before) = (None, None, None, None);
        while let Some(name) = members.next_key::<String>()? {
            let twice = match name.as_str() {
                "relation" => relation.replace(members.next_value::<String>()?).is_some(),
                "payload" => payload.replace(members.next_value::<i64>()?).is_some(),
                "events" => events.replace(members.next_value::<i64>()?).is_some(),
                "before" => before.replace(members.next_value::<i64>()?).is_some(),
                _ => return Err(Error::custom("an unknown member")),
            };
            if twice {
                return Err(Error::custom("a member twice"));
            }
        }
        let (what, keep) = match (relation, payload, events) {
            (Some(relation), Some(keep), None) if !relation.is_empty() => {
                (What::Payload(relation), keep)
            }
            (None, Some(keep), None) => (What::Payload(String::new()), keep),
            (None, None, Some(keep)) => (What::Events, keep),
            _ => return Err(Error::custom("neither of the two kinds of rule")),
        };
        if !(0..=LONGEST).contains(&keep) {
            return Err(Error::custom("a time that is none"));
        }
        Ok((what, Rule { keep, before }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(keep: i64, before: Option<i64>) -> Rule {
        Rule { keep, before }
    }

    fn of(relation: &str) -> What {
        What::Payload(relation.to_owned())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let set = [
            (of(""), rule(5, None)),
            (of("public.\"a b\""), rule(7, Some(-3))),
            (What::Events, rule(9, Some(90))),
        ];
        let statement = Statement::of(set, 100);
        let text = statement.added_to(r#"{"a":[1.5,{"a":1,"a":null}]}"#);
        assert_eq!(
            text,
            r#"{"a":[1.5,{"a":1,"a":null}],"retention":[{"payload":5},{"relation":"public.\"a b\"","payload":7,"before":-3},{"events":9,"before":90}]}"#
        );
        assert_eq!(Statement::stated(&text), Some(statement.clone()));
        assert_eq!(
            Statement::stated(&statement.added_to("{}")),
            Some(statement)
        );
        let none = Statement::default();
        assert_eq!(none.added_to("{}"), "{}");
        assert_eq!(Statement::stated("{}"), Some(none));
    }

    /// Whoever gets at the table of rules can only make them longer.
    #[test]
    fn longest_time_set_counts_and_nothing_goes_that_it_keeps() {
        let set = [
            (of(""), rule(10, None)),
            (of(""), rule(3, Some(95))),
            (of(""), rule(3, Some(90))),
            (of(""), rule(3, Some(80))),
            (of("x"), rule(i64::MAX, Some(1))),
        ];
        let statement = Statement::of(set, 100);
        assert_eq!(statement.of_data("any"), Some(rule(10, Some(90))));
        assert_eq!(statement.of_data("x"), Some(rule(i64::MAX, None)));
    }

    #[test]
    fn more_rules_than_the_format_allows_are_none() {
        let stated = |count: usize| {
            let set = (0..count).map(|n| (of(&format!("r{n}")), rule(1, None)));
            Statement::stated(&Statement::of(set, 0).added_to("{}")).is_some()
        };
        assert_eq!((stated(MOST_RULES), stated(MOST_RULES + 1)), (true, false));
    }
}
