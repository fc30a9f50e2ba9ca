//! The graph of roles and what each inherits.

use std::collections::{BTreeMap, BTreeSet};

use super::error::PermissionError;
use crate::assurance;

/// A role of the product, as it stands in the `roles` claim of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The name, compared byte for byte.
    pub name: String,
    /// The roles whose permissions it has as well.
    pub inherits: Vec<String>,
    /// The level of assurance without which the role does not count.
    pub assurance: Option<String>,
}

/// Roles whose inheritance is known to end.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    roles: BTreeMap<String, Role>,
}

impl Roles {
    /// Judges a set of roles.
    ///
    /// # Errors
    ///
    /// [`PermissionError`] where an inherited role is missing or inheritance has a cycle.
    pub fn new(roles: impl IntoIterator<Item = Role>) -> Result<Self, PermissionError> {
        let roles = roles.into_iter().map(|role| (role.name.clone(), role));
        let graph = Self {
            roles: roles.collect(),
        };
        let mut sound = BTreeSet::new();
        for name in graph.roles.keys() {
            graph.walk(name, &mut Vec::new(), &mut sound)?;
        }
        Ok(graph)
    }

    /// Depth first from `name`; `path` leads there, `sound` is what was walked before.
    fn walk<'a>(
        &'a self,
        name: &'a str,
        path: &mut Vec<&'a str>,
        sound: &mut BTreeSet<&'a str>,
    ) -> Result<(), PermissionError> {
        if sound.contains(name) {
            return Ok(());
        }
        let role = self.get(name)?;
        if let Some(from) = path.iter().position(|passed| *passed == name) {
            let cycle = path[from..].iter().copied().chain([name]);
            return Err(PermissionError::RoleCycle(
                cycle.map(str::to_owned).collect(),
            ));
        }
        path.push(name);
        for inherited in &role.inherits {
            self.walk(inherited, path, sound)?;
        }
        path.pop();
        sound.insert(name);
        Ok(())
    }

    /// The role of this name.
    ///
    /// # Errors
    ///
    /// [`PermissionError::UnknownRole`] where there is none.
    pub fn get(&self, name: &str) -> Result<&Role, PermissionError> {
        let role = self.roles.get(name);
        role.ok_or_else(|| PermissionError::UnknownRole(name.to_owned()))
    }

    /// The names of all roles, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// The roles of a token that have what is allowed to `name`: the role itself and all that inherit
    /// it, each with the levels of assurance that its use asks for.
    pub fn holders(&self, name: &str) -> Vec<(&str, BTreeSet<String>)> {
        let levels = |of: &str| self.roles.get(of).and_then(|role| role.assurance.clone());
        let holding = self.names().filter(|holder| self.inherits(holder, name));
        holding
            .map(|holder| {
                let both = levels(holder).into_iter().chain(levels(name));
                (holder, strictest(both.collect()))
            })
            .collect()
    }

    fn inherits(&self, holder: &str, name: &str) -> bool {
        let mut met = BTreeSet::new();
        let mut ahead = vec![holder];
        while let Some(next) = ahead.pop() {
            if next == name {
                return true;
            }
            if let (true, Some(role)) = (met.insert(next), self.roles.get(next)) {
                ahead.extend(role.inherits.iter().map(String::as_str));
            }
        }
        false
    }
}

/// The levels that are not met already by meeting another one of them.
pub(super) fn strictest(levels: BTreeSet<String>) -> BTreeSet<String> {
    let met = |level: &String| {
        let mut others = levels.iter().filter(|other| *other != level);
        others.any(|other| assurance::meets(other, level))
    };
    levels.iter().filter(|level| !met(level)).cloned().collect()
}

/// Whether a token that meets all of `has` meets all of `needs`.
pub(super) fn implies(has: &BTreeSet<String>, needs: &BTreeSet<String>) -> bool {
    needs
        .iter()
        .all(|need| has.iter().any(|level| assurance::meets(level, need)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A role, what it inherits, and its level or nothing.
    pub(in crate::permission) fn role(name: &str, inherits: &[&str], level: &str) -> Role {
        Role {
            name: name.into(),
            inherits: inherits.iter().map(|name| (*name).to_owned()).collect(),
            assurance: (!level.is_empty()).then(|| level.to_owned()),
        }
    }

    #[test]
    fn unknown_inherited_role_is_named() {
        assert_eq!(
            Roles::new([role("admin", &["user"], "")]).unwrap_err(),
            PermissionError::UnknownRole("user".into())
        );
    }

    #[test]
    fn cycle_is_named_with_its_path() {
        let error = Roles::new([
            role("a", &["b"], ""),
            role("b", &["c", "d"], ""),
            role("c", &[], ""),
            role("d", &["b"], ""),
        ])
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "roles of the product inherit each other: b > d > b"
        );
        let error = Roles::new([role("self", &["self"], "")]).unwrap_err();
        assert_eq!(
            error,
            PermissionError::RoleCycle(vec!["self".into(), "self".into()])
        );
    }

    #[test]
    fn two_ways_to_one_role_are_no_cycle() {
        let roles = [
            role("top", &["left", "right"], ""),
            role("left", &["base"], ""),
            role("right", &["base"], ""),
            role("base", &[], ""),
        ];
        let roles = Roles::new(roles).unwrap();
        let names: Vec<_> = roles.holders("base").into_iter().map(|(n, _)| n).collect();
        assert_eq!(names, ["base", "left", "right", "top"]);
    }

    #[test]
    fn both_roles_levels_are_asked_and_the_higher_contains_the_lower() {
        let roles = Roles::new([
            role("admin", &["user", "clerk"], "aal2"),
            role("user", &[], "aal1"),
            role("clerk", &[], "mfa"),
        ])
        .unwrap();
        let levels = |name: &str| {
            let holders = roles.holders(name).into_iter();
            let holders = holders.map(|(holder, levels)| (holder, Vec::from_iter(levels)));
            holders.collect::<Vec<_>>()
        };
        assert_eq!(
            levels("user"),
            [
                ("admin", vec!["aal2".to_owned()]),
                ("user", vec!["aal1".to_owned()])
            ]
        );
        assert_eq!(
            levels("clerk"),
            [
                ("admin", vec!["aal2".to_owned(), "mfa".to_owned()]),
                ("clerk", vec!["mfa".to_owned()])
            ]
        );
    }
}
