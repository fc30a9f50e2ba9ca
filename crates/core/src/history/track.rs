//! The events of one row, whatever key it had.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::event::EventKey;

use super::commands::{Done, done};
use super::fold::Event;
use super::members::{Members, canonical};
use super::names::Names;

/// What is to be said of an event of a row beyond its action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Nothing.
    None,
    /// The row, or another one of its key, had been there before.
    Again,
    /// The key changed.
    Key,
    /// It went to another partition; the event before took it from one.
    Partition,
    /// It came from another account; the event before is that of the account it left.
    Account,
}

impl Note {
    /// In words; none where there is nothing to say.
    pub fn text(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Again => Some("inserted again"),
            Self::Key => Some("key changed"),
            Self::Partition => Some("moved to another partition"),
            Self::Account => Some("moved to another account"),
        }
    }
}

/// Finds the events of the rows that ever had a key. All events are read twice: [`look`](Self::look)
/// takes note of changes of keys, after [`decide`](Self::decide) [`take`](Self::take) chooses.
#[derive(Debug)]
pub struct Track {
    names: Names,
    start: Names,
    /// Columns that have another name since, in order.
    renames: Vec<(EventKey, String, String)>,
    passed: usize,
    /// Number of the next event of a row.
    next: usize,
    wanted: String,
    changes: Vec<(usize, String, String)>,
    /// By key, from which event of a row to which it is that of a row in question.
    spans: HashMap<String, Vec<(usize, usize)>>,
    was_there: bool,
    before: Option<(EventKey, i64, bool)>,
}

impl Track {
    /// Begins. `commands` are all events of action `ddl` in the order of changes, each with its
    /// relation and data; `key` is the key of the row, JSON text.
    pub fn new(names: Names, commands: &[(EventKey, String, String)], key: &str) -> Self {
        let mut at = names.clone();
        let mut renames = Vec::new();
        for (event, relation, data) in commands {
            at.pass(*event);
            if relation == at.current() {
                for done in done(relation, data) {
                    if let Done::RenamedColumn(before, after) = done {
                        renames.push((*event, before, after));
                    }
                }
            }
        }
        Self {
            start: names.clone(),
            names,
            renames,
            passed: 0,
            next: 0,
            wanted: canonical(key),
            changes: Vec::new(),
            spans: HashMap::new(),
            was_there: false,
            before: None,
        }
    }

    /// Takes note of an event.
    pub fn look(&mut self, event: &Event<'_>) {
        if let Some((before, Some(after))) = self.keys(event)
            && before != after
        {
            self.changes.push((self.next - 1, before, after));
        }
    }

    /// All events were looked at: works out which key was whose when, and goes back to the first.
    pub fn decide(&mut self) {
        let mut from: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut to: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (n, (_, before, after)) in self.changes.iter().enumerate() {
            from.entry(before).or_default().push(n);
            to.entry(after).or_default().push(n);
        }
        let none = Vec::new();
        let mut seen = HashSet::new();
        let mut ahead = vec![(self.wanted.clone(), 0, usize::MAX)];
        while let Some(span) = ahead.pop() {
            if !seen.insert(span.clone()) {
                continue;
            }
            let (key, first, last) = &span;
            // Where a row of the key went, and until when that key was its own.
            for n in from.get(key.as_str()).unwrap_or(&none) {
                let (at, _, after) = &self.changes[*n];
                if (first..=last).contains(&at) {
                    let leaves = from.get(after.as_str()).unwrap_or(&none);
                    let until = leaves.iter().find(|next| *next > n);
                    let until = until.map_or(usize::MAX, |next| self.changes[*next].0);
                    ahead.push((after.clone(), at + 1, until));
                }
            }
            // Where one came from, and since when that key had been its own.
            for n in to.get(key.as_str()).unwrap_or(&none) {
                let (at, before, _) = &self.changes[*n];
                if (first..=last).contains(&&(at + 1)) {
                    let comes = to.get(before.as_str()).unwrap_or(&none);
                    let since = comes.iter().rev().find(|earlier| *earlier < n);
                    let since = since.map_or(0, |earlier| self.changes[*earlier].0 + 1);
                    ahead.push((before.clone(), since, *at));
                }
            }
        }
        for (key, first, last) in seen {
            self.spans.entry(key).or_default().push((first, last));
        }
        self.names = self.start.clone();
        (self.passed, self.next) = (0, 0);
    }

    /// What to say of an event; none where it is not of the row.
    pub fn take(&mut self, event: &Event<'_>) -> Option<Note> {
        let (before, after) = self.keys(event)?;
        let n = self.next - 1;
        let spans = self.spans.get(&before)?;
        if !spans
            .iter()
            .any(|(first, last)| (first..=last).contains(&&n))
        {
            return None;
        }
        let last = self.before.replace((
            event.key,
            event.command_id,
            matches!(event.action, "delete" | "truncate"),
        ));
        let along = last.filter(|(key, command, _)| {
            (key.incarnation, key.xid, *command)
                == (event.key.incarnation, event.key.xid, event.command_id)
        });
        let note = match event.action {
            "insert" if along.is_some_and(|(_, _, removed)| removed) && event.leaf.is_some() => {
                Note::Partition
            }
            "insert" if self.was_there => Note::Again,
            "update" if self.repeats(event, along) => Note::Account,
            "update" if after.is_some_and(|after| after != before) => Note::Key,
            _ => Note::None,
        };
        self.was_there = true;
        Some(note)
    }

    /// Whether the event is the second of the two that a row leaves on its way to another account.
    fn repeats(&self, event: &Event<'_>, along: Option<(EventKey, i64, bool)>) -> bool {
        let next = |(key, _, removed): (EventKey, i64, bool)| {
            !removed && key.ordinal.checked_add(1) == Some(event.key.ordinal)
        };
        // Two changes of one row by one command happen in a cascade only, under other accounts never.
        along.is_some_and(next)
    }

    /// The key of the event's row before and, of an UPDATE, after it; none of what is no event of a row
    /// of the relation.
    fn keys(&mut self, event: &Event<'_>) -> Option<(String, Option<String>)> {
        if event.kind == "system" {
            if event.action == "ddl" {
                self.names.pass(event.key);
                let ahead = self.renames.iter().skip(self.passed);
                let here = ahead.take_while(|(of, ..)| *of == event.key);
                self.passed += here.count();
            }
            return None;
        }
        if event.kind != "row" || event.relation != Some(self.names.current()) {
            return None;
        }
        self.next += 1;
        let key = Members::read(event.row_key.or(event.data)?)?;
        let before = self.text(&key, &Members::default());
        let after = (event.action == "update").then(|| {
            let data = event.data.and_then(Members::read).unwrap_or_default();
            let new = data.get("new").and_then(Members::read).unwrap_or_default();
            self.text(&key, &new)
        });
        Some((before, after))
    }

    /// A key under the names that its columns have in the end, with the values of `over` where it has
    /// the column.
    fn text(&self, key: &Members<'_>, over: &Members<'_>) -> String {
        let mut members = BTreeMap::new();
        for (name, value) in &key.0 {
            let value = over.get(name).unwrap_or(value);
            let later = &self.renames[self.passed.min(self.renames.len())..];
            let name = later.iter().fold(name.to_string(), |name, (_, from, to)| {
                if name == *from { to.clone() } else { name }
            });
            members.insert(name, value);
        }
        let mut out = String::from("{");
        for (n, (name, value)) in members.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let name = serde_json::Value::from(name.as_str());
            out.push_str(&format!("{comma}{name}:{value}"));
        }
        out.push('}');
        canonical(&out)
    }
}
