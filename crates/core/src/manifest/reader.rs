//! Reading JSON values with their place at hand.

use std::collections::{BTreeMap, BTreeSet};

use super::name::{self, RelationName};
use super::problem::{ManifestError, Problem};
use crate::json::{Json, Object};
use crate::json_path::JsonPath;

pub(super) type Result<T> = std::result::Result<T, ManifestError>;

/// A value and where it stands.
#[derive(Clone, Copy)]
pub(super) struct At<'j> {
    pub(super) value: &'j Json<'j>,
    pub(super) path: &'j JsonPath,
}

/// The members of an object.
pub(super) struct Members<'j> {
    object: &'j Object<'j>,
    path: &'j JsonPath,
}

pub(super) fn problem<T>(path: JsonPath, problem: impl Into<Problem>) -> Result<T> {
    Err(ManifestError {
        path,
        problem: problem.into(),
    })
}

impl<'j> At<'j> {
    pub(super) fn fail<T>(self, reason: impl Into<Problem>) -> Result<T> {
        problem(self.path.clone(), reason)
    }

    /// The members, all of which must be among `known`.
    pub(super) fn members(self, known: &[&str]) -> Result<Members<'j>> {
        let members = self.any_members()?;
        match members
            .object
            .iter()
            .find(|(name, _)| !known.contains(name))
        {
            Some((name, _)) => problem(self.path.member(name), Problem::Unknown),
            None => Ok(members),
        }
    }

    pub(super) fn any_members(self) -> Result<Members<'j>> {
        match self.value {
            Json::Object(object) => Ok(Members {
                object,
                path: self.path,
            }),
            _ => self.fail(Problem::Not("an object")),
        }
    }

    /// A text that says something.
    pub(super) fn text(self) -> Result<&'j str> {
        match self.value.as_text() {
            None => self.fail(Problem::Not("a text")),
            Some("") => self.fail(Problem::Empty),
            Some(text) => Ok(text),
        }
    }

    /// Each element of an array.
    pub(super) fn elements<T>(self, mut read: impl FnMut(At<'_>) -> Result<T>) -> Result<Vec<T>> {
        let Json::Array(items) = self.value else {
            return self.fail(Problem::Not("an array"));
        };
        let each = items.iter().enumerate().map(|(place, value)| {
            let path = self.path.element(place);
            read(At { value, path: &path })
        });
        each.collect()
    }

    /// The elements of an array, none of them twice.
    pub(super) fn set<T: Ord>(
        self,
        mut read: impl FnMut(At<'_>) -> Result<T>,
    ) -> Result<BTreeSet<T>> {
        let mut set = BTreeSet::new();
        self.elements(|element| match set.insert(read(element)?) {
            true => Ok(()),
            false => element.fail(Problem::Repeated),
        })?;
        Ok(set)
    }

    /// A set in which an empty list is not the same as none.
    pub(super) fn nonempty<T: Ord>(
        self,
        read: impl FnMut(At<'_>) -> Result<T>,
    ) -> Result<BTreeSet<T>> {
        let set = self.set(read)?;
        if set.is_empty() {
            return self.fail(Problem::Empty);
        }
        Ok(set)
    }

    /// Each member of an object whose member names are the reader's.
    pub(super) fn map<T>(
        self,
        mut read: impl FnMut(&str, At<'_>) -> Result<T>,
    ) -> Result<BTreeMap<String, T>> {
        let members = self.any_members()?;
        let each = members.object.iter().map(|(name, value)| {
            let path = self.path.member(name);
            if name.is_empty() {
                return problem(path, Problem::Empty);
            }
            let at = At { value, path: &path };
            Ok((name.to_owned(), read(name, at)?))
        });
        each.collect()
    }
}

pub(super) fn boolean(at: At<'_>) -> Result<bool> {
    match at.value {
        Json::Bool(value) => Ok(*value),
        _ => at.fail(Problem::Not("true or false")),
    }
}

/// The name of a column, a role or a schema as the catalog has it.
pub(super) fn name(at: At<'_>) -> Result<String> {
    let text = at.text()?;
    match name::fits(text) {
        true => Ok(text.to_owned()),
        false => at.fail(Problem::TooLong),
    }
}

pub(super) fn names(at: At<'_>) -> Result<BTreeSet<String>> {
    at.set(name)
}

pub(super) fn relation_name(at: At<'_>) -> Result<RelationName> {
    match RelationName::parse(at.text()?) {
        Some(name) => Ok(name),
        None => at.fail(NOT_A_RELATION),
    }
}

pub(super) const NOT_A_RELATION: Problem = Problem::Not("the name of a relation with its schema");

impl<'j> Members<'j> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.object.contains(name)
    }

    pub(super) fn path(&self, name: &str) -> JsonPath {
        self.path.member(name)
    }

    pub(super) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(At<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let read_at = |value| {
            read(At {
                value,
                path: &self.path.member(name),
            })
        };
        self.object.get(name).map(read_at).transpose()
    }

    pub(super) fn or_default<T: Default>(
        &self,
        name: &str,
        read: impl FnOnce(At<'_>) -> Result<T>,
    ) -> Result<T> {
        self.optional(name, read).map(Option::unwrap_or_default)
    }

    pub(super) fn required<T>(
        &self,
        name: &str,
        read: impl FnOnce(At<'_>) -> Result<T>,
    ) -> Result<T> {
        match self.optional(name, read)? {
            Some(value) => Ok(value),
            None => problem(self.path(name), Problem::Missing),
        }
    }

    /// The first of these members that is there, refused for `reason`.
    pub(super) fn refuse(&self, names: &[&str], reason: Problem) -> Result<()> {
        match names.iter().find(|name| self.has(name)) {
            Some(name) => problem(self.path(name), reason),
            None => Ok(()),
        }
    }
}
