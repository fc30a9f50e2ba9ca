//! Trust policies of C2SP (<https://c2sp.org/tlog-policy>): which logs and witnesses are known, and
//! whose cosignatures make a checkpoint good enough.

use std::collections::{HashMap, HashSet};

use crate::note::{KeyKind, Note, Verdict, VerifierKey};

/// The text is not a policy; says in which line, counted from 1, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the policy: {problem}")]
pub struct InvalidPolicy {
    /// Line in which it shows.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// A witness of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its name within the policy.
    pub name: String,
    /// Its key.
    pub key: VerifierKey,
}

/// A trust policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    rules: Vec<Rule>,
    names: HashMap<String, usize>,
    quorum: Option<usize>,
}

/// What a name stands for: so many of these rules must hold, or a witness must have signed.
#[derive(Clone, Debug)]
enum Rule {
    Witness(usize),
    Group(usize, Vec<usize>),
}

/// What a policy says of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether one of the policy's logs signed it.
    pub log_signed: bool,
    /// Witnesses whose cosignatures are good, with the time each saw it, in seconds since
    /// 1970-01-01 UTC.
    pub witnesses: Vec<(String, u64)>,
    /// Keys whose signatures are not of them.
    pub forged: Vec<String>,
    /// Whether there are enough witnesses.
    pub quorum: bool,
}

impl Judgement {
    /// Whether the checkpoint is to be trusted.
    pub fn is_good(&self) -> bool {
        self.log_signed && self.quorum && self.forged.is_empty()
    }
}

impl Policy {
    /// Reads a policy.
    pub fn parse(text: &str) -> Result<Self, InvalidPolicy> {
        let mut policy = Self::default();
        let mut quorum_found = false;
        for (line, content) in (1..).zip(text.split('\n')) {
            let invalid = |problem| InvalidPolicy { line, problem };
            if content.contains(|c: char| c.is_ascii_control() && c != '\t') {
                return Err(invalid("a control character"));
            }
            let words: Vec<&str> = content
                .split([' ', '\t'])
                .filter(|word| !word.is_empty())
                .collect();
            let added = match words.as_slice() {
                [] => Ok(()),
                [first, ..] if first.starts_with('#') => Ok(()),
                ["log", key] | ["log", key, _] => policy.add_log(key),
                ["witness", name, key] | ["witness", name, key, _] => policy.add_witness(name, key),
                ["group", name, threshold, members @ ..] => {
                    policy.add_group(name, threshold, members)
                }
                ["quorum", _] if quorum_found => Err("a second quorum"),
                ["quorum", name] => {
                    quorum_found = true;
                    policy.set_quorum(name)
                }
                _ => Err("not a definition"),
            };
            added.map_err(invalid)?;
        }
        if !quorum_found {
            let line = text.split('\n').count();
            let problem = "no quorum";
            return Err(InvalidPolicy { line, problem });
        }
        Ok(policy)
    }

    /// A policy of one log and no witness.
    pub fn of_log(key: VerifierKey) -> Self {
        Self {
            logs: vec![key],
            ..Self::default()
        }
    }

    /// The names of the policy's logs.
    pub fn logs(&self) -> impl Iterator<Item = &str> {
        self.logs.iter().map(VerifierKey::name)
    }

    /// Judges a checkpoint. A policy without a log leaves it open who signs for the log.
    pub fn judge(&self, note: &Note<'_>) -> Judgement {
        let mut forged = Vec::new();
        let mut signed = |key: &VerifierKey| match key.verify(note) {
            Verdict::Absent => None,
            Verdict::Signed(time) => Some(time.unwrap_or_default()),
            Verdict::Forged => {
                forged.push(key.to_string());
                None
            }
        };
        let log_signed = self.logs.iter().filter(|key| signed(key).is_some()).count() > 0;
        let times: Vec<Option<u64>> = self
            .witnesses
            .iter()
            .map(|witness| signed(&witness.key))
            .collect();
        let mut holds: Vec<bool> = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            holds.push(match rule {
                Rule::Witness(at) => times[*at].is_some(),
                // Members stand before their group.
                Rule::Group(least, members) => {
                    members.iter().filter(|member| holds[**member]).count() >= *least
                }
            });
        }
        let witnesses = self.witnesses.iter().zip(&times);
        Judgement {
            log_signed: log_signed || self.logs.is_empty(),
            witnesses: witnesses
                .filter_map(|(witness, time)| Some((witness.name.clone(), (*time)?)))
                .collect(),
            forged,
            quorum: self.quorum.is_none_or(|rule| holds[rule]),
        }
    }

    fn add_log(&mut self, key: &str) -> Result<(), &'static str> {
        let key: VerifierKey = key.parse().map_err(|_| "not a verifier key")?;
        if key.kind() != KeyKind::Ed25519 {
            return Err("not a key of a log");
        }
        if self.logs.iter().any(|log| log.public() == key.public()) {
            return Err("a second log with this key");
        }
        self.logs.push(key);
        Ok(())
    }

    fn add_witness(&mut self, name: &str, key: &str) -> Result<(), &'static str> {
        let key: VerifierKey = key.parse().map_err(|_| "not a verifier key")?;
        if key.kind() != KeyKind::Cosignature {
            return Err("not a key of a witness");
        }
        if (self.witnesses.iter()).any(|witness| witness.key.public() == key.public()) {
            return Err("a second witness with this key");
        }
        self.name(name, Rule::Witness(self.witnesses.len()))?;
        let name = name.to_owned();
        self.witnesses.push(Witness { name, key });
        Ok(())
    }

    fn add_group(
        &mut self,
        name: &str,
        threshold: &str,
        members: &[&str],
    ) -> Result<(), &'static str> {
        let least = match threshold {
            "any" => 1,
            "all" => members.len(),
            number => number
                .parse()
                .ok()
                .filter(|least: &usize| least.to_string() == number)
                .ok_or("not a number of members")?,
        };
        if !(1..=members.len()).contains(&least) {
            return Err("more members asked for than there are, or none");
        }
        let places = members
            .iter()
            .map(|member| self.names.get(*member).copied())
            .collect::<Option<Vec<_>>>()
            .ok_or("an unknown member")?;
        let distinct: HashSet<_> = places.iter().collect();
        let elsewhere = |place| {
            self.rules.iter().any(|rule| match rule {
                Rule::Group(_, members) => members.contains(place),
                Rule::Witness(_) => false,
            })
        };
        if distinct.len() < places.len() || places.iter().any(elsewhere) {
            return Err("a member of two groups");
        }
        self.name(name, Rule::Group(least, places))
    }

    fn set_quorum(&mut self, name: &str) -> Result<(), &'static str> {
        if name != "none" {
            let rule = self.names.get(name).copied();
            self.quorum = Some(rule.ok_or("an unknown quorum")?);
        }
        Ok(())
    }

    fn name(&mut self, name: &str, rule: Rule) -> Result<(), &'static str> {
        if name == "none" || self.names.contains_key(name) {
            return Err("the name is taken");
        }
        self.names.insert(name.to_owned(), self.rules.len());
        self.rules.push(rule);
        Ok(())
    }
}
