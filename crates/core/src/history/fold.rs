//! Folding events into rows.

use std::collections::{BTreeSet, HashMap};

use crate::account::AccountId;
use crate::audit::push_json_string;
use crate::event::EventKey;

use super::commands::{Done, Filling, done};
use super::members::Members;
use super::names::Names;

/// One event, as far as the fold looks at it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the columns of audit_log")]
pub struct Event<'a> {
    pub key: EventKey,
    pub command_id: i64,
    pub kind: &'a str,
    pub action: &'a str,
    pub account: &'a str,
    pub relation: Option<&'a str>,
    pub leaf: Option<&'a str>,
    pub row_key: Option<&'a str>,
    pub data: Option<&'a str>,
    pub personal: Option<&'a str>,
    /// Whether personal values were erased from it.
    pub erased: bool,
}

/// Whose events of rows are folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of all accounts.
    All,
    /// Those of one account. A row that came from another one needs [`Scope::All`].
    Account(String),
}

/// Why something is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No event says what rows there were at first.
    NotBegun,
    /// It was changed what is captured, or whether.
    Capture,
    /// A command gave rows values that no event holds, or took or brought rows.
    Command,
    /// The same of one column.
    Column(String),
    /// An event changes a row that no event before it made.
    NoRow,
    /// The columns of a row that are not what they were before an event.
    Differs(Vec<String>),
    /// Two rows have one key.
    Double,
    /// The event is not as capture writes it.
    Unreadable,
}

/// What is not known, and since which event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The event; none where nothing has begun.
    pub event: Option<EventKey>,
    /// What it did.
    pub why: Why,
}

/// An event that cannot be folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It does not fit the rows that the events before it made.
    Unknown(Unknown),
    /// Its row may have come from another account, whose events are needed.
    OtherAccount,
}

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
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Json(Box<str>),
    /// What made it unknown, by its number.
    Unknown(usize),
    /// Nothing: it was taken out of the log.
    Erased,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// Whether it stands in `data` or `personal`, and not in keys only.
    shown: bool,
    personal: bool,
    /// What rows have that were written before the column came.
    missing: Option<Value>,
}

#[derive(Debug)]
struct Row {
    account: usize,
    leaf: usize,
    /// Whether personal values of it were erased.
    erased: bool,
    /// An event that did not fit it, by its number.
    doubt: Option<usize>,
    values: Vec<(usize, Value)>,
}

impl Row {
    fn get<'r>(&'r self, columns: &'r [Column], id: usize) -> Option<&'r Value> {
        let own = self.values.iter().find(|(of, _)| *of == id);
        own.map(|(_, value)| value).or(columns[id].missing.as_ref())
    }

    fn set(&mut self, id: usize, value: Value) {
        match self.values.iter_mut().find(|(of, _)| *of == id) {
            Some((_, old)) => *old = value,
            None => self.values.push((id, value)),
        }
    }
}

/// Which column holds the account.
#[derive(Debug, PartialEq)]
enum AccountColumn {
    Unknown,
    None,
    Named(String),
}

/// An UPDATE that the next event may repeat for another account.
#[derive(Debug)]
struct Last {
    key: EventKey,
    command_id: i64,
    row_key: String,
    data: String,
    /// Where the row stands since.
    to: String,
}

/// The rows of one relation, from its events.
///
/// Takes memory for each row that stands, some 16 bytes a column and its text.
#[derive(Debug)]
pub struct Fold {
    scope: Scope,
    names: Names,
    known: Result<(), Unknown>,
    /// Every column there was, by number; `layout` has those there are, in order.
    columns: Vec<Column>,
    layout: Vec<usize>,
    key: Option<Vec<usize>>,
    /// Whether keys are whole rows.
    whole: bool,
    rows: HashMap<String, Vec<Row>>,
    texts: Vec<String>,
    /// The places of `texts`.
    numbers: HashMap<String, usize>,
    unknown: Vec<(EventKey, String)>,
    /// Events that did not fit, each with its account.
    doubts: Vec<(String, Unknown)>,
    /// The columns that are declared personal, as far as an event says it.
    personal: Vec<String>,
    account_column: AccountColumn,
    /// Whether the account is captured in no event.
    account_hidden: bool,
    /// What is captured, as the events of protect() and audit() say it.
    captured: [Option<String>; 2],
    /// Hashes cover names of tables and columns, so those of before differ.
    rehashed: bool,
    last: Option<Last>,
    doubled: Vec<(String, EventKey)>,
    begun: u64,
    watch: fn(),
}

const HASHED: &str = "\"hmac-sha256:";

impl Fold {
    /// Nothing yet, of the relation of these names.
    pub fn new(names: Names, scope: Scope) -> Self {
        Self {
            scope,
            names,
            known: Err(Unknown {
                event: None,
                why: Why::NotBegun,
            }),
            columns: Vec::new(),
            layout: Vec::new(),
            key: None,
            whole: false,
            rows: HashMap::new(),
            texts: vec![String::new()],
            numbers: HashMap::from([(String::new(), 0)]),
            unknown: Vec::new(),
            doubts: Vec::new(),
            personal: Vec::new(),
            account_column: AccountColumn::Unknown,
            account_hidden: false,
            captured: [None, None],
            rehashed: false,
            last: None,
            doubled: Vec::new(),
            begun: 0,
            watch: || (),
        }
    }

    /// Has `watch` called for each row where an event goes through all of them: it may end the work by
    /// unwinding.
    #[must_use]
    pub fn watched(mut self, watch: fn()) -> Self {
        self.watch = watch;
        self
    }

    /// Folds the next event, of this relation or another.
    ///
    /// # Errors
    ///
    /// [`Misfit`] where it does not fit what was folded before; it is passed over then, and its row is
    /// not known.
    pub fn apply(&mut self, event: &Event<'_>) -> Result<(), Misfit> {
        let Some(relation) = event.relation else {
            return Ok(());
        };
        match event.kind {
            "system" => self.system(event, relation),
            "row" if relation == self.names.current() => {
                let folded = self.row(event);
                if let Err(Misfit::Unknown(unknown)) = &folded {
                    let doubt = (event.account.to_owned(), unknown.clone());
                    self.doubts.push(doubt);
                }
                folded
            }
            _ => Ok(()),
        }
    }

    /// Whether rows are known now, but for those that an event did not fit; else what is not.
    pub fn known(&self) -> Result<(), Unknown> {
        self.known_but_for(|_| true)
    }

    /// Whether all rows of an account are known now, or of all of them; else what is not. Rows of other
    /// accounts do not matter.
    pub fn known_of(&self, account: Option<&str>) -> Result<(), Unknown> {
        let asked = |of: &str| account.is_none_or(|account| account == of);
        self.known_but_for(|row| asked(&self.texts[row.account]))?;
        match self.doubts.iter().find(|(of, _)| asked(of)) {
            None => Ok(()),
            Some((_, unknown)) => Err(unknown.clone()),
        }
    }

    fn known_but_for(&self, asked: impl Fn(&Row) -> bool) -> Result<(), Unknown> {
        self.known.clone()?;
        let double = |(key, _): &&(String, EventKey)| {
            let twice = |rows: &Vec<Row>| rows.len() > 1 && rows.iter().any(&asked);
            !self.whole && self.rows.get(key).is_some_and(twice)
        };
        match self.doubled.iter().find(double) {
            None => Ok(()),
            Some((_, event)) => Err(Unknown {
                event: Some(*event),
                why: Why::Double,
            }),
        }
    }

    /// How often rows came to be known, or not known, anew: what was before does not matter then.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether rows say which account they are in. The events of others are in the account of whoever
    /// wrote them.
    pub fn bears_account(&self) -> bool {
        matches!(self.account_column, AccountColumn::Named(_))
    }

    /// Whether rows have a key beside all of their values.
    pub fn has_key(&self) -> bool {
        !self.whole
    }

    /// The columns that are not known of some row, with the event that made them so.
    pub fn unknown_columns(&self) -> Vec<Unknown> {
        let shown: Vec<_> = { self.layout.iter().copied() }
            .filter(|id| self.columns[*id].shown)
            .collect();
        let mut met = BTreeSet::new();
        for row in self.rows.values().flatten() {
            for id in &shown {
                if let Some(Value::Unknown(number)) = row.get(&self.columns, *id) {
                    met.insert(*number);
                }
            }
        }
        met.into_iter().map(|number| self.unknown(number)).collect()
    }

    fn unknown(&self, number: usize) -> Unknown {
        let (event, column) = &self.unknown[number];
        Unknown {
            event: Some(*event),
            why: Why::Column(column.clone()),
        }
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

    fn system(&mut self, event: &Event<'_>, relation: &str) -> Result<(), Misfit> {
        let data = event.data.unwrap_or("{}");
        match event.action {
            "ddl" => self.command(event, relation, data),
            _ if relation != self.names.current() => {}
            "protect" => {
                // A column that was renamed is the same one.
                let before = std::mem::replace(&mut self.account_column, account_column(data));
                if before != self.account_column {
                    self.captured[0] = None;
                }
                let parts = ["archetype", "links", "redact", "audit"];
                self.capture(event, 0, data, &parts);
            }
            "audit" => {
                self.judge_lists(data);
                self.declare(data);
                let parts = ["root", "include", "exclude", "redact", "hash", "personal"];
                self.capture(event, 1, data, &parts);
            }
            "unprotect" | "unaudit" => {
                self.captured = [None, None];
                self.lose(event, Why::Capture);
            }
            "annotate" => self.declare(data),
            "record_baseline" => self.begin(),
            _ => {}
        }
        Ok(())
    }

    /// What is captured was said anew. Where it is as before nothing changed for rows; else they are
    /// known only where there are none.
    fn capture(&mut self, event: &Event<'_>, which: usize, data: &str, parts: &[&str]) {
        let said = Members::read(data).unwrap_or_default();
        let told: Vec<_> = parts.iter().map(|part| said.get(part)).collect();
        let told = Some(format!("{told:?}"));
        if self.captured[which] == told {
            return;
        }
        self.captured[which] = told;
        if said.get("empty") == Some("true") && said.get("audit") != Some("false") {
            self.begin();
        } else {
            self.lose(event, Why::Capture);
        }
    }

    /// Without the account in the events, rows leave it unseen.
    fn judge_lists(&mut self, data: &str) {
        let AccountColumn::Named(column) = &self.account_column else {
            return;
        };
        let said = Members::read(data).unwrap_or_default();
        let list = |name: &str| -> Option<Vec<String>> {
            serde_json::from_str(said.get(name)?).ok().flatten()
        };
        let included = list("include").is_none_or(|only| only.contains(column));
        let excluded = list("exclude").is_some_and(|not| not.contains(column));
        self.account_hidden = !included || excluded;
    }

    /// Takes note of which columns are personal.
    fn declare(&mut self, data: &str) {
        let said = Members::read(data).unwrap_or_default();
        let personal = said.get("personal").map(serde_json::from_str);
        if let Some(Ok(personal)) = personal {
            self.personal = personal;
        }
    }

    /// Rows are known from here on: there are none.
    fn begin(&mut self) {
        self.rows.clear();
        self.columns.clear();
        self.layout.clear();
        self.unknown.clear();
        self.doubts.clear();
        self.doubled.clear();
        self.key = None;
        self.rehashed = false;
        self.known = Ok(());
        self.begun += 1;
    }

    fn lose(&mut self, event: &Event<'_>, why: Why) {
        self.begin();
        self.known = Err(Unknown {
            event: Some(event.key),
            why,
        });
    }

    fn command(&mut self, event: &Event<'_>, relation: &str, data: &str) {
        let renamed = self.names.pass(event.key);
        if relation != self.names.current() {
            return self.command_below(event, relation, data);
        }
        self.rehashed |= renamed;
        for done in done(relation, data) {
            match done {
                Done::Renamed(_) => {}
                Done::RenamedColumn(before, after) => self.rename(&before, after),
                Done::Added(name, filling) => self.add(event, name, filling),
                Done::DroppedColumn(name) => self.drop_column(event, &name),
                Done::Changed(name) => self.change(event, &name),
                Done::Dropped => {
                    self.captured = [None, None];
                    self.lose(event, Why::Command);
                }
                Done::Detached(partition) => self.detach(&partition),
                Done::Lost => self.lose(event, Why::Command),
            }
        }
    }

    /// A command on another relation, which may be a partition of this one.
    fn command_below(&mut self, event: &Event<'_>, relation: &str, data: &str) {
        for done in done(relation, data) {
            match done {
                // Nothing of this relation has the name any more.
                Done::Renamed(before) if before == self.names.current() => {
                    self.captured = [None, None];
                    self.lose(event, Why::Command);
                }
                Done::Renamed(before) => {
                    if let Some(leaf) = self.numbers.get(&before).copied() {
                        let leaf_now = self.number(relation);
                        for row in self.rows.values_mut().flatten() {
                            if row.leaf == leaf {
                                row.leaf = leaf_now;
                            }
                        }
                    }
                }
                Done::Dropped => self.detach(relation),
                Done::Lost if self.has_leaf(relation) => self.lose(event, Why::Command),
                _ => {}
            }
        }
    }

    fn has_leaf(&self, name: &str) -> bool {
        let number = self.numbers.get(name).copied();
        number.is_some_and(|leaf| leaf != 0 && self.any_row(|row| row.leaf == leaf))
    }

    fn any_row(&self, test: impl Fn(&Row) -> bool) -> bool {
        self.rows.values().flatten().any(test)
    }

    /// Rows of a partition go with it. The command may have named it without its schema.
    fn detach(&mut self, partition: &str) {
        let ends = format!(".{partition}");
        let texts = &self.texts;
        let gone = |row: &Row| {
            let leaf = &texts[row.leaf];
            row.leaf != 0 && (leaf == partition || leaf.ends_with(&ends))
        };
        self.rows.retain(|_, rows| {
            rows.retain(|row| !gone(row));
            !rows.is_empty()
        });
    }

    fn rename(&mut self, before: &str, after: String) {
        if self.account_column == AccountColumn::Named(before.to_owned()) {
            self.account_column = AccountColumn::Named(after.clone());
        }
        for personal in &mut self.personal {
            if personal == before {
                personal.clone_from(&after);
            }
        }
        if let Some(id) = self.find(before) {
            self.rehashed = true;
            self.columns[id].name = after;
        }
    }

    fn add(&mut self, event: &Event<'_>, name: String, filling: Filling) {
        if self.rows.is_empty() {
            return;
        }
        let missing = match filling {
            Filling::LeftOut => return,
            Filling::Value(json) => Value::Json(json.into()),
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

    fn make_unknown(&mut self, event: &Event<'_>, column: &str) -> Value {
        self.unknown.push((event.key, column.to_owned()));
        Value::Unknown(self.unknown.len() - 1)
    }

    fn drop_column(&mut self, event: &Event<'_>, name: &str) {
        self.personal.retain(|personal| personal != name);
        if let Some(id) = self.find(name) {
            if self.is_key(id) && !self.whole {
                self.reindex(event, &[]);
            }
            self.layout.retain(|at| *at != id);
            if self.whole {
                let key: Vec<_> = { self.key.iter().flatten() }.copied().collect();
                let key: Vec<_> = key.into_iter().filter(|at| *at != id).collect();
                self.reindex(event, &key);
            }
        }
    }

    fn is_key(&self, id: usize) -> bool {
        self.key.as_ref().is_some_and(|key| key.contains(&id))
    }

    /// The column's values are others: a column of the same name and place, that no row has.
    fn change(&mut self, event: &Event<'_>, name: &str) {
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

    fn find(&self, name: &str) -> Option<usize> {
        let mut there = self.layout.iter().copied();
        there.find(|id| self.columns[*id].name == name)
    }

    /// The number of a column; one that no command announced is not known of the rows there are.
    fn column(&mut self, event: &Event<'_>, name: &str) -> usize {
        if let Some(id) = self.find(name) {
            return id;
        }
        let missing = (!self.rows.is_empty()).then(|| self.make_unknown(event, name));
        self.columns.push(Column {
            name: name.to_owned(),
            shown: false,
            personal: false,
            missing,
        });
        self.layout.push(self.columns.len() - 1);
        self.columns.len() - 1
    }

    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len();
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    fn row(&mut self, event: &Event<'_>) -> Result<(), Misfit> {
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

    fn insert(
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
                    row.set(id, Value::Json((*value).into()));
                }
                self.whole = false;
                self.keyed_by(event, &key);
            }
            None => {
                self.whole = true;
                self.keyed_by(event, data);
            }
        }
        let text = self.key_of_row(&row).unwrap_or_default();
        let standing = self.rows.entry(text.clone()).or_default();
        standing.push(row);
        if standing.len() > 1 && !self.whole {
            self.doubled.push((text, event.key));
        }
        Ok(())
    }

    fn put(&mut self, event: &Event<'_>, row: &mut Row, members: &Members<'_>, personal: bool) {
        for (name, value) in &members.0 {
            let id = self.column(event, name);
            self.columns[id].shown = true;
            self.columns[id].personal |= personal;
            row.set(id, Value::Json((*value).into()));
        }
    }

    /// Any of the columns that are personal now may have been in what was erased.
    fn erase(&mut self, event: &Event<'_>, row: &mut Row) {
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

    fn update(&mut self, event: &Event<'_>) -> Result<(), Misfit> {
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
        let Some(to) = self.key_of_row(&row) else {
            return Err(unknown(event, Why::NoRow));
        };
        let standing = self.rows.entry(to.clone()).or_default();
        standing.push(row);
        if standing.len() > 1 && !self.whole {
            self.doubled.push((to.clone(), event.key));
        }
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
    fn moved(&mut self, event: &Event<'_>, row_key: &str, data: &str) -> bool {
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
                    let unknown = Unknown {
                        event: Some(event.key),
                        why: Why::NoRow,
                    };
                    self.doubts.push((event.account.to_owned(), unknown));
                }
                true
            }
            _ => false,
        }
    }

    /// Whether an UPDATE moves its row out of the one account that is folded.
    fn leaves(&self, old: &Members<'_>, new: &Members<'_>) -> Result<bool, Misfit> {
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
    fn take(
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

    /// Of rows of which any may be the event's it is not known which has what they differ in.
    fn confuse(&mut self, event: &Event<'_>, key: &str, alike: &[usize]) {
        for id in self.layout.clone() {
            let value = |n: &usize| self.rows[key][*n].get(&self.columns, id);
            if alike.iter().all(|n| value(n) == value(&alike[0])) {
                continue;
            }
            let name = self.columns[id].name.clone();
            let unknown = self.make_unknown(event, &name);
            let rows = self.rows.get_mut(key).expect("the rows are there");
            for n in alike {
                rows[*n].set(id, unknown.clone());
            }
        }
    }

    /// Keys are these columns from here on.
    fn keyed_by(&mut self, event: &Event<'_>, key: &Members<'_>) {
        let same = self.key.as_ref().is_some_and(|ids| {
            let names = ids.iter().map(|id| self.columns[*id].name.as_str());
            names.eq(key.0.iter().map(|(name, _)| name.as_ref()))
        });
        if !same {
            let names = key.0.iter();
            let ids: Vec<_> = names.map(|(name, _)| self.column(event, name)).collect();
            self.reindex(event, &ids);
        }
    }

    fn reindex(&mut self, event: &Event<'_>, key: &[usize]) {
        self.key = Some(key.to_vec());
        let rows = std::mem::take(&mut self.rows);
        for row in rows.into_values().flatten() {
            (self.watch)();
            let Some(text) = self.key_of_row(&row) else {
                return self.lose(event, Why::Command);
            };
            self.rows.entry(text).or_default().push(row);
        }
    }

    /// None where a value of the key is not known.
    fn key_of_row(&self, row: &Row) -> Option<String> {
        let mut text = String::new();
        for id in self.key.iter().flatten() {
            match row.get(&self.columns, *id) {
                Some(Value::Json(value)) => text.push_str(value),
                Some(Value::Unknown(_)) => return None,
                Some(Value::Erased) | None => {}
            }
            text.push(PART);
        }
        Some(text)
    }

    fn key_of_members(&self, key: &Members<'_>) -> String {
        let mut text = String::new();
        for id in self.key.iter().flatten() {
            text.push_str(key.get(&self.columns[*id].name).unwrap_or_default());
            text.push(PART);
        }
        text
    }

    fn standing(&self, row: &Row) -> Standing {
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

    fn image(&self, row: &Row) -> Result<String, Unknown> {
        if let Some(doubt) = row.doubt {
            return Err(self.doubts[doubt].1.clone());
        }
        let mut out = Vec::from(b"{");
        for id in &self.layout {
            let column = &self.columns[*id];
            if !column.shown {
                continue;
            }
            match row.get(&self.columns, *id) {
                Some(Value::Json(value)) => push_member(&mut out, &column.name, value),
                Some(Value::Unknown(number)) => return Err(self.unknown(*number)),
                Some(Value::Erased) | None => {}
            }
        }
        out.push(b'}');
        Ok(text(out))
    }
}

/// What the event of protect() says of the account column.
fn account_column(data: &str) -> AccountColumn {
    let said = Members::read(data).unwrap_or_default();
    match said.get("account_column").map(serde_json::from_str) {
        Some(Ok(Some(name))) => AccountColumn::Named(name),
        Some(Ok(None)) => AccountColumn::None,
        _ => AccountColumn::Unknown,
    }
}

/// Stands behind each value of a key; no JSON text holds it.
const PART: char = '\u{1f}';

fn unknown(event: &Event<'_>, why: Why) -> Misfit {
    Misfit::Unknown(Unknown {
        event: Some(event.key),
        why,
    })
}

/// What an UPDATE changed, before and after.
fn images(text: &str) -> Option<(Members<'_>, Members<'_>)> {
    let both = Members::read(text)?;
    Some((
        Members::read(both.get("old")?)?,
        Members::read(both.get("new")?)?,
    ))
}

/// The account that a value of the account column means.
fn account_of(json: &str) -> String {
    let text = match serde_json::from_str::<Option<String>>(json) {
        Ok(text) => text.unwrap_or_default(),
        Err(_) => json.to_owned(),
    };
    AccountId::from_text(&text).map_or(text, |account| account.as_str().to_owned())
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
