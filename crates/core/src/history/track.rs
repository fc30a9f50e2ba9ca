//! The events of one row, whatever key it had.

use std::collections::{BTreeMap, HashMap};

use crate::event::EventKey;

use super::commands::{Done, done};
use super::fold::Event;
use super::members::{Members, canonical};
use super::names::Names;
use super::spans::Spans;

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
    spans: HashMap<String, Spans>,
    /// The number of the first event of the relation that has the name last; of the relations that had it
    /// before it nothing is shown.
    first: usize,
    /// Whether the relation was dropped, so that what comes next is another one's.
    dropped: bool,
    /// Whether rows of all relations that had the name are shown.
    of_any: bool,
    watch: fn(),
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
            first: 0,
            dropped: false,
            of_any: false,
            watch: || (),
            was_there: false,
            before: None,
        }
    }

    /// Has `watch` called now and then where one step takes long: it may end the work by unwinding.
    #[must_use]
    pub fn watched(mut self, watch: fn()) -> Self {
        self.watch = watch;
        self
    }

    /// Shows rows of the key in every relation that had the name, one after the other.
    #[must_use]
    pub fn of_any(mut self) -> Self {
        self.names = self.names.of_any();
        self.start = self.names.clone();
        self.of_any = true;
        self
    }

    /// Takes note of an event.
    pub fn look(&mut self, event: &Event<'_>) {
        let here = event.relation == Some(self.names.current());
        if here && event.kind == "system" && event.action == "ddl" {
            self.dropped |= { done(self.names.current(), event.data.unwrap_or_default()) }
                .contains(&Done::Dropped);
        } else if here && self.dropped {
            self.dropped = false;
            if !self.of_any {
                self.first = self.next;
                self.changes.clear();
            }
        }
        if let Some((before, Some(after))) = self.keys(event)
            && before != after
        {
            self.changes.push((self.next - 1, before, after));
        }
    }

    /// All events were looked at: works out which key was whose when, and goes back to the first.
    pub fn decide(&mut self) {
        // The numbers of changes by the key before and by the key after, ascending as their events do.
        let mut from: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut to: HashMap<&str, Vec<usize>> = HashMap::new();
        for (n, (_, before, after)) in self.changes.iter().enumerate() {
            from.entry(before).or_default().push(n);
            to.entry(after).or_default().push(n);
        }
        let changes = &self.changes;
        let mut spans: HashMap<&str, Spans> = HashMap::new();
        let mut ahead = vec![(self.wanted.as_str(), self.first, usize::MAX)];
        while let Some((key, first, last)) = ahead.pop() {
            (self.watch)();
            // What was gone through before leads nowhere new.
            for (first, last) in spans.entry(key).or_default().add(first, last) {
                // Where a row of the key went, and until when that key was its own.
                let leaving = from.get(key).map_or(&[][..], Vec::as_slice);
                let begin = leaving.partition_point(|n| changes[*n].0 < first);
                let within = leaving[begin..].iter();
                for n in within.take_while(|n| changes[**n].0 <= last) {
                    (self.watch)();
                    let (at, _, after) = &changes[*n];
                    let leaves = from.get(after.as_str()).map_or(&[][..], Vec::as_slice);
                    let next = leaves.get(leaves.partition_point(|next| next <= n));
                    let until = next.map_or(usize::MAX, |next| changes[*next].0);
                    ahead.push((after.as_str(), at + 1, until));
                }
                // Where one came from, and since when that key had been its own.
                let coming = to.get(key).map_or(&[][..], Vec::as_slice);
                let begin = coming.partition_point(|n| changes[*n].0 + 1 < first);
                let within = coming[begin..].iter();
                for n in within.take_while(|n| changes[**n].0 < last) {
                    (self.watch)();
                    let (at, before, _) = &changes[*n];
                    let comes = to.get(before.as_str()).map_or(&[][..], Vec::as_slice);
                    let earlier = comes.partition_point(|earlier| earlier < n).checked_sub(1);
                    let since = earlier.map_or(self.first, |earlier| changes[comes[earlier]].0 + 1);
                    ahead.push((before.as_str(), since, *at));
                }
            }
        }
        let spans = spans.into_iter();
        self.spans = spans.map(|(key, spans)| (key.to_owned(), spans)).collect();
        self.names = self.start.clone();
        (self.passed, self.next) = (0, 0);
    }

    /// What to say of an event; none where it is not of the row.
    pub fn take(&mut self, event: &Event<'_>) -> Option<Note> {
        let (before, after) = self.keys(event)?;
        let n = self.next - 1;
        let spans = self.spans.get(&before)?;
        if !spans.contains(n) {
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static WATCHED: Cell<usize> = const { Cell::new(0) };
    }

    /// Rows without keys are whole rows, and thousands of them may be told apart by nothing.
    #[test]
    fn changes_of_keys_are_gone_through_once() {
        const ROWS: i32 = 5_000;
        let names = || Names::of("s.t", &[]);
        let key = |up: bool| format!(r#"{{"up":{up}}}"#);
        let event = |ordinal: i32, action: &'static str, row_key, data| Event {
            key: EventKey {
                incarnation: 1,
                xid: 1,
                ordinal,
            },
            command_id: i64::from(ordinal),
            kind: "row",
            action,
            account: "a",
            relation: Some("s.t"),
            leaf: None,
            row_key,
            data,
            personal: None,
            erased: false,
        };
        let (down, up) = (key(false), key(true));
        let (rise, fall) = (
            r#"{"old":{"up":false},"new":{"up":true}}"#,
            r#"{"old":{"up":true},"new":{"up":false}}"#,
        );
        // One row to and fro, and many rows that come to one key.
        let flips = |n: i32| match n % 2 {
            0 => event(n, "update", Some(down.as_str()), Some(rise)),
            _ => event(n, "update", Some(up.as_str()), Some(fall)),
        };
        let arrivals = |n: i32| event(n, "update", Some(down.as_str()), Some(rise));
        for arriving in [false, true] {
            let of = |n| if arriving { arrivals(n) } else { flips(n) };
            let mut track =
                Track::new(names(), &[], &down).watched(|| WATCHED.set(WATCHED.get() + 1));
            WATCHED.set(0);
            (0..ROWS).for_each(|n| track.look(&of(n)));
            track.decide();
            let taken = (0..ROWS).filter(|n| track.take(&of(*n)).is_some()).count();
            assert_eq!(taken, ROWS as usize, "{arriving}");
            assert!(WATCHED.get() <= 5 * ROWS as usize, "{}", WATCHED.get());
        }
    }
}
