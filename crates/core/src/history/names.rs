//! Names of relations as events bear them, and how they changed.

use crate::audit::push_identifier;
use crate::event::EventKey;

use super::commands::{Done, done};

/// The text is not a schema-qualified name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a schema-qualified name")]
pub struct InvalidName;

/// Schema and name behind a qualified name, quoted or not as `regclass` prints it.
///
/// # Errors
///
/// [`InvalidName`] where it has not exactly two parts.
pub fn split(text: &str) -> Result<(String, String), InvalidName> {
    match <[String; 2]>::try_from(parts(text).ok_or(InvalidName)?) {
        Ok([schema, name]) => Ok((schema, name)),
        Err(_) => Err(InvalidName),
    }
}

/// The last part of a qualified name of any length.
pub fn bare(text: &str) -> Option<String> {
    parts(text)?.pop()
}

fn parts(text: &str) -> Option<Vec<String>> {
    let (mut found, mut rest) = (Vec::new(), text.trim());
    loop {
        let mut part = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let (before, after) = rest.split_once('"')?;
                part.push_str(before);
                rest = after;
                match rest.strip_prefix('"') {
                    Some(after) => {
                        part.push('"');
                        rest = after;
                    }
                    None => break,
                }
            }
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            part = rest[..end].to_lowercase();
            rest = &rest[end..];
        }
        if part.is_empty() {
            return None;
        }
        found.push(part);
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Some(found),
            None => return None,
        }
    }
}

/// A schema-qualified name, quoted where it must be: as events have it.
pub fn qualified(schema: &str, name: &str) -> String {
    let mut out = String::new();
    push_identifier(&mut out, schema);
    out.push('.');
    push_identifier(&mut out, name);
    out
}

/// The name that events have, of one written as they or as `regclass` write it: that quotes reserved
/// words too.
///
/// # Errors
///
/// [`InvalidName`] where it has not exactly two parts.
pub fn as_logged(text: &str) -> Result<String, InvalidName> {
    let (schema, name) = split(text)?;
    Ok(qualified(&schema, &name))
}

/// The names that the relation of an event of action `ddl` had before it, of none where it kept its own.
pub fn names_before(relation: &str, data: &str) -> Vec<String> {
    let renamed = |done| match done {
        Done::Renamed(before) => Some(before),
        _ => None,
    };
    done(relation, data)
        .into_iter()
        .filter_map(renamed)
        .collect()
}

/// What one event did to the names that relations have.
enum Change {
    /// A relation of the first name has the second one since.
    Renamed(String, String),
    /// The relation of the name is gone.
    Dropped(String),
}

/// The names one relation had, from the first to the one it has or had last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// What each change made of the name, in order; the first is where nothing had changed it, and empty
    /// where another relation had the name until then.
    names: Vec<String>,
    /// The events of the changes.
    changes: Vec<EventKey>,
    at: usize,
}

impl Names {
    /// Follows a name back. `renames` are all changes of names there are, in the order of changes: the
    /// event, the name before, the name after.
    pub fn of(last: &str, renames: &[(EventKey, String, String)]) -> Self {
        let changed = renames.iter().map(|(event, before, after)| {
            let change = Change::Renamed(before.clone(), after.clone());
            (*event, change)
        });
        Self::through(last, &changed.collect::<Vec<_>>())
    }

    fn through(last: &str, changed: &[(EventKey, Change)]) -> Self {
        let (mut names, mut changes) = (vec![last.to_owned()], Vec::new());
        for (event, change) in changed.iter().rev() {
            let (name, renamed) = (names.last().cloned(), !changes.is_empty());
            match change {
                Change::Renamed(before, after) if name.as_ref() == Some(after) => {
                    names.push(before.clone());
                    changes.push(*event);
                }
                // Until then another relation had the name, and this one was not there, or not watched.
                Change::Renamed(gone, _) if name.as_ref() == Some(gone) => {
                    names.push(String::new());
                    changes.push(*event);
                    break;
                }
                Change::Dropped(gone) if renamed && name.as_ref() == Some(gone) => {
                    names.push(String::new());
                    changes.push(*event);
                    break;
                }
                _ => {}
            }
        }
        names.reverse();
        changes.reverse();
        Self {
            names,
            changes,
            at: 0,
        }
    }

    /// The same from all events of action `ddl`, each with its relation and data.
    pub fn from_commands(last: &str, commands: &[(EventKey, String, String)]) -> Self {
        let mut changed = Vec::new();
        for (event, relation, data) in commands {
            for done in done(relation, data) {
                let change = match done {
                    Done::Renamed(before) => Change::Renamed(before, relation.clone()),
                    Done::Dropped => Change::Dropped(relation.clone()),
                    _ => continue,
                };
                changed.push((*event, change));
            }
        }
        Self::through(last, &changed)
    }

    /// The same, and what any other relation was that had the first of the names before.
    #[must_use]
    pub fn of_any(mut self) -> Self {
        if self.names.len() > 1 && self.names[0].is_empty() {
            self.names.remove(0);
            self.changes.remove(0);
        }
        self
    }

    /// The name it has where reading stands; empty before it had any.
    pub fn current(&self) -> &str {
        &self.names[self.at]
    }

    /// The event by which another relation gave its only name up; none where it had others before.
    pub fn given_up(&self) -> Option<EventKey> {
        let only = self.names.len() == 2 && self.names[0].is_empty();
        self.changes.first().copied().filter(|_| only)
    }

    /// All names it had, each once.
    pub fn all(&self) -> Vec<String> {
        let mut all = self.names.clone();
        all.retain(|name| !name.is_empty());
        all.sort();
        all.dedup();
        all
    }

    /// Goes past an event; whether it changed the name.
    pub fn pass(&mut self, event: EventKey) -> bool {
        let changes = self.changes.get(self.at) == Some(&event);
        self.at += usize::from(changes);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(ordinal: i32) -> EventKey {
        EventKey {
            incarnation: 1,
            xid: 1,
            ordinal,
        }
    }

    #[test]
    fn names_are_taken_apart_as_they_were_put_together() {
        for (schema, name) in [("shop", "item"), ("Shop", "a.b"), ("s", "q\"q"), ("ö", "2")] {
            let parts = (schema.to_owned(), name.to_owned());
            assert_eq!(split(&qualified(schema, name)), Ok(parts));
        }
        for wrong in ["item", "", "a.b.c", "\"a", "a.", ".b", "\"a\"b.c"] {
            assert_eq!(split(wrong), Err(InvalidName), "{wrong}");
        }
        for spelling in ["s.order", "s.\"order\"", "\"s\".order", " S.Order"] {
            assert_eq!(as_logged(spelling), Ok("s.order".into()), "{spelling}");
        }
        assert_eq!(as_logged("s.\"Order\""), Ok("s.\"Order\"".into()));
        assert_eq!(as_logged("order"), Err(InvalidName));
        assert_eq!(split("Shop.ITEM"), Ok(("shop".into(), "item".into())));
        assert_eq!(bare("shop.item.\"A b\""), Some("A b".into()));
    }

    /// Two tables that swapped their names are told apart.
    #[test]
    fn names_that_another_relation_had_are_not_followed() {
        let rename = |n, a: &str, b: &str| (event(n), a.to_owned(), b.to_owned());
        let renames = [
            rename(1, "s.t", "s.old"),
            rename(2, "s.new", "s.t"),
            rename(3, "s.x", "s.y"),
        ];
        let mut names = Names::of("s.t", &renames);
        assert_eq!(names.current(), "s.new");
        assert_eq!(names.all(), ["s.new", "s.t"]);
        assert!(!names.pass(event(1)));
        assert!(names.pass(event(2)));
        assert_eq!(names.current(), "s.t");
        assert_eq!(Names::of("s.old", &renames).all(), ["s.old", "s.t"]);
        // What was made under a name that had become free has none of the events of before.
        let mut names = Names::of("s.x", &renames);
        assert_eq!((names.current(), names.all()), ("", vec!["s.x".to_owned()]));
        assert_eq!(names.clone().of_any().current(), "s.x");
        assert!(!names.pass(event(2)) && names.pass(event(3)));
        assert_eq!(names.current(), "s.x");
    }

    #[test]
    fn relation_that_was_dropped_under_an_earlier_name_is_another_one() {
        let command =
            |n, relation: &str, data: &str| (event(n), relation.to_owned(), data.to_owned());
        let drop = r#"{"dropped":"relation"}"#;
        let rename = r#"{"object":"table","renamed":"a","to":"b"}"#;
        let commands = [command(1, "s.a", drop), command(2, "s.b", rename)];
        let mut names = Names::from_commands("s.b", &commands);
        assert_eq!(names.current(), "");
        assert!(names.pass(event(1)));
        assert_eq!(names.current(), "s.a");
        // Under one name both are looked at: which one is meant, the time says.
        assert_eq!(Names::from_commands("s.a", &commands[..1]).current(), "s.a");
    }
}
