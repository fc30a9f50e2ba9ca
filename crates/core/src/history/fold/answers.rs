//! Rows as they stand, and how they compare with a table.

use crate::audit::push_json_string;

use super::super::members::Members;
use super::rows::{Row, Value};
use super::{AccountColumn, Fold, HASHED, Unknown};

/// A row as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its account.
    pub account: String,
    /// Its key, JSON text.
    pub row_key: String,
    /// Its captured columns, JSON text; what is not known of them instead.
    pub row: Result<String, Unknown>,
}

/// How a live row compares with what its events made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is the same.
    None,
    /// It has no events.
    NoEvents,
    /// It is in another account.
    Account,
    /// These columns differ.
    Columns(Vec<String>),
    /// No row can be compared: which one is which is not known.
    Unknown(Unknown),
}

impl Fold {
    /// Whether rows say which account they are in. The events of others are in the account of whoever
    /// wrote them.
    pub fn bears_account(&self) -> bool {
        matches!(self.account_column, AccountColumn::Named(_))
    }

    /// Whether rows have a key beside all of their values.
    pub fn has_key(&self) -> bool {
        !self.whole
    }

    /// Takes the rows out, in no order.
    pub fn rows(&mut self) -> impl Iterator<Item = Standing> + '_ {
        let rows = std::mem::take(&mut self.rows);
        let this = &*self;
        rows.into_values()
            .flatten()
            .map(move |row| this.standing(&row))
    }

    /// Compares a live row with what its events made of it, and lets that go: what is left when all
    /// were compared is gone from the table.
    pub fn compare(
        &mut self,
        account: &str,
        row_key: Option<&str>,
        data: &str,
        personal: Option<&str>,
    ) -> Difference {
        let (Some(key), Some(data)) = (Members::read(row_key.unwrap_or(data)), Members::read(data))
        else {
            return Difference::NoEvents;
        };
        let personal = personal.and_then(Members::read).unwrap_or_default();
        if self.known.is_err() {
            return Difference::None;
        }
        // Which columns are the key may have changed since the last event.
        if row_key.is_some() && !self.is_keyed_by(&key) {
            let names = key.0.iter();
            let ids: Option<Vec<_>> = names.map(|(name, _)| self.find(name)).collect();
            self.whole &= ids.is_none();
            self.reindex(&ids.unwrap_or_default());
            if let Err(unknown) = &self.known {
                return Difference::Unknown(unknown.clone());
            }
        }
        let text = self.key_of_members(&key);
        let Some(found) = self.rows.get_mut(&text) else {
            return Difference::NoEvents;
        };
        let columns = &self.columns;
        let layout = &self.layout;
        let differing = |row: &Row| -> Vec<String> {
            let plain = data.0.iter().map(|member| (member, false));
            let members = plain.chain(personal.0.iter().map(|member| (member, true)));
            let differs = |name: &str, value: &str, personal: bool| {
                let id = layout.iter().copied().find(|id| columns[*id].name == name);
                match id.and_then(|id| row.get(columns, id)) {
                    Some(Value::Json(known)) => {
                        **known != *value && !(self.rehashed && known.starts_with(HASHED))
                    }
                    Some(Value::Unknown(_) | Value::Erased) => false,
                    None => !(row.erased && personal),
                }
            };
            let named = members.filter(|((name, value), personal)| differs(name, value, *personal));
            named.map(|((name, _), _)| name.to_string()).collect()
        };
        let same = found.iter().position(|row| differing(row).is_empty());
        let row = found.swap_remove(same.unwrap_or(0));
        let columns = differing(&row);
        if found.is_empty() {
            self.rows.remove(&text);
        }
        if !columns.is_empty() {
            Difference::Columns(columns)
        } else if self.bears_account() && self.texts[row.account] != account {
            Difference::Account
        } else {
            Difference::None
        }
    }

    pub(super) fn standing(&self, row: &Row) -> Standing {
        let mut key = Vec::from(b"{");
        for id in self.key.iter().flatten() {
            if let Some(Value::Json(value)) = row.get(&self.columns, *id) {
                push_member(&mut key, &self.columns[*id].name, value);
            }
        }
        key.push(b'}');
        Standing {
            account: self.texts[row.account].clone(),
            row_key: text(key),
            row: self.image(row),
        }
    }

    pub(super) fn image(&self, row: &Row) -> Result<String, Unknown> {
        if let Some(doubt) = row.doubt {
            return Err(self.doubts[doubt].clone());
        }
        let mut out = Vec::from(b"{");
        for id in &self.layout {
            let column = &self.columns[*id];
            if !column.shown {
                continue;
            }
            match row.get(&self.columns, *id) {
                Some(Value::Json(value)) => push_member(&mut out, &column.name, value),
                Some(Value::Unknown(number)) => return Err(self.unknown[*number].clone()),
                Some(Value::Erased) | None => {}
            }
        }
        out.push(b'}');
        Ok(text(out))
    }
}

fn push_member(out: &mut Vec<u8>, name: &str, value: &str) {
    if out.len() > 1 {
        out.push(b',');
    }
    push_json_string(out, name.as_bytes());
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}
