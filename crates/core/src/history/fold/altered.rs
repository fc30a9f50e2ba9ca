//! What commands do to columns, partitions and names.

use super::super::commands::{Done, Filling, done};
use super::rows::{Column, Row};
use super::{AccountColumn, Event, Fold, Unknown, Why};

impl Fold {
    pub(super) fn command(&mut self, event: &Event<'_>, relation: &str, data: &str) {
        let renamed = self.names.pass(event.key);
        if relation != self.names.current() {
            return self.command_below(event, relation, data);
        }
        self.rehashed |= renamed;
        self.follow(event, data, false);
        for done in done(relation, data) {
            match done {
                Done::Renamed(_) => {}
                Done::RenamedColumn(before, after) => self.rename(&before, after),
                Done::Added(name, filling) => self.add(event, name, filling),
                Done::DroppedColumn(name) => self.drop_column(&name),
                Done::Changed(name) => self.change(event, &name),
                Done::Dropped => {
                    self.captured = [None, None];
                    self.lose(event, Why::Command);
                }
                Done::Detached(partitions) => {
                    partitions.iter().for_each(|leaf| self.detach(leaf));
                    self.leaving.retain(|leaf| !partitions.contains(leaf));
                }
                Done::Leaving(partitions) => {
                    partitions.iter().for_each(|leaf| self.detach(leaf));
                    self.leaving.extend(partitions);
                }
                Done::Unlogged => self.unlogged = Some(Unknown::at(event, Why::Unlogged)),
                Done::Lost => self.lose(event, Why::Command),
            }
        }
    }

    /// A command on another relation, which may be a partition of this one.
    pub(super) fn command_below(&mut self, event: &Event<'_>, relation: &str, data: &str) {
        for done in done(relation, data) {
            match done {
                // Nothing of this relation has the name any more.
                Done::Renamed(before) if before == self.names.current() => {
                    self.captured = [None, None];
                    self.lose(event, Why::Command);
                }
                Done::Renamed(before) => {
                    for leaf in self.leaving.iter_mut().filter(|leaf| **leaf == before) {
                        relation.clone_into(leaf);
                    }
                    if let Some(leaf) = self.numbers.get(&before).copied() {
                        let leaf_now = self.number(relation);
                        for row in self.rows.values_mut().flatten() {
                            if row.leaf == leaf {
                                row.leaf = leaf_now;
                            }
                        }
                    }
                }
                Done::Dropped => {
                    self.detach(relation);
                    self.leaving.retain(|leaf| leaf != relation);
                }
                Done::Unlogged if self.has_leaf(relation) => {
                    self.unlogged = Some(Unknown::at(event, Why::Unlogged));
                }
                Done::Lost if self.has_leaf(relation) => self.lose(event, Why::Command),
                _ => {}
            }
        }
    }

    pub(super) fn has_leaf(&self, name: &str) -> bool {
        let number = self.numbers.get(name).copied();
        number.is_some_and(|leaf| leaf != 0 && self.any_row(|row| row.leaf == leaf))
    }

    pub(super) fn any_row(&self, test: impl Fn(&Row) -> bool) -> bool {
        self.rows.values().flatten().any(test)
    }

    /// Rows of a partition go with it.
    pub(super) fn detach(&mut self, partition: &str) {
        let texts = &self.texts;
        let gone = |row: &Row| row.leaf != 0 && texts[row.leaf] == partition;
        self.rows.retain(|_, rows| {
            rows.retain(|row| !gone(row));
            !rows.is_empty()
        });
    }

    pub(super) fn rename(&mut self, before: &str, after: String) {
        if self.account_column == AccountColumn::Named(before.to_owned()) {
            self.account_column = AccountColumn::Named(after.clone());
        }
        for personal in &mut self.personal {
            if personal == before {
                personal.clone_from(&after);
            }
        }
        for column in &mut self.following {
            if column.name == before {
                column.name.clone_from(&after);
                column.since.why = Why::Follows(after.clone());
                column.number = None;
            }
        }
        if let Some(id) = self.find(before) {
            self.rehashed = true;
            self.columns[id].name = after;
        }
    }

    pub(super) fn add(&mut self, event: &Event<'_>, name: String, filling: Filling) {
        if self.rows.is_empty() {
            return;
        }
        let missing = match filling {
            Filling::LeftOut => return,
            Filling::Value(json) => self.value(&name, &json),
            Filling::Unknown => self.make_unknown(event, &name),
        };
        if self.find(&name).is_none() {
            let missing = Some(missing);
            self.columns.push(Column {
                name,
                shown: true,
                personal: false,
                missing,
            });
            self.layout.push(self.columns.len() - 1);
        }
    }

    pub(super) fn drop_column(&mut self, name: &str) {
        self.personal.retain(|personal| personal != name);
        self.following.retain(|column| column.name != name);
        if let Some(id) = self.find(name) {
            if self.is_key(id) && !self.whole {
                self.reindex(&[]);
            }
            self.layout.retain(|at| *at != id);
            if self.whole {
                let key: Vec<_> = { self.key.iter().flatten() }.copied().collect();
                let key: Vec<_> = key.into_iter().filter(|at| *at != id).collect();
                self.reindex(&key);
            }
        }
    }

    pub(super) fn is_key(&self, id: usize) -> bool {
        self.key.as_ref().is_some_and(|key| key.contains(&id))
    }

    /// The column's values are others: a column of the same name and place, that no row has.
    pub(super) fn change(&mut self, event: &Event<'_>, name: &str) {
        let Some(id) = self.find(name) else { return };
        if self.rows.is_empty() {
            return;
        }
        if self.is_key(id) {
            return self.lose(event, Why::Column(name.to_owned()));
        }
        let missing = Some(self.make_unknown(event, name));
        let Column {
            shown, personal, ..
        } = self.columns[id];
        self.columns.push(Column {
            name: name.to_owned(),
            shown,
            personal,
            missing,
        });
        let new = self.columns.len() - 1;
        for at in &mut self.layout {
            if *at == id {
                *at = new;
            }
        }
    }
}
