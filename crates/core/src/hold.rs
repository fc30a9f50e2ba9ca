//! Legal holds as the log has them: which were placed and not released, and what they cover.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::row_key::normalised;

/// Action of the events that place a hold.
pub const PLACE: &str = "place_hold";
/// Action of the events that release one.
pub const RELEASE: &str = "release_hold";

/// The data of both.
#[derive(Serialize, Deserialize)]
struct Data {
    hold: i64,
    reason: String,
    /// Names of relations beyond the event's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    covers: Vec<String>,
}

/// The data of an event of either action. `covers` are names of relations beyond the event's own.
pub fn data(hold: i64, reason: &str, covers: &[String]) -> String {
    let data = Data {
        hold,
        reason: reason.to_owned(),
        covers: covers.to_vec(),
    };
    serde_json::to_string(&data).expect("texts and a number")
}

/// A hold, as it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its number.
    pub id: i64,
    /// The account whose events it keeps.
    pub account: String,
    /// The names of the relations it covers; none for all relations.
    pub covers: Option<BTreeSet<String>>,
    /// The normalised key of the one row it is about.
    pub row_key: Option<String>,
}

impl Hold {
    /// Whether events of this relation, or of this part of one, may be of what is held.
    pub fn covers(&self, relation: Option<&str>, leaf: Option<&str>) -> bool {
        self.covers.as_ref().is_none_or(|covers| {
            let covered = |name: &str| covers.contains(name);
            relation.is_some_and(covered) || leaf.is_some_and(covered)
        })
    }

    /// Whether it keeps an event by what the event itself says. A row that is named by no key may be
    /// the one that is held.
    pub fn keeps(&self, relation: Option<&str>, leaf: Option<&str>, row_key: Option<&str>) -> bool {
        self.covers(relation, leaf)
            && match (&self.row_key, row_key) {
                (None, _) | (_, None) => true,
                (Some(held), Some(key)) => normalised(key).is_none_or(|key| key == *held),
            }
    }
}

/// A hold as the events tell it. `T` is whatever the reader keeps of an event.
#[derive(Debug, PartialEq, Eq)]
pub struct Told<T> {
    /// The account of the event.
    pub account: String,
    /// The relation of the event.
    pub relation: Option<String>,
    /// The row of the event.
    pub row_key: Option<String>,
    /// Why it was placed.
    pub reason: String,
    /// Names of relations it covers beyond its own.
    pub covers: Vec<String>,
    /// The event that placed it.
    pub placed: T,
    /// Why it was released, by which event.
    pub released: Option<(String, T)>,
}

/// The holds that events of the extension tell of, by number.
#[derive(Debug)]
pub struct Log<T> {
    placed: BTreeMap<i64, Told<T>>,
    released: Vec<(i64, String, T)>,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self {
            placed: BTreeMap::new(),
            released: Vec::new(),
        }
    }
}

impl<T> Log<T> {
    /// Takes an event of kind `system` and one of the two actions, in whatever order. What is none
    /// as our code writes it says nothing.
    pub fn take(
        &mut self,
        action: &str,
        account: &str,
        (relation, row_key): (Option<&str>, Option<&str>),
        data: Option<&str>,
        event: T,
    ) {
        let Some(data) = data.and_then(|data| serde_json::from_str::<Data>(data).ok()) else {
            return;
        };
        match action {
            PLACE => {
                let told = Told {
                    account: account.to_owned(),
                    relation: relation.map(str::to_owned),
                    row_key: row_key.map(str::to_owned),
                    reason: data.reason,
                    covers: data.covers,
                    placed: event,
                    released: None,
                };
                self.placed.insert(data.hold, told);
            }
            RELEASE => self.released.push((data.hold, data.reason, event)),
            _ => {}
        }
    }

    /// All holds, each with its release where there was one.
    pub fn finish(self) -> BTreeMap<i64, Told<T>> {
        let mut placed = self.placed;
        for (id, reason, event) in self.released {
            if let Some(told) = placed.get_mut(&id) {
                told.released = Some((reason, event));
            }
        }
        placed
    }
}

/// Adds every name that a relation of these names had or has, by changes of names in whichever
/// direction. Of relations that took over each other's names all are in: what is too much is kept,
/// what is too little is lost.
pub fn add_renamed(names: &mut BTreeSet<String>, renames: &[(String, String)]) {
    loop {
        let before = names.len();
        for (from, to) in renames {
            if names.contains(from) || names.contains(to) {
                names.extend([from.clone(), to.clone()]);
            }
        }
        if names.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(covers: Option<&[&str]>, row_key: Option<&str>) -> Hold {
        let covers = covers.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Hold {
            id: 1,
            account: "a".into(),
            covers,
            row_key: row_key.map(str::to_owned),
        }
    }

    #[test]
    fn what_cannot_be_told_apart_from_what_is_held_is_kept() {
        let row = hold(Some(&["s.t"]), Some(r#"{"id":1}"#));
        assert!(row.keeps(Some("s.t"), None, Some(r#"{ "id": 1 }"#)));
        assert!(row.keeps(Some("s.t"), None, None));
        assert!(row.keeps(Some("s.root"), Some("s.t"), None));
        assert!(row.keeps(Some("s.t"), None, Some("damaged")));
        assert!(!row.keeps(Some("s.t"), None, Some(r#"{"id":2}"#)));
        assert!(!row.keeps(Some("s.u"), None, None));
        assert!(!row.keeps(None, None, None));
        assert!(hold(None, None).keeps(None, None, None));
        assert!(hold(Some(&["s.t"]), None).keeps(Some("s.t"), None, Some("{}")));
    }

    #[test]
    fn holds_are_told_by_events_in_any_order() {
        let mut log = Log::default();
        let about = (Some("s.t"), Some("{}"));
        log.take(RELEASE, "a", about, Some(&data(1, "closed", &[])), 7);
        log.take(PLACE, "a", about, Some(&data(1, "case", &[])), 3);
        log.take(
            PLACE,
            "b",
            (None, None),
            Some(&data(2, "case", &["s.u".into()])),
            4,
        );
        log.take(RELEASE, "b", (None, None), Some("{}"), 5);
        log.take(RELEASE, "b", (None, None), Some(&data(9, "none", &[])), 6);
        let told = log.finish();
        assert_eq!(told[&1].released, Some(("closed".into(), 7)));
        assert_eq!((told[&2].released.is_none(), told[&2].placed), (true, 4));
        assert_eq!(told[&2].covers, ["s.u"]);
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn names_are_followed_in_both_directions() {
        let renames = [("s.a", "s.b"), ("s.b", "s.c"), ("s.x", "s.y")];
        let renames = renames.map(|(from, to)| (from.to_owned(), to.to_owned()));
        for name in ["s.a", "s.b", "s.c"] {
            let mut names = BTreeSet::from([name.to_owned()]);
            add_renamed(&mut names, &renames);
            assert_eq!(names.iter().collect::<Vec<_>>(), ["s.a", "s.b", "s.c"]);
        }
    }
}
