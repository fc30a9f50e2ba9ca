//! Folding events into rows.

mod altered;
mod answers;
mod rows;
mod unknown;

use std::collections::HashMap;

use crate::event::EventKey;

use super::members::Members;
use super::names::Names;
pub use answers::{Difference, Standing};
use rows::{Column, Row};
use unknown::Following;
pub use unknown::{Misfit, Unknown, Why};

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
    /// [`REMOVED`] where a rule of retention let it go.
    pub data: Option<&'a str>,
    pub personal: Option<&'a str>,
    /// Whether personal values were erased from it.
    pub erased: bool,
}

/// Data that is gone, which is no JSON.
pub(crate) const REMOVED: &str = "";

/// Whose events of rows are folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of all accounts.
    All,
    /// Those of one account. A row that came from another one needs [`Scope::All`].
    Account(String),
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
    unknown: Vec<Unknown>,
    /// Events that did not fit.
    doubts: Vec<Unknown>,
    /// Columns that change with other objects.
    following: Vec<Following>,
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
    doubled: Vec<(String, Unknown)>,
    /// Partitions that are gone, while transactions that began before may write them.
    leaving: Vec<String>,
    /// Since when a crash may take the rows.
    unlogged: Option<Unknown>,
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
                account: String::new(),
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
            following: Vec::new(),
            personal: Vec::new(),
            account_column: AccountColumn::Unknown,
            account_hidden: false,
            captured: [None, None],
            rehashed: false,
            last: None,
            doubled: Vec::new(),
            leaving: Vec::new(),
            unlogged: None,
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
            "row" if relation == self.names.current() && event.data == Some(REMOVED) => {
                self.lose(event, Why::LetGo);
                Ok(())
            }
            "row" if relation == self.names.current() => {
                let folded = self.row(event);
                if let Err(Misfit::Unknown(unknown)) = &folded {
                    self.doubts.push(unknown.clone());
                }
                folded
            }
            _ => Ok(()),
        }
    }

    /// How often rows came to be known, or not known, anew: what was before does not matter then.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    fn system(&mut self, event: &Event<'_>, relation: &str) -> Result<(), Misfit> {
        let data = event.data.unwrap_or("{}");
        match event.action {
            "ddl" => self.command(event, relation, data),
            _ if relation != self.names.current() => {}
            "protect" => {
                self.follow(event, data, true);
                // A column that was renamed is the same one.
                let before = std::mem::replace(&mut self.account_column, account_column(data));
                if before != self.account_column {
                    self.captured[0] = None;
                }
                let parts = ["archetype", "links", "redact", "audit"];
                self.capture(event, 0, data, &parts);
            }
            "audit" => {
                self.follow(event, data, true);
                // A part came under the triggers of the whole, which are as they were.
                let said = Members::read(data).unwrap_or_default();
                let root = said.get("root").map(serde_json::from_str::<String>);
                if matches!(root, Some(Ok(root)) if root == relation) {
                    return Ok(());
                }
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
            "record_baseline" => {
                self.begin();
                self.follow(event, data, true);
            }
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
        self.following
            .iter_mut()
            .for_each(|column| column.number = None);
        self.doubts.clear();
        self.doubled.clear();
        self.key = None;
        self.rehashed = false;
        self.known = Ok(());
        self.begun += 1;
    }

    fn lose(&mut self, event: &Event<'_>, why: Why) {
        self.begin();
        self.known = Err(Unknown::at(event, why));
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

    fn lose_for(&mut self, unknown: Unknown) {
        self.begin();
        self.known = Err(unknown);
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
