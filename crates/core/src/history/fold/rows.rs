//! Rows and their values, as events of rows change them.

use crate::account::AccountId;

use super::super::members::Members;
use super::unknown::unknown;
use super::{AccountColumn, Event, Fold, HASHED, Last, Misfit, Scope, Unknown, Why};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Json(Box<str>),
    /// What made it unknown, by its number.
    Unknown(usize),
    /// Nothing: it was taken out of the log.
    Erased,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// Whether it stands in `data` or `personal`, and not in keys only.
    pub(super) shown: bool,
    pub(super) personal: bool,
    /// What rows have that were written before the column came.
    pub(super) missing: Option<Value>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) account: usize,
    pub(super) leaf: usize,
    /// Whether personal values of it were erased.
    pub(super) erased: bool,
    /// An event that did not fit it, by its number.
    pub(super) doubt: Option<usize>,
    pub(super) values: Vec<(usize, Value)>,
}

impl Row {
    pub(super) fn get<'r>(&'r self, columns: &'r [Column], id: usize) -> Option<&'r Value> {
        let own = self.values.iter().find(|(of, _)| *of == id);
        own.map(|(_, value)| value).or(columns[id].missing.as_ref())
    }

    pub(super) fn set(&mut self, id: usize, value: Value) {
        match self.values.iter_mut().find(|(of, _)| *of == id) {
            Some((_, old)) => *old = value,
            None => self.values.push((id, value)),
        }
    }
}

impl Fold {
    pub(super) fn row(&mut self, event: &Event<'_>) -> Result<(), Misfit> {
        let of_leaving = |leaf: &str| self.leaving.iter().any(|leaving| leaving == leaf);
        if event.leaf.is_some_and(of_leaving) {
            return Ok(());
        }
        let truncated = event.action == "truncate" && event.data.is_none();
        if truncated && event.leaf.is_none() {
            self.begin();
            return Ok(());
        }
        if self.known.is_err() {
            return Ok(());
        }
        if truncated {
            self.detach(event.leaf.unwrap_or_default());
            return Ok(());
        }
        if event.action == "update" {
            return self.update(event);
        }
        let unreadable = || unknown(event, Why::Unreadable);
        let data = { event.data.and_then(Members::read) }.ok_or_else(unreadable)?;
        let personal = event.personal.and_then(Members::read).unwrap_or_default();
        match event.action {
            "insert" | "baseline" => self.insert(event, &data, &personal),
            "delete" | "truncate" => {
                let key = { event.row_key.and_then(Members::read) }.ok_or_else(unreadable)?;
                self.take(event, &key, &[&data, &personal]).map(drop)
            }
            _ => Err(unreadable()),
        }
    }

    pub(super) fn insert(
        &mut self,
        event: &Event<'_>,
        data: &Members<'_>,
        personal: &Members<'_>,
    ) -> Result<(), Misfit> {
        let mut row = Row {
            account: self.number(event.account),
            leaf: self.number(event.leaf.unwrap_or_default()),
            erased: false,
            doubt: None,
            values: Vec::with_capacity(data.0.len() + personal.0.len()),
        };
        self.put(event, &mut row, data, false);
        self.put(event, &mut row, personal, true);
        if event.erased {
            self.erase(event, &mut row);
        }
        match event.row_key.map(Members::read) {
            Some(None) => return Err(unknown(event, Why::Unreadable)),
            Some(Some(key)) => {
                for (name, value) in &key.0 {
                    let id = self.column(event, name);
                    let value = self.value(name, value);
                    row.set(id, value);
                }
                self.whole = false;
                self.keyed_by(event, &key);
            }
            None => {
                self.whole = true;
                self.keyed_by(event, data);
            }
        }
        match self.key_of_row(&row) {
            Ok(key) => self.stand(event, key, row),
            Err(unknown) => self.lose_for(unknown),
        }
        Ok(())
    }

    pub(super) fn stand(&mut self, event: &Event<'_>, key: String, row: Row) {
        let standing = self.rows.entry(key.clone()).or_default();
        standing.push(row);
        if standing.len() > 1 && !self.whole {
            self.doubled.push((key, Unknown::at(event, Why::Double)));
        }
    }

    pub(super) fn put(
        &mut self,
        event: &Event<'_>,
        row: &mut Row,
        members: &Members<'_>,
        personal: bool,
    ) {
        for (name, value) in &members.0 {
            let id = self.column(event, name);
            self.columns[id].shown = true;
            self.columns[id].personal |= personal;
            let value = self.value(name, value);
            row.set(id, value);
        }
    }

    /// Any of the columns that are personal now may have been in what was erased.
    pub(super) fn erase(&mut self, event: &Event<'_>, row: &mut Row) {
        row.erased = true;
        for name in self.personal.clone() {
            let id = self.column(event, &name);
            self.columns[id].personal = true;
        }
        for id in self.layout.iter().copied() {
            let Column { name, personal, .. } = &self.columns[id];
            if self.personal.contains(name) || self.personal.is_empty() && *personal {
                row.set(id, Value::Erased);
            }
        }
    }

    pub(super) fn update(&mut self, event: &Event<'_>) -> Result<(), Misfit> {
        let unreadable = || unknown(event, Why::Unreadable);
        let (row_key, data) = event.row_key.zip(event.data).ok_or_else(unreadable)?;
        if self.moved(event, row_key, data) {
            return Ok(());
        }
        let key = Members::read(row_key).ok_or_else(unreadable)?;
        let (old, new) = images(data).ok_or_else(unreadable)?;
        let (old_personal, new_personal) = event.personal.and_then(images).unwrap_or_default();
        let leaves = self.leaves(&old, &new)?;
        let mut row = self.take(event, &key, &[&old, &old_personal])?;
        if leaves {
            return Ok(());
        }
        self.put(event, &mut row, &new, false);
        self.put(event, &mut row, &new_personal, true);
        if event.erased {
            self.erase(event, &mut row);
        }
        let to = match self.key_of_row(&row) {
            Ok(to) => to,
            Err(unknown) => {
                self.lose_for(unknown);
                return Ok(());
            }
        };
        self.stand(event, to.clone(), row);
        if self.scope == Scope::All {
            self.last = Some(Last {
                key: event.key,
                command_id: event.command_id,
                row_key: row_key.to_owned(),
                data: data.to_owned(),
                to,
            });
        }
        Ok(())
    }

    /// Whether the event is that of the account a row came to, after that of the one it left.
    pub(super) fn moved(&mut self, event: &Event<'_>, row_key: &str, data: &str) -> bool {
        let repeats = |last: &Last| {
            (last.key.incarnation, last.key.xid) == (event.key.incarnation, event.key.xid)
                && last.key.ordinal.checked_add(1) == Some(event.key.ordinal)
                && last.command_id == event.command_id
                && last.row_key == row_key
                && last.data == data
        };
        let Some(last) = self.last.take().filter(repeats) else {
            return false;
        };
        let account = self.number(event.account);
        match self.rows.get_mut(&last.to).and_then(|rows| rows.last_mut()) {
            Some(row) if row.account != account => {
                row.account = account;
                // What was not known of it there is not known here.
                if row.doubt.is_some() {
                    row.doubt = Some(self.doubts.len());
                    self.doubts.push(Unknown::at(event, Why::NoRow));
                }
                true
            }
            _ => false,
        }
    }

    /// Whether an UPDATE moves its row out of the one account that is folded.
    pub(super) fn leaves(&self, old: &Members<'_>, new: &Members<'_>) -> Result<bool, Misfit> {
        let Scope::Account(account) = &self.scope else {
            return Ok(false);
        };
        let column = match &self.account_column {
            AccountColumn::Named(column) if !self.account_hidden => column,
            AccountColumn::None => return Ok(false),
            _ => return Err(Misfit::OtherAccount),
        };
        let is_ours = |json: &str| account_of(json) == *account;
        match (old.get(column), new.get(column)) {
            (Some(old), Some(new)) if is_ours(old) => Ok(!is_ours(new)),
            (Some(_), Some(_)) => Err(Misfit::OtherAccount),
            _ => Ok(false),
        }
    }

    /// Takes out the row of this key whose columns are as given.
    pub(super) fn take(
        &mut self,
        event: &Event<'_>,
        key: &Members<'_>,
        before: &[&Members<'_>],
    ) -> Result<Row, Misfit> {
        self.keyed_by(event, key);
        let text = self.key_of_members(key);
        let differing = |this: &Self, row: &Row| -> Vec<String> {
            let members = before.iter().flat_map(|members| &members.0);
            let differs = |name: &str, value: &str| {
                let known = this.find(name).and_then(|id| row.get(&this.columns, id));
                match known {
                    Some(Value::Json(known)) => {
                        **known != *value && !(this.rehashed && known.starts_with(HASHED))
                    }
                    _ => false,
                }
            };
            let named = members.filter(|(name, value)| differs(name, value));
            named.map(|(name, _)| name.to_string()).collect()
        };
        let Some(standing) = self.rows.get(&text).filter(|rows| !rows.is_empty()) else {
            return Err(unknown(event, Why::NoRow));
        };
        let fits = |row: &Row| differing(self, row).is_empty();
        let Some(at) = standing.iter().position(fits) else {
            let columns = differing(self, &standing[0]);
            let doubt = self.doubts.len();
            for row in self.rows.get_mut(&text).into_iter().flatten() {
                row.doubt.get_or_insert(doubt);
            }
            return Err(unknown(event, Why::Differs(columns)));
        };
        // Whole rows are keys without their personal values: it may have been another one.
        if self.whole && self.columns.iter().any(|column| column.personal) {
            let others = { standing.iter().enumerate().skip(at) }
                .filter(|(_, row)| fits(row))
                .map(|(n, _)| n);
            let alike: Vec<_> = others.collect();
            self.confuse(event, &text, &alike);
        }
        let standing = self.rows.get_mut(&text).expect("found above");
        let row = standing.swap_remove(at);
        if standing.is_empty() {
            self.rows.remove(&text);
        }
        Ok(row)
    }

    /// Keys are these columns from here on.
    pub(super) fn keyed_by(&mut self, event: &Event<'_>, key: &Members<'_>) {
        if !self.is_keyed_by(key) {
            let names = key.0.iter();
            let ids: Vec<_> = names.map(|(name, _)| self.column(event, name)).collect();
            self.reindex(&ids);
        }
    }

    pub(super) fn is_keyed_by(&self, key: &Members<'_>) -> bool {
        self.key.as_ref().is_some_and(|ids| {
            let names = ids.iter().map(|id| self.columns[*id].name.as_str());
            names.eq(key.0.iter().map(|(name, _)| name.as_ref()))
        })
    }

    pub(super) fn reindex(&mut self, key: &[usize]) {
        self.key = Some(key.to_vec());
        let rows = std::mem::take(&mut self.rows);
        for row in rows.into_values().flatten() {
            (self.watch)();
            let text = match self.key_of_row(&row) {
                Ok(text) => text,
                Err(unknown) => return self.lose_for(unknown),
            };
            self.rows.entry(text).or_default().push(row);
        }
    }

    /// What is not known of the key, where anything.
    pub(super) fn key_of_row(&self, row: &Row) -> Result<String, Unknown> {
        let mut text = String::new();
        for id in self.key.iter().flatten() {
            match row.get(&self.columns, *id) {
                Some(Value::Json(value)) => text.push_str(value),
                Some(Value::Unknown(number)) => return Err(self.unknown[*number].clone()),
                Some(Value::Erased) | None => {}
            }
            text.push(PART);
        }
        Ok(text)
    }

    pub(super) fn key_of_members(&self, key: &Members<'_>) -> String {
        let mut text = String::new();
        for id in self.key.iter().flatten() {
            text.push_str(key.get(&self.columns[*id].name).unwrap_or_default());
            text.push(PART);
        }
        text
    }
}

/// Stands behind each value of a key; no JSON text holds it.
pub(super) const PART: char = '\u{1f}';

/// What an UPDATE changed, before and after.
pub(super) fn images(text: &str) -> Option<(Members<'_>, Members<'_>)> {
    let both = Members::read(text)?;
    Some((
        Members::read(both.get("old")?)?,
        Members::read(both.get("new")?)?,
    ))
}

/// The account that a value of the account column means.
pub(super) fn account_of(json: &str) -> String {
    let text = match serde_json::from_str::<Option<String>>(json) {
        Ok(text) => text.unwrap_or_default(),
        Err(_) => json.to_owned(),
    };
    AccountId::from_text(&text).map_or(text, |account| account.as_str().to_owned())
}
