//! Which columns of a relation the roles of a token reach.

use std::collections::{BTreeMap, BTreeSet};

use super::compile::Command;
use super::roles::{Roles, implies};

/// Columns that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// All of them, those that are added later too.
    All,
    /// These, by their numbers.
    Only(BTreeSet<i16>),
}

/// What is declared of one relation's columns, with inheritance closed over.
#[derive(Clone, Debug, Default)]
pub struct ColumnLists {
    lists: BTreeMap<Command, Vec<Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    holder: String,
    levels: BTreeSet<String>,
    columns: Columns,
}

impl ColumnLists {
    /// Adds what a role is allowed.
    pub fn add(&mut self, roles: &Roles, role: &str, command: Command, columns: &Columns) {
        let list = self.lists.entry(command).or_default();
        for (holder, levels) in roles.holders(role) {
            list.push(Entry {
                holder: holder.to_owned(),
                levels,
                columns: columns.clone(),
            });
        }
    }

    /// Forgets commands of which every column is allowed to whoever is allowed any; whether
    /// something is left.
    pub fn simplify(&mut self) -> bool {
        let restricts = |list: &Vec<Entry>| list.iter().any(|entry| entry.columns != Columns::All);
        self.lists.retain(|_, list| restricts(list));
        !self.lists.is_empty()
    }

    /// The columns that a token reaches by a command; `granted` says whether it has a role, `meets`
    /// whether it states a level of assurance.
    pub fn reached(
        &self,
        command: Command,
        granted: impl Fn(&str) -> bool,
        meets: impl Fn(&str) -> bool,
    ) -> Columns {
        let Some(list) = self.lists.get(&command) else {
            return Columns::All;
        };
        let counting = list.iter().filter(|entry| {
            granted(&entry.holder) && entry.levels.iter().all(|level| meets(level))
        });
        let mut reached = BTreeSet::new();
        for entry in counting {
            match &entry.columns {
                Columns::All => return Columns::All,
                Columns::Only(columns) => reached.extend(columns),
            }
        }
        Columns::Only(reached)
    }

    /// The columns that exactly one role reaches at these levels.
    pub fn of_role(&self, command: Command, role: &str, levels: &[String]) -> Columns {
        let levels: BTreeSet<_> = levels.iter().cloned().collect();
        let meets = |level: &str| implies(&levels, &[level.to_owned()].into());
        self.reached(command, |held| held == role, meets)
    }
}

impl Columns {
    /// Whether a column is among them.
    pub fn contains(&self, column: i16) -> bool {
        match self {
            Self::All => true,
            Self::Only(columns) => columns.contains(&column),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::roles::tests::role;
    use super::*;

    fn only(columns: &[i16]) -> Columns {
        Columns::Only(columns.iter().copied().collect())
    }

    #[test]
    fn roles_add_up_and_one_without_list_reaches_all() {
        let roles = Roles::new([
            role("user", &[], ""),
            role("clerk", &["user"], ""),
            role("auditor", &[], "aal2"),
        ])
        .unwrap();
        let mut lists = ColumnLists::default();
        lists.add(&roles, "user", Command::Select, &only(&[1, 2]));
        lists.add(&roles, "clerk", Command::Select, &only(&[3]));
        lists.add(&roles, "auditor", Command::Select, &Columns::All);
        lists.add(&roles, "user", Command::Delete, &Columns::All);
        assert!(lists.simplify());
        let reached = |held: &[&str], level: &str| {
            lists.reached(
                Command::Select,
                |role| held.contains(&role),
                |wanted| wanted == level,
            )
        };
        assert_eq!(reached(&["user"], ""), only(&[1, 2]));
        assert_eq!(reached(&["clerk"], ""), only(&[1, 2, 3]));
        assert_eq!(reached(&["user", "auditor"], ""), only(&[1, 2]));
        assert_eq!(reached(&["user", "auditor"], "aal2"), Columns::All);
        assert_eq!(reached(&["guest"], "aal2"), only(&[]));
        assert_eq!(
            lists.reached(Command::Delete, |_| false, |_| false),
            Columns::All
        );
        assert_eq!(
            lists.of_role(Command::Select, "auditor", &["aal3".into()]),
            Columns::All
        );
        assert_eq!(lists.of_role(Command::Select, "auditor", &[]), only(&[]));
    }

    #[test]
    fn without_any_list_nothing_is_left_to_check() {
        let roles = Roles::new([role("user", &[], "")]).unwrap();
        let mut lists = ColumnLists::default();
        lists.add(&roles, "user", Command::Select, &Columns::All);
        assert!(!lists.simplify());
    }
}
