//! The part of verification that asks whether what is gone was erased.
//!
//! An erasure usually stands behind what it names, but need not: a transaction that began earlier
//! may erase what a later one wrote. So both sides are kept until the other one comes, and what is
//! left at the end is reported.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};

use super::found::Findings;
use crate::event::EventKey;
use crate::ledger::claims::Claims;
use crate::ledger::finding::{Code, Finding};
use crate::ledger::stored::Opening;

/// What is known of an event by its columns alone.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) key: EventKey,
    pub(super) account: &'a str,
    pub(super) relation: Option<&'a str>,
    pub(super) block: Option<i64>,
    pub(super) opening: Opening,
    /// They went with the data, which a rule accounts for.
    pub(super) is_pruned: bool,
}

/// An event of an account. Names stand in [`Names`]: millions of these are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    incarnation: i64,
    xid: i64,
    ordinal: i32,
    account: u32,
}

/// An event whose personal values are gone.
#[derive(Clone, Copy)]
struct Gone {
    /// 0 where no block holds it.
    block: i64,
    relation: u32,
    /// One of values and salt is still there, which is reported already, or the data is gone too, which
    /// is judged elsewhere.
    half: bool,
    /// An erasure names it. It may be named again: what came back was erased again.
    named: bool,
}

/// Texts that occur again and again, by number.
#[derive(Default)]
struct Names {
    index: HashMap<String, u32>,
    all: Vec<String>,
}

impl Names {
    fn at(&mut self, name: &str) -> u32 {
        if let Some(at) = self.index.get(name) {
            return *at;
        }
        let at = u32::try_from(self.all.len()).expect("fewer names than events");
        self.index.insert(name.to_owned(), at);
        self.all.push(name.to_owned());
        at
    }
}

/// Events without their personal values, and events that were named as erased.
#[derive(Default)]
pub(super) struct Erasures {
    names: Names,
    gone: HashMap<Key, Gone>,
    /// Named and not found gone yet.
    named: HashSet<Key>,
    /// What blocks before the first one read hold: nobody looks whether those are gone.
    before: Claims,
    /// Those of the leaves that are being read, which may be read again as events.
    pending: Vec<(Key, Gone)>,
    /// Whether an erasure is among these leaves.
    erases: bool,
}

impl Erasures {
    /// Verification begins after the blocks with these claims, or all their events were removed.
    pub(super) fn begin_after(&mut self, claims: Claims) {
        self.before = claims;
    }

    /// Takes an event that was read as a leaf.
    pub(super) fn leaf(&mut self, seen: Seen<'_>, is_erasure: bool) {
        self.erases |= is_erasure;
        if seen.opening != Opening::Whole {
            let gone = self.gone_of(seen);
            self.pending.push(gone);
        }
    }

    /// Whether an erasure was among the leaves, so that they are to be read as events. Those that
    /// were gone among them are kept where they are not.
    pub(super) fn leaves_read(&mut self, again: bool) -> bool {
        let again = std::mem::take(&mut self.erases) || again;
        for (key, gone) in std::mem::take(&mut self.pending) {
            if !again {
                self.add(key, gone);
            }
        }
        again
    }

    /// Takes an event.
    pub(super) fn event(&mut self, seen: Seen<'_>) {
        if seen.opening != Opening::Whole {
            let (key, gone) = self.gone_of(seen);
            self.add(key, gone);
        }
    }

    /// Takes what a sound erasure of an account names.
    pub(super) fn named(&mut self, account: &str, events: Vec<EventKey>) {
        let account = self.names.at(account);
        for event in events {
            let key = Key {
                incarnation: event.incarnation,
                xid: event.xid,
                ordinal: event.ordinal,
                account,
            };
            match self.gone.get_mut(&key) {
                Some(gone) => gone.named = true,
                None => drop(self.named.insert(key)),
            }
        }
    }

    /// Reports what is left at the end.
    pub(super) fn finish(&mut self, findings: &mut Findings) {
        let gone = std::mem::take(&mut self.gone).into_iter();
        let mut gone: Vec<_> = gone.filter(|(_, gone)| !gone.half && !gone.named).collect();
        gone.sort_unstable_by_key(|(key, _)| *key);
        for (key, gone) in gone {
            let code = Code::PersonalMissing;
            findings.push_with(code, || {
                let detail = "personal values and salt are gone, and no erasure names the event";
                let mut finding = self.finding(code, key, detail);
                finding.block = (gone.block != 0).then_some(gone.block);
                finding.relation = self.names.all.get(gone.relation as usize).cloned();
                finding
            });
        }
        let before = std::mem::take(&mut self.before);
        let mut named: Vec<_> = std::mem::take(&mut self.named).into_iter().collect();
        named.sort_unstable();
        let mut last: Option<(i64, _)> = None;
        for key in named {
            let known = last.take().filter(|(of, _)| *of == key.incarnation);
            let (of, held) = known.unwrap_or_else(|| (key.incarnation, before.of(key.incarnation)));
            if !held.contains(key.xid) {
                let code = Code::PersonalRestored;
                let detail = "an erasure names it, and its personal values are there or it is not";
                findings.push_with(code, || self.finding(code, key, detail));
            }
            last = Some((of, held));
        }
    }

    fn gone_of(&mut self, seen: Seen<'_>) -> (Key, Gone) {
        let key = Key {
            incarnation: seen.key.incarnation,
            xid: seen.key.xid,
            ordinal: seen.key.ordinal,
            account: self.names.at(seen.account),
        };
        let gone = Gone {
            block: seen.block.unwrap_or(0),
            relation: seen.relation.map_or(NO_NAME, |name| self.names.at(name)),
            half: seen.opening == Opening::Half || seen.is_pruned,
            named: false,
        };
        (key, gone)
    }

    fn add(&mut self, key: Key, mut gone: Gone) {
        gone.named = self.named.remove(&key);
        match self.gone.entry(key) {
            Slot::Vacant(slot) => drop(slot.insert(gone)),
            // A second row of the event is damage that is reported; it is gone where one is.
            Slot::Occupied(mut slot) => slot.get_mut().half &= gone.half,
        }
    }

    fn finding(&self, code: Code, key: Key, detail: &str) -> Finding {
        let event = EventKey {
            incarnation: key.incarnation,
            xid: key.xid,
            ordinal: key.ordinal,
        };
        let account = self.names.all.get(key.account as usize);
        Finding {
            event_id: Some(event.to_string()),
            account: account.cloned(),
            ..Finding::new(code, detail)
        }
    }
}

/// Of an event that names no relation.
const NO_NAME: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page of the format says of memory.
    #[test]
    fn one_that_is_gone_takes_forty_bytes() {
        assert_eq!(size_of::<(Key, Gone)>(), 40);
    }
}
